"""The sections of a run's first page below its states: entities, what is missing, provenance."""

from collections.abc import Mapping
from typing import Any

import yaml

from restor_interp.reporting.counts import (
    fate_counts,
    right_answers,
    states_with_fates,
    unmeasured,
)
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import (
    Callout,
    Cell,
    Code,
    Column,
    Details,
    Empty,
    EntityLink,
    FateBar,
    KeyValues,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.states import not_beyond_sham
from restor_interp.reporting.vocabulary import ROLES, state_kind

MOST_PROVENANCE = 80
"""Entries of a manifest that are shown; the file itself has all."""


# ---- the entities


def entity_table(run: RunResults) -> Table:
    """A row per entity, linked to its page, with a small bar of fates per method."""
    states = [state for state in states_with_fates(run) if state_kind(state) in ("method", "sham")]
    shown = [state for state in ("clean", "corrupted") if state in run.states]
    right = "Answers right"
    columns = [
        Column("Entity"),
        Column("Corrupted"),
        Column("Facts"),
        Column("Lost", help="known, not guessable, right when clean, wrong when corrupted"),
        *(
            Column(state, help="share of all answers, over facts and contexts", group=right)
            for state in shown
        ),
        *(Column(state, group="Fates; sorted by share restored") for state in states),
    ]
    rows = []
    for name in run.entities:
        results = run.entity(name)
        counts = {s: fate_counts(results, s, roles=tuple(ROLES)) for s in states}
        cells: list[Cell] = [
            EntityLink(name),
            Text("yes" if results.is_corrupted else "no"),
            Number(len(results.facts), digits=0),
            Number(counts[states[0]].lost, digits=0) if states else Missing(),
            *(_entity_accuracy(results, state) for state in shown),
            *(FateBar(counts[state].in_order()) for state in states),
        ]
        rows.append(Row(tuple(cells)))
    return Table(
        tuple(columns),
        tuple(rows),
        caption=(
            f"Entities: {len(run.corrupted_entities)} corrupted and "
            f"{len(run.entities) - len(run.corrupted_entities)} that no document is about."
        ),
        filterable=True,
    )


def _entity_accuracy(results: EntityResults, state: str) -> Cell:
    right, asked = right_answers(results, state, tuple(ROLES))
    return Number(right / asked, percent=True, digits=0) if asked else Missing()


# ---- what was not found, and where it all comes from


def not_found(run: RunResults) -> tuple[Part, ...]:
    """What was looked for and not seen, what failed, and what nobody measured."""
    parts: list[Part] = [*diverged(run), *not_beyond_sham(run)]
    for table in ("answers", "choices", "fates", "lens", "traces", "probes"):
        if not run.has(table):
            parts.append(Empty(f"The table {table} is empty or missing.", run.command(table)))
    parts += [Paragraph(f"{problem}.") for problem in run.problems]
    rows = [
        Row((Text(str(row["cell"])), Text(str(row["reason"]))))
        for row in records(run.table("failures"))
    ]
    if rows:
        parts.append(
            Table((Column("Failed"), Column("Why", wide=True)), tuple(rows), caption="Failed work")
        )
    left = unmeasured(run)
    rows = [
        Row((Text(table), Text(reason), Number(count, digits=0))) for table, reason, count in left
    ]
    if rows:
        columns = (Column("Table"), Column("Reason", wide=True), Column("Rows"))
        caption = (
            "Rows that lack a value, an interval or a control, by reason: "
            f"{sum(number for _, _, number in left)} rows, {plural(len(left), 'reason')}."
        )
        table = Table(columns, tuple(rows), caption=caption)
        parts.append(Details("What was not measured, and why", (table,), told=caption))
    return tuple(parts) or (Paragraph("Everything that was asked for was measured."),)


def diverged(run: RunResults) -> tuple[Part, ...]:
    """Trainings that were stopped; what is measured of them is their last good delta."""
    cells = {name: cell for name, cell in run.manifest.get("cells", {}).items() if cell}
    return tuple(
        Callout(
            f"{name.removeprefix('train/')} diverged ({cell['diverged']}): its numbers are those "
            "of the last good delta.",
            tone="warning",
        )
        for name, cell in cells.items()
        if cell.get("diverged")
    )


def provenance(run: RunResults) -> tuple[Part, ...]:
    """Run, versions, digests and settings, with the command that repeats it."""
    # The cells are many: last, so that they do not crowd out versions and digests.
    first = {key: value for key, value in run.manifest.items() if key != "cells"}
    items = [("run", run.name), *_flat({**first, "cells": run.manifest.get("cells", {})})]
    rest = len(items) - MOST_PROVENANCE
    if rest > 0:
        items = [*items[:MOST_PROVENANCE], ("…", f"{rest} more in manifest.json")]
    settings = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
    return (
        Paragraph("To repeat this run, give its configuration file to the same command:"),
        Code("restor-interp run config.yaml --out <another folder>"),
        Details("Settings (config.yaml)", (Code(settings),)),
        Details("Versions, digests and timings (manifest.json)", (KeyValues(tuple(items)),)),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            items += _flat(value, f"{name} · ")
        else:
            items.append((name, str(value)))
    return items
