"""Inside the model, fact by fact: what each layer would answer, and where the answer comes from."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from restor_interp.reporting.evidence import evidence_of
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.interventions import (
    LENS,
    SWAPS,
    TRACES,
    TUNED,
    WORDS,
    first_finding,
    folded,
    instruments,
)
from restor_interp.reporting.lens import lens_lines, lens_map
from restor_interp.reporting.parts import (
    Details,
    Empty,
    Heatmaps,
    Panel,
    Paragraph,
    Part,
)
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.results import ANALYSES, EntityResults, records
from restor_interp.reporting.rows import (
    KINDS,
    UNITS,
    Axes,
    Cells,
    RowOf,
    finite,
    grouped,
    number,
    object_words,
    placed,
)
from restor_interp.reporting.swaps_map import swaps_map
from restor_interp.reporting.verdicts import is_planted, true_object
from restor_interp.reporting.vocabulary import order_states


def inside_by_fact(results: EntityResults) -> tuple[Part, ...]:
    """What every instrument saw of each fact that was looked into, folded away."""
    tools = instruments(results)
    tables = {name: _by_fact(results, name) for name in ("traces", "lens", "lens_top", *tools)}
    parts: list[Part] = []
    if not tables["traces"]:
        parts.append(Empty("No fact of this entity was traced.", results.run.command("traces")))
    if not tables["lens"]:
        parts.append(
            Empty("No fact of this entity was seen through the lens.", results.run.command("lens"))
        )
    ids = {fact_id for rows in tables.values() for fact_id in rows}
    looked = [fact for fact in results.facts if fact["fact_id"] in ids]
    for number_of, fact in enumerate(looked):
        rows = {name: found.get(fact["fact_id"], []) for name, found in tables.items()}
        inside: list[Part] = [*evidence_of(results, fact["fact_id"])]
        if rows["traces"]:
            inside += [Paragraph(TRACES, quiet=True), *trace_maps(rows["traces"], fact)]
        if rows["lens"]:
            tuned = any(row["lens"] == "tuned" for row in rows["lens"])
            text = f"{LENS} {TUNED}" if tuned else LENS
            lines = lens_lines(rows["lens"], fact, rows["lens_top"])
            inside += [Paragraph(text, quiet=True), *lines]
        words = lens_map(rows["lens_top"], fact)
        if words:
            map_of_words = (Paragraph(WORDS, quiet=True), *words)
            told = first_finding(words)
            title = "What each layer would say at each token"
            inside.append(Details(title, map_of_words, told=told))
        swaps = swaps_map(rows.get("patches", []), rows.get("grafts", []), fact)
        if swaps:
            best = (Paragraph(SWAPS, quiet=True), *swaps)
            inside.append(Details("Best swaps", best, told=first_finding(swaps)))
        inside += folded(tools, rows, fact)
        planted = is_planted(results.run, fact)
        summary = f"{fact['question']} (true: {true_object(fact)}"
        summary += (
            f", {'planted' if planted else 'false'}: {fact['false_object']})"
            if fact["false_object"]
            else ")"
        )
        parts.append(Details(summary, tuple(inside), key=fact["fact_id"], open=number_of == 0))
    rest = len(results.facts) - len(looked)
    if looked and rest:
        parts.append(
            Paragraph(f"{plural(rest, 'further fact')} of this entity not looked into.", quiet=True)
        )
    # What no command adds by itself (features need a dictionary) is not told to be missing.
    absent = [name for name in tools if name in ANALYSES and not results.run.has(name)]
    if absent:
        titles = ", ".join(tools[name].title.lower() for name in absent)
        parts.append(Empty(f"Not used in this run: {titles}.", results.run.command(*absent)))
    return tuple(parts)


def _by_fact(results: EntityResults, table: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if results.has(table):
        for row in records(results.table(table)):
            groups[row["fact_id"]].append(row)
    return groups


def trace_maps(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Effect of restoring one state at (layer, token): a map per state on one scale, and what
    differs from the clean model, in shares of each state's own total effect."""
    here = placed(rows, "position")
    plots: list[Part] = [] if here else [*not_measured(rows)]
    kinds = grouped(here, "kind", "corruption", "metric", "object", "window")
    for (kind, corruption, metric, target, window), chosen in kinds.items():
        axes = Axes.of(chosen, fact["entity"])
        grids, ends = {}, []
        lost = "substituted" if corruption == "substitution" else "noised"
        for state in order_states(row["state"] for row in chosen):
            own = [row for row in chosen if row["state"] == state]
            grids[state] = axes.cells(own, "score")
            low, high = (plain(number(own[0][end])) for end in ("low", "high"))
            ends.append(f"{state}: {axes.peak(grids[state])} ({low} {lost}, {high} whole)")
        values = [value for cells in grids.values() for value in finite(cells)]
        what = f"{KINDS.get(kind, kind)}, {object_words(target, fact)}"
        diverging = bool(values) and min(values) < 0 < max(values)
        odds = diverging and metric == "logodds"
        plots.append(
            Heatmaps(
                title=f"Causal tracing: {what}",
                panels=tuple(Panel(state, cells) for state, cells in grids.items()),
                value_title=f"{UNITS.get(metric, metric)} with this state restored",
                caption=(
                    f"Where restoring one state ({corruption} run, window {window}) brings the "
                    f"answer back most. {'; '.join(ends)}. Dotted: the subject."
                ),
                diverging=diverging,
                low_words="the falsehood leads" if odds else "nothing restored",
                high_words="the truth leads" if odds else "most restored",
                **axes.fields(),
            )
        )
        shares = {
            state: axes.cells(map(_with_share, (r for r in chosen if r["state"] == state)), "share")
            for state in grids
        }
        if finite(shares.get("clean", ())):
            plots += _difference(shares, axes, what)
    return tuple(plots)


def _with_share(row: RowOf) -> RowOf:
    """A row with what it restores as a share of what there is to restore; none where replacing
    the subject costs less than a nat, or less than 0.1 of probability."""
    low, high, score = (number(row[name]) for name in ("low", "high", "score"))
    least = 0.1 if row["metric"] == "prob" else 1.0
    return {**row, "share": (score - low) / (high - low) if high - low >= least else math.nan}


def _difference(grids: Mapping[str, Cells], axes: Axes, what: str) -> tuple[Part, ...]:
    panels, told, left = [], [], []
    for state, grid in grids.items():
        if state != "clean" and not finite(grid):
            left.append(state)
        elif state != "clean":
            gaps = tuple(
                tuple(mine - clean for mine, clean in zip(row, clean_row, strict=True))
                for row, clean_row in zip(grid, grids["clean"], strict=True)
            )
            panels.append(Panel(f"{state} − clean", gaps))
            told.append(f"{state}: {axes.peak(gaps, by=abs)}")
    more = (
        f" Not compared, because replacing the subject costs too little there: {', '.join(left)}."
        if left
        else ""
    )
    if not panels:
        return (Paragraph(f"Differences from the clean model: none.{more}", quiet=True),)
    return (
        Heatmaps(
            title=f"Difference from the clean model: {what}",
            panels=tuple(panels),
            value_title="difference in the restored share of the total effect",
            caption="What one state restores, of all that replacing the subject takes in its own "
            f"model; largest difference from clean. {'; '.join(told)}.{more}",
            diverging=True,
            low_words="less than clean",
            high_words="more than clean",
            **axes.fields(),
        ),
    )
