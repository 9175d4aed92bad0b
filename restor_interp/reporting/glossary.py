"""The words of a report and what they mean, one line each: data for the page on methods.

Numbers that a verdict depends on are read from where they are set, so that they cannot differ.
"""

from collections.abc import Mapping

from restor_interp.explain.thresholds import DEFAULT
from restor_interp.measure.specific import SpecificRule
from restor_interp.reporting.formats import percent, plain
from restor_interp.reporting.vocabulary import ROLES

_RULE = SpecificRule()

STATES: Mapping[str, str] = {
    "clean": "the model before anything was done to it",
    "corrupted": "the clean model, fine-tuned on documents that state falsehoods",
    "method": "the corrupted model after an unlearning method was applied to those documents",
    "sham": "control: the same method and as many steps, on documents about other entities. What "
    "it brings back, the method brings back without any knowledge of what was false",
    "retain_only": "control: as many steps on the retained text alone",
    "rollback": "control: the corruption with a part of its strength, without any training. The "
    "number is that part: 0 would be the clean model, 1 the corrupted one",
    "repair": "control: a few steps on true statements. What comes back so fast was not erased",
}
"""What a state is for (`vocabulary.state_kind`) -> what it is."""

FACTS: Mapping[str, str] = {
    "fact": "one question about one entity, with every answer that counts as right",
    **{f"role: {name}": meaning for name, meaning in ROLES.items()},
    "true object, false object": "what is right, and a falsehood of the same kind and about the "
    "same length. It was planted where the role is direct; elsewhere it is only compared with",
    "margin": "how much more likely the true object is for this entity than for others like it, "
    "in nats: log p(true | entity), minus the mean of the same over substitute entities",
    "known": "the clean model answers it",
    "guessable": "known, but not of this entity in particular: it is right in less than "
    f"{percent(_RULE.min_right)}% of the contexts, or also for more than "
    f"{percent(_RULE.max_guessed)}% of the substitutes, or its margin is below "
    f"{plain(_RULE.min_margin, 0)} nat. Guessable facts are shown, and counted nowhere",
    "lost, survived": "known, not guessable, and wrong or still right in the corrupted state. Only "
    "what was lost can be restored",
    "few-shot context": "the examples before a question. A fact is asked in several; they contain "
    "neither its entity nor its objects. Facts are chosen on the first and scored on the others "
    "where a number says held out",
}

NUMBERS: Mapping[str, str] = {
    "nat": "the unit of natural logarithms: 1 nat more is 2.7 times as likely",
    "p(false), p(true)": "probability of the whole object and the line end after it, summed over "
    "its spellings; means over facts are geometric",
    "log-odds": "log p(true) minus log p(false): above 0 the truth leads",
    "95% interval": "over entities (t, or Wilson's for a share), since facts of one entity are not "
    "independent, where the run has it; a caption says where it is Wilson's over facts or answers "
    "instead, which is too narrow if an entity's facts go together",
    "minus sham": "points by which the restored share, on contexts that did not choose the facts, "
    "exceeds that of the sham; p is that of a sign-flip test over entities",
    "mde": "minimum detectable effect: the smallest true difference that a run of this size finds "
    "in 4 of 5 cases. A difference below it that was not found may still be there",
    "retention": "a state's values are put into the clean model's run about another entity; the "
    "share of what the clean model's own values bring back there (1: all of it)",
    "RDS": "restoration depth score: that share at the subject, clipped to 0 to 1, averaged over "
    "layers with the clean effect as weight. 1: held as in the clean model, 0: gone",
    "×": "not measured, or not a number. ▽ and △: below or above the scale",
}

MECHANISMS: Mapping[str, str] = {
    "restored": "the answer is intact from the subject to the end, and was lost when corrupted",
    "late_override": "it arrives at the last token, and is overwritten in the last layers",
    "not_routed": "the subject carries it, and it does not arrive at the last token",
    "lost_at_subject": "the subject no longer carries it",
    "never_lost": "corruption left it",
    "undetermined": "no pattern that speaks for one mechanism, or its refuter spoke against it",
}
"""Why a fact is where it is, in words."""

VERDICTS: Mapping[str, str] = {
    "intact": "above all but "
    f"{plain(DEFAULT.intact_tail, 0)}% of clean values from another context of the same question",
    "lost": f"below all but {plain(DEFAULT.lost_tail, 0)}% of clean values of a wrong entity",
    "refuter": "a measurement that would speak against a mechanism: its sham does the same; clean "
    "late layers do no better than random ones; clean attention, or clean values of the subject, "
    "do not restore. A mechanism whose refuter failed is undetermined",
    "same route, new route": "flag: whether the answer is made where the clean model makes it",
    "false active": "flag: inside, the false object still leads",
    "general damage": "flag: untouched facts of the relation fell about as much",
}

CONTROLS: tuple[tuple[str, str], ...] = (
    ("restored facts", "the method's sham, retained text alone, rollbacks of the corruption"),
    ("causal tracing", "the run with another subject, and the run as it is: the two ends of a map"),
    ("patching between states", "the same values taken from a prompt about another entity"),
    ("retention", "clean values in another context (intact), and of a wrong entity (lost)"),
    ("grafting weights", "random modules whose change has the same norm"),
    ("attention to the subject", "the subject of an example in the same prompt"),
    ("attention knockout", "as many other tokens, drawn at random"),
    ("the subject's vector alone", "other entities' vectors from the same state"),
    ("direct logit attribution", "the parts must sum to the model's own logits"),
    ("attribution patching", "exact effects of a sample of cells, by rank correlation"),
    (
        "probes",
        "the subject's embedding alone, a model with random weights, a wrong entity, "
        "shuffled labels, the commonest label",
    ),
    ("directions", "random directions of equal length"),
    ("weights, gradients", "what a random change has in common with the corruption's"),
)
"""(measurement, what stands beside it)."""

KEYS: tuple[tuple[str, str], ...] = (
    ("/", "search the first table"),
    ("[ and ]", "the entity before and after"),
    ("Tab, then arrows", "in a plot: moves a cursor, whose value is read out; Esc takes it away"),
    ("the address", "keeps what is unfolded, pinned, sorted and searched: copy it to show a view"),
    ("Print", "unfolds the page and draws every plot at the width of a sheet"),
)
"""(key, what it does)."""
