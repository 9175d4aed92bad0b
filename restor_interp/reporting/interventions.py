"""The instruments that look inside the model: what each is, and its figures of one fact.

An instrument's text says in one or two sentences what is done and what that cannot show.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from restor_interp.reporting.attacks import attack_table
from restor_interp.reporting.attributions import attribution_maps
from restor_interp.reporting.characters import shorten
from restor_interp.reporting.contributions import contribution_bars
from restor_interp.reporting.descriptions import description_lines
from restor_interp.reporting.fact_timeline import fact_timeline, turning_lines
from restor_interp.reporting.features import feature_parts
from restor_interp.reporting.grafts import graft_parts
from restor_interp.reporting.judges import LIMITS as OF_JUDGES
from restor_interp.reporting.judges import judgement_table
from restor_interp.reporting.knockouts import knockout_lines
from restor_interp.reporting.mlp_changes import mlp_change_parts
from restor_interp.reporting.own_tables import LIMITS as OF_OWN
from restor_interp.reporting.own_tables import names_of_own_tables, own_table
from restor_interp.reporting.parts import Details, Paragraph, Part, Plot, Table, parts_in
from restor_interp.reporting.patches import patch_maps
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.retention import retention_lines
from restor_interp.reporting.rows import RowOf
from restor_interp.reporting.subject_attention import attention_maps
from restor_interp.reporting.token_attributions import token_strips
from restor_interp.reporting.value_vectors import value_vector_tables

_TOLD = 160
"""Code points of a finding beside the title of a fold."""

TRACES = (
    "Causal tracing: the subject is replaced so that the answer is lost, then one state at a time "
    "is put back. It shows where the answer can be brought back, which is not where it is stored: "
    "localisation alone does not say what to edit (Hase et al. 2023)."
)
LENS = (
    "Logit lens: every layer's stream, read with the model's own last norm and unembedding. A low "
    "score does not say that the layer lacks the fact: it may hold it in another form."
)
TUNED = (
    "The tuned lens carries every layer to the end by a map of its own first, fitted on neutral "
    "text in the clean model: what it reads in a state, the clean model's later layers would."
)
WORDS = (
    "The likeliest next token after each layer, read as the logit lens reads. What a layer holds "
    "in another form is not read here. At a token in the middle of a question, the model goes on "
    "with the question and not with an answer."
)
SWAPS = (
    "The best of the patches and grafts below, each against its own control: what another "
    "entity's values or random weights of equal length move as well is not this fact. That a swap "
    "suffices does not say that it alone does."
)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One way to look inside: the table that it fills, and how its rows are shown."""

    title: str
    text: str
    """What it is and what it cannot show."""
    draw: Callable[[Sequence[RowOf], RowOf], tuple[Part, ...]]
    """(rows of one fact, the fact) -> figures."""


def instruments(results: EntityResults) -> dict[str, Instrument]:
    """Table -> instrument, in the order in which a page shows them."""
    run, controls = results.run, []
    if results.has("retention"):
        controls = records(run.table("retention"), donor_kind=["other_context", "wrong_entity"])

    def staircase(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
        return retention_lines(rows, fact, controls, run.retained)

    return {
        "patches": Instrument(
            title="Patching between states",
            text="One value of one state is put into another state's run. It shows where the two "
            "differ in a way that matters for this answer. A place that brings the answer back "
            "may only pass it on: localisation alone does not say what to edit.",
            draw=patch_maps,
        ),
        "retention": Instrument(
            title="Retention",
            text="A state's values are put into the clean model's run about somebody else: what it "
            "says of this fact then, it has from them. It shows what a later layer could use, not "
            "that the state itself uses it.",
            draw=staircase,
        ),
        "grafts": Instrument(
            title="Grafting weights",
            text="Weights of one state are put into another. It shows which changed weights "
            "suffice for the answer, in company of all the others; another set may do so too, and "
            "what suffices here may harm other facts.",
            draw=graft_parts,
        ),
        "knockouts": Instrument(
            title="Attention knockout",
            text="Some tokens are hidden from others in a window of layers. It shows which way "
            "the answer's ingredients take, not what they are; a second way that takes over makes "
            "an edge look needless.",
            draw=knockout_lines,
        ),
        "attributions": Instrument(
            title="Attribution patching",
            text="The effect of every patch, estimated from one gradient. It is a cheap screen: "
            "only as good as its rank correlation with the exact effects, and blind where the "
            "model saturates.",
            draw=attribution_maps,
        ),
        "contributions": Instrument(
            title="Direct logit attribution",
            text="The last token's stream, split into what each part adds to the true object over "
            "the false one. It shows direct effects alone: a part that works through later layers "
            "counts for nothing here.",
            draw=contribution_bars,
        ),
        "mlp_changes": Instrument(
            title="What MLPs look up and write",
            text="A change of what MLPs write is split into what is looked up (coefficients) and "
            "what is written there (value vectors); then the clean model's own are put back. "
            "That one part suffices does not say that the other did not change.",
            draw=mlp_change_parts,
        ),
        "value_vectors": Instrument(
            title="Value vectors that write the objects",
            text="Single memories of the clean model whose most promoted words hold an object. A "
            "vector that promotes a word need not be where this fact is kept.",
            draw=value_vector_tables,
        ),
        "attention": Instrument(
            title="Attention to the subject",
            text="How much the last token's heads look at the subject's tokens. Attention says "
            "where a head looks, not what it fetches, nor whether the answer needs it.",
            draw=attention_maps,
        ),
        "descriptions": Instrument(
            title="The subject's vector alone",
            text="The stream at the subject's last token is put in the place of a placeholder, "
            "and the host is asked the question. What can be read so is there; what cannot may "
            "lie in the subject's other tokens, or where the host does not look.",
            draw=description_lines,
        ),
        "token_attributions": Instrument(
            title="Tokens that the answer listens to",
            text="What each token of the question adds to the truth over the falsehood, against a "
            "neutral word in its place. A token that matters is not by that one that is "
            "understood.",
            draw=token_strips,
        ),
        "features": Instrument(
            title="Features of a dictionary",
            text="Features that a state changed most, set back to their clean value one at a time. "
            "A dictionary leaves part of every activation out, and what it leaves out may be the "
            "cause.",
            draw=feature_parts,
        ),
        "timeline": Instrument(
            title="During training",
            text="What each layer reads of this fact at checkpoints of a training, through the "
            "state's own norm and unembedding. A layer that reads nothing may hold the fact in "
            "another form.",
            draw=fact_timeline,
        ),
        "turnings": Instrument(
            title="When each layer turns",
            text="The same by layer: when half of its change is there for good. An early layer "
            "does not by that cause the later ones' change.",
            draw=turning_lines,
        ),
        "robustness": Instrument(
            title="Under attack",
            text="The answers after more training, in other words, or with damaged weights. One "
            "fact's answers say little; whether a method's restoration lasts beyond its sham's is "
            "told for the whole run.",
            draw=attack_table,
        ),
        "judgements": Instrument(
            title="Judges of the answers", text=OF_JUDGES, draw=judgement_table
        ),
    } | {name: _own(name) for name in names_of_own_tables(run) if _is_of_facts(run, name)}


def _is_of_facts(run: RunResults, name: str) -> bool:
    return "fact_id" in run.table(name).columns


def _own(name: str) -> Instrument:
    """An instrument that nobody here knows."""

    def drawn(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
        del fact
        return own_table(name, rows)

    return Instrument(title=f"Table {name}", text=OF_OWN, draw=drawn)


def folded(
    tools: Mapping[str, Instrument], rows: Mapping[str, Sequence[RowOf]], fact: RowOf
) -> list[Part]:
    """Every instrument that looked at a fact, each folded under its title."""
    folds: list[Part] = []
    for table, tool in tools.items():
        if rows.get(table):
            found = tool.draw(rows[table], fact)
            inside = (Paragraph(tool.text, quiet=True), *found)
            folds.append(Details(tool.title, inside, told=first_finding(found)))
    return folds


def first_finding(parts: Sequence[Part]) -> str:
    """What the first plot or table says, for a fold that is closed; empty where there is none."""
    captions = (part.caption for part in parts_in(parts) if isinstance(part, Plot | Table))
    return shorten(next(filter(None, captions), ""), _TOLD)
