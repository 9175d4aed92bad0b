"""What a run lacks, and where it comes from: sections of the page on methods."""

from collections.abc import Mapping
from typing import Any

import yaml

from restor_interp.reporting.counts import (
    unmeasured,
)
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import (
    Callout,
    Code,
    Column,
    Details,
    Empty,
    KeyValues,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.states import not_beyond_sham

MOST_PROVENANCE = 80
"""Entries of a manifest that are shown; the file itself has all."""


# ---- what was not found, and where it all comes from


def not_found(run: RunResults) -> tuple[Part, ...]:
    """What was looked for and not seen, what failed, and what nobody measured."""
    parts = [*_against_claims(run)]
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


def gaps_in_short(run: RunResults) -> tuple[Part, ...]:
    """Of the same, what speaks against a claim, and a line on the rest that leads to it."""
    left = unmeasured(run)
    rows = sum(count for _, _, count in left)
    told = f"{plural(rows, 'row')} of the tables lack something, for {plural(len(left), 'reason')}"
    failed = len(run.table("failures"))
    failures = f"; {plural(failed, 'piece')} of work failed" if failed else ""
    return (
        *_against_claims(run),
        Paragraph(
            f"{told}{failures}: what was not measured and why, settings, versions, words and "
            "controls",
            page="methods",
        ),
    )


def _against_claims(run: RunResults) -> tuple[Part, ...]:
    """Trainings that failed, methods that are not shown to restore, and tables without rows."""
    missing = [
        Empty(f"The table {table} is empty or missing.", run.command(table))
        for table in ("answers", "choices", "fates", "lens", "traces", "probes")
        if not run.has(table)
    ]
    problems = [Paragraph(f"{problem}.") for problem in run.problems]
    return (*diverged(run), *not_beyond_sham(run), *missing, *problems)


def diverged(run: RunResults) -> tuple[Part, ...]:
    """Trainings that were stopped; what is measured of them is their last good delta."""
    cells = {name: cell for name, cell in run.manifest.get("cells", {}).items() if cell}
    return tuple(
        Callout(
            f"{name.partition('/')[2]} diverged ({cell['diverged']}): its numbers are those "
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
