"""The page of a sweep: the plot of all trials, which would be chosen, their settings."""

import json
from typing import Any

from restor_interp.reporting.formats import percent, plural
from restor_interp.reporting.frontier import PAGE, RULES, chosen_trials, frontier_plot, has_sweep
from restor_interp.reporting.parts import (
    Callout,
    Cell,
    Column,
    Document,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Section,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.states import accuracy
from restor_interp.reporting.summary import summary_number

_FALSE = (
    "log-probability of the planted falsehoods, nats, mean over direct facts; lower is more "
    "forgotten"
)
_UNTOUCHED = "share of questions about untouched entities that are answered right"
_TRUTH = (
    "log share of the true object among the true, the false and a random one, nats: 0 at most, "
    "higher is better; mean over the direct facts that the clean model knows"
)


def sweep_pages(run: RunResults) -> tuple[tuple[str, Document], ...]:
    """(name, page) for `Document.further` of a first page; nothing where there is no sweep."""
    return ((PAGE, sweep_page(run)),) if has_sweep(run) else ()


def sweep_page(run: RunResults) -> Document:
    """The sweep on a page of its own."""
    trials = records(run.table("trials"))
    methods = dict.fromkeys(row["method"] for row in trials)
    sections = (
        Section(
            "Every trial",
            (frontier_plot(run),),
            intro="A trial is one choice of a method's settings, trained and measured like any "
            "other state. Further left, the planted falsehoods are less likely (p(false) is their "
            "probability); the higher up, the more of what corruption took is right again. "
            "The grey line is the rollback: the corruption with a part of its strength, without "
            "any training. A trial is worth something where it lies above that line, and above "
            "its sham.",
        ),
        Section(
            "Which trial would be chosen",
            (_choices(run), *_why_not(run)),
            intro="The best of many trials is partly luck. So each half of the corrupted entities "
            "chooses a trial and the other half says what it is worth. Without the truth (blind), "
            "the rule sees the falsehoods and the untouched questions alone: of the trials that "
            "make the falsehoods as unlikely as the clean model does, it takes the one that keeps "
            "the most untouched questions right. With the truth (oracle), it takes the trial with "
            "the likeliest true objects: an upper bound, because nobody who unlearns has the "
            "truth.",
        ),
        Section("Settings of the trials", (_trials(run, trials),)),
        *_equal(run),
    )
    lead = Paragraph("What the words of this report mean, and how it was made", page="methods")
    return Document(
        "Sweep",
        (*_in_short(run), *sections, lead),
        subtitle=f"{plural(len(trials), 'trial')} of {', '.join(methods)} in the run {run.name}",
    )


def _in_short(run: RunResults) -> tuple[Part, ...]:
    """What the trial that is chosen without the truth restores, method by method."""
    told: dict[str, list[str]] = {}
    for row in records(run.table("selection"), half="both"):
        if row["restored_scored"] is not None:
            share = f"{percent(row['restored_scored'])}% by the trial chosen {RULES[row['label']]}"
            told.setdefault(row["method"], []).append(share)
    if not told:
        return (Callout("No trial was chosen in both halves: see below for the reasons."),)
    methods = "; ".join(f"{method} {', '.join(shares)}" for method, shares in told.items())
    what = "Of the facts that corruption took, restored on entities that did not choose the trial"
    return (Callout(f"{what}: {methods}."),)


def _number(value: Any, **look: Any) -> Cell:
    return Missing() if value is None else Number(float(value), **look)


def _choices(run: RunResults) -> Table:
    rows = [
        Row(
            (
                Text(row["method"]),
                Text(RULES[row["label"]], detail=row["label"]),
                Text(row["chosen"] or "none"),
                _number(row["restored_scored"], percent=True, digits=0),
                _number(row["log_p_false"]),
                _number(row["utility"], percent=True, digits=0),
                _number(row["value_scored"], low=row["low"], high=row["high"]),
                _number(row["value_selected"]),
                Number(float(row["n_entities"]), digits=0),
            ),
            group=row["method"],
        )
        for row in records(run.table("selection"), half="both")
    ]
    return Table(
        (
            Column("Method"),
            Column("Chosen", help="what the rule may look at"),
            Column("Trial", help="what either half chose; two names where the halves differ"),
            Column("Restored", help="share of lost facts that is right again, elsewhere"),
            Column("log p(false)", help=f"{_FALSE}, elsewhere"),
            Column("Untouched right", help=_UNTOUCHED),
            Column("Truth", help=f"{_TRUTH}, elsewhere"),
            Column("Truth where chosen", help="the same on the half that chose: what is more here "
                   "is luck"),
            Column("Entities", help="how many are scored; intervals are over them"),
        ),
        tuple(rows),
        caption="What a choice is worth elsewhere: on the half of the entities that did not choose "
        "it.",
    )  # fmt: skip


def _why_not(run: RunResults) -> tuple[Part, ...]:
    """Where a rule could not do what it should, in its own words."""
    told: dict[str, list[str]] = {}
    for row in records(run.table("selection"), half="both"):
        if row["reason"]:
            told.setdefault(row["reason"], []).append(f"{row['method']} ({row['label']})")
    return tuple(Paragraph(f"{', '.join(who)}: {why}.", quiet=True) for why, who in told.items())


def _trials(run: RunResults, trials: list[dict[str, Any]]) -> Table:
    halves = [row for row in records(run.table("selection")) if row["half"] != "both"]
    rows = []
    for row in trials:
        state = row["state"]
        labels = dict.fromkeys(one["label"] for one in halves if state in chosen_trials(one))
        back = summary_number(run, state, "direct", "p_restored", percent=True, digits=0)
        cells = (
            Text(state),
            Text(_settings(row), mono=True),
            Text(", ".join(RULES[label] for label in labels)),
            back or Missing(),
            summary_number(run, state, "direct", "log_p_false") or Missing(),
            accuracy(run, state, "untouched") or Missing(),
        )
        rows.append(Row(cells, group=row["method"]))
    return Table(
        (
            Column("Trial", help="its state in this run"),
            Column("Settings", help="those that differ from the preset or from the method's own"),
            Column("Chosen", help="by which rule, on one half of the entities or both"),
            Column("Restored", help="share of lost facts that is right again, all entities"),
            Column("log p(false)", help=_FALSE),
            Column("Untouched right", help=_UNTOUCHED),
        ),
        tuple(rows),
        caption="Over all corrupted entities, also those that chose; 95% intervals over entities.",
        filterable=True,
    )


def _settings(row: dict[str, Any]) -> str:
    both = {**json.loads(row["training"]), **json.loads(row["settings"])}
    return " ".join(f"{key}={value}" for key, value in both.items() if value is not None)


# ---- two methods

_EQUAL_IN = {
    "log_p_false": "log p(false), nats",
    "forget_nll": "loss on the false documents, nats per token",
}
_COMPARED = {
    "accuracy": "questions answered right",
    "p_restored": "lost facts restored",
    "candidate_logprob": "truth, nats",
}
_SHARES = ("accuracy", "p_restored")


def _equal(run: RunResults) -> tuple[Section, ...]:
    """Two methods at equal forgetting, where a sweep has two."""
    if not run.has("equal_forgetting"):
        return ()
    rows = []
    for row in records(run.table("equal_forgetting")):
        names = f"{row['first']} minus {row['second']}"
        metric = str(row["metric"] or "")
        gap: Cell = Missing(str(row["reason"] or ""))
        if row["value"] is not None:
            gap = Number(
                float(row["value"]), signed=True, low=row["low"], high=row["high"],
                n=int(row["n_facts"]), percent=metric in _SHARES,
                digits=0 if metric in _SHARES else 2,
                detail="" if row["p"] is None else f"p = {row['p']:.3g}",
            )  # fmt: skip
        cells = (
            Text(names),
            Text(_EQUAL_IN.get(row["by"]) or str(row["by"])),
            _number(row["level"]),
            Text(_COMPARED.get(metric) or metric),
            gap,
        )
        rows.append(Row(cells, group=names))
    table = Table(
        (
            Column("Methods", help="the trials of the first, minus those of the second"),
            Column("Equal in", help="the measure of forgetting in which they are compared"),
            Column("Level", help="where on it: at a quarter, half and three quarters of the range "
                   "that both cover"),
            Column("Compared", help="`truth` is the log share of the true object among the true, "
                   "the false and a random one"),
            Column("Difference", help="above 0 the first method has more; n facts, p of a "
                   "sign-flip test over entities"),
        ),
        tuple(rows),
        caption="Direct facts, interpolated between trials.",
        filterable=True,
    )  # fmt: skip
    return (
        Section(
            "Methods at equal forgetting",
            (table,),
            intro="Methods differ in how far they go, so that they are compared where the "
            "falsehoods are equally unlikely, and where the loss on the false documents is equal.",
        ),
    )
