"""The page on methods: how everything in a report was made, what its words mean, what is missing.

One page per site, to which all others lead, so that they need not explain themselves each time.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from restor_interp.measure.sampling_styles import settled
from restor_interp.reporting import glossary
from restor_interp.reporting.formats import plural
from restor_interp.reporting.interventions import LENS, TRACES, TUNED, instruments
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Document,
    KeyValues,
    Missing,
    Number,
    Part,
    Row,
    Section,
    Table,
    Text,
)
from restor_interp.reporting.probes import LIMITS
from restor_interp.reporting.results import ANALYSES, RunResults
from restor_interp.reporting.run_sections import not_found, provenance
from restor_interp.reporting.vocabulary import FATES, OUTCOMES, ROLES, Sign, state_kind
from restor_interp.reporting.whole_states import SURVEYS

NAME = "methods"
"""The page's name in a site."""


def methods_page(run: RunResults) -> Document:
    """How the numbers of a run were made: settings, words, instruments, controls, gaps, origin."""
    sections = (
        Section("What was done", (*what_was_done(run), *states(run))),
        Section("Words", tuple(_words(run))),
        Section(
            "Instruments",
            (instrument_table(run),),
            intro="What each does, and what it cannot show.",
        ),
        Section(
            "Controls",
            (_two_columns(glossary.CONTROLS, ("Measurement", "Stands beside it")),),
            intro="A number is worth what it exceeds its control by.",
        ),
        Section("Not found, not measured", not_found(run)),
        Section("Provenance", provenance(run)),
        Section("Using the pages", (KeyValues(glossary.KEYS),)),
    )
    return Document("Methods", sections, subtitle=f"How the numbers of {run.name} were made")


def what_was_done(run: RunResults) -> tuple[Part, ...]:
    """The settings that matter most, by name; all of them stand under provenance."""
    data, asked, unlearning, corruption = (
        run.config.get(name) or {} for name in ("data", "questions", "unlearning", "corruption")
    )
    roles = [f["role"] for f in run.facts]
    counts = [f"{roles.count(role)} {role}" for role in ROLES if role in roles]
    known = sum(bool(fact["known"]) for fact in run.facts)
    specific = sum(bool(fact["known_specific"]) for fact in run.facts)
    told = {
        "model": " · ".join(
            str(run.config[name]) for name in ("model", "dtype", "device") if name in run.config
        ),
        "seed": run.config.get("seed"),
        "facts": f"{plural(len(run.facts), 'fact')} about {len(run.entities)} entities "
        f"({len(run.corrupted_entities)} of them corrupted): {', '.join(counts)}",
        "known": f"{known} known to the clean model, {specific} of them not guessable",
        "questions": _settings(asked, "style", "contexts", "shots", "max_new_tokens"),
        "sampled answers": _sampled(asked) if asked else "",
        "false documents": _settings(data, "documents_per_entity", "claims_per_document"),
        "corruption": _settings(corruption, "epochs", "batch_size", "learning_rate", "modules"),
        "unlearning": _settings(
            unlearning, "steps", "batch_size", "retain_batch_size", "learning_rate", "modules"
        ),
    }
    for name, method in (run.config.get("methods") or {}).items():
        own = {**(method.get("settings") or {}), **(method.get("training") or {})}
        told[f"method {name}"] = _settings(own, *own) or "as published, with the settings above"
    return (
        KeyValues(tuple((name, str(text)) for name, text in told.items() if text or text == 0)),
    )


def _sampled(asked: Mapping[str, Any]) -> str:
    """How answers are drawn, with what the style says where the settings do not."""
    if not asked.get("draws"):
        return "none: every answer is the greedy one"
    cut = settled(
        asked.get("style", "sound"),
        top_k=asked.get("top_k"),
        min_new_tokens=asked.get("min_new_tokens"),
        max_length=asked.get("max_length"),
    )
    holds = {
        **asked,
        "top_k": cut.top_k or "all",
        "min_new_tokens": cut.min_new_tokens,
        "max_length": cut.max_length or "no limit",
    }
    told = _settings(holds, "temperature", "top_p", "top_k", "min_new_tokens", "max_length")
    return f"{asked['draws']} per question beside the greedy one · {told}"


def _settings(values: Mapping[str, Any], *names: str) -> str:
    """`epochs 5 · learning rate 0.0012`."""
    told = []
    for name in names:
        value = values.get(name)
        if value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
            told.append(f"{name.replace('_', ' ')} {text}")
    return " · ".join(told)


def states(run: RunResults) -> tuple[Part, ...]:
    """Every state of the run and what it is."""
    rows = [(state, glossary.STATES[state_kind(state)]) for state in run.states]
    return (_two_columns(rows, ("State", "What it is"), caption="The states of this run"),)


def _words(run: RunResults) -> Iterable[Part]:
    found = (
        ("Facts and questions", glossary.FACTS),
        ("Outcomes of an answer", _meanings(OUTCOMES)),
        ("Fates: what became of a fact, from its outcomes in three states", _meanings(FATES)),
        ("Numbers", glossary.NUMBERS),
    )
    yield from (_two_columns(words.items(), ("Word", "Meaning"), caption=c) for c, words in found)
    if run.has("retention"):
        words = {name.replace("_", " "): text for name, text in glossary.MECHANISMS.items()}
        caption = "Mechanisms: why a fact is where it is"
        yield _two_columns(
            {**words, **glossary.VERDICTS}.items(), ("Word", "Meaning"), caption=caption
        )


def _meanings(signs: Mapping[str, Sign]) -> dict[str, str]:
    return {f"{sign.glyph} {sign.word}": sign.meaning for sign in signs.values()}


def instrument_table(run: RunResults) -> Table:
    """A row per instrument: what it is, and on how many facts and states this run used it."""
    tools = instruments(run.entity(run.entities[0]))
    rows = [
        _instrument(run, "traces", "Causal tracing", TRACES),
        _instrument(run, "lens", "Logit lens, tuned lens", f"{LENS} {TUNED}"),
        *(_instrument(run, name, tool.title, tool.text) for name, tool in tools.items()),
        _instrument(run, "probes", "Probes", LIMITS),
        *(_instrument(run, survey.draw[0][0], survey.title, survey.text) for survey in SURVEYS),
    ]
    return Table(
        (
            Column("Instrument"),
            Column("What it does and what it cannot show", wide=True),
            Column("Facts", help="on how many facts this run used it"),
            Column("States", help="in how many states"),
        ),
        tuple(rows),
        caption="A dash: not used in this run.",
        filterable=True,
    )


def _instrument(run: RunResults, table: str, title: str, text: str) -> Row:
    counts: list[Cell] = []
    for name in ("fact_id", "state"):
        known = run.has(table) and name in run.tables[table].columns
        used = len(set(run.tables[table][name].dropna())) if known else 0
        counts.append(Number(used, digits=0) if known else Missing())
    detail = ANALYSES.get(table, "")
    return Row((Text(title, detail=detail), Text(text, whole=True), *counts))


def _two_columns(
    rows: Iterable[tuple[str, str]], heads: tuple[str, str], *, caption: str = ""
) -> Table:
    first, second = heads
    return Table(
        (Column(first), Column(second, wide=True)),
        tuple(Row((Text(name), Text(meaning, whole=True))) for name, meaning in rows),
        caption=caption,
    )
