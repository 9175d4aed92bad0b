"""Inside the model, fact by fact: what each layer would answer, and where the answer comes from."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from restor_interp.reporting.characters import token_label
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Details,
    Empty,
    Heatmaps,
    LinePanel,
    Lines,
    Panel,
    Paragraph,
    Part,
    Series,
)
from restor_interp.reporting.results import EntityResults, records
from restor_interp.reporting.verdicts import true_object
from restor_interp.reporting.vocabulary import order_states


def inside_by_fact(results: EntityResults) -> tuple[Part, ...]:
    """Lens and tracing of every fact that was looked into, each folded away."""
    lens, traces = _by_fact(results, "lens"), _by_fact(results, "traces")
    parts: list[Part] = []
    if not traces:
        parts.append(Empty("No fact of this entity was traced.", results.run.command("traces")))
    if not lens:
        parts.append(
            Empty("No fact of this entity was seen through the lens.", results.run.command("lens"))
        )
    looked = [fact for fact in results.facts if fact["fact_id"] in {*lens, *traces}]
    for number, fact in enumerate(looked):
        inside: list[Part] = []
        if fact["fact_id"] in traces:
            inside += trace_maps(traces[fact["fact_id"]], results.entity)
        if fact["fact_id"] in lens:
            inside += lens_lines(lens[fact["fact_id"]], fact)
        planted = "planted" if fact["role"] == "direct" else "false"
        summary = f"{fact['question']} (true: {true_object(fact)}"
        summary += f", {planted}: {fact['false_object']})" if fact["false_object"] else ")"
        parts.append(Details(summary, tuple(inside), key=fact["fact_id"], open=number == 0))
    rest = len(results.facts) - len(looked)
    if looked and rest:
        parts.append(
            Paragraph(f"{plural(rest, 'further fact')} of this entity not looked into.", quiet=True)
        )
    return tuple(parts)


def _by_fact(results: EntityResults, table: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in records(results.table(table)):
        groups[row["fact_id"]].append(row)
    return groups


def lens_lines(rows: Sequence[Mapping[str, Any]], fact: Mapping[str, Any]) -> tuple[Part, ...]:
    """Log-probability of the true and the false object after each layer, a panel per state."""
    plots = []
    for lens, position in dict.fromkeys((row["lens"], row["position"]) for row in rows):
        chosen = [row for row in rows if (row["lens"], row["position"]) == (lens, position)]
        states = order_states(row["state"] for row in chosen)
        panels, led = [], []
        for state in states:
            series = []
            for name in ("true", "false"):
                points = sorted(
                    (row["layer"], row["logprob"])
                    for row in chosen
                    if row["state"] == state
                    and object_role(row["object"], fact) == name
                    and row["logprob"] is not None
                )
                if points:
                    xs, ys = zip(*points, strict=True)
                    series.append(Series(name=f"{name} object", x=xs, y=ys, look=name))
            panels.append(LinePanel(state, tuple(series)))
            led.append(f"{state}: {_leader(series)}")
        plots.append(
            Lines(
                title=f"What each layer would answer ({lens} lens at {position})",
                panels=tuple(panels),
                x_title="layer",
                y_title="log-probability (nats)",
                caption=f"Which object leads: {'; '.join(led)}.",
            )
        )
    return tuple(plots)


def object_role(name: str, fact: Mapping[str, Any]) -> str | None:
    """`true` or `false`, whether a table names the object by its role or by its text."""
    if name in ("true", "false"):
        return name
    if name == fact["false_object"]:
        return "false"
    return "true" if name in {str(n) for n in fact["true_objects"]} else None


def _leader(series: Sequence[Series]) -> str:
    """Who leads after the last layer, and since when."""
    if len(series) < 2:
        return "only one object was measured"
    shared = sorted(set(series[0].x) & set(series[1].x))
    if not shared:
        return "no layer in common"
    first, second = (dict(zip(line.x, line.y, strict=True)) for line in series)
    ahead = [first[layer] > second[layer] for layer in shared]
    since = len(ahead) - 1
    while since and ahead[since - 1] == ahead[-1]:
        since -= 1
    winner = "true" if ahead[-1] else "false"
    return f"{winner} at every layer" if since == 0 else f"{winner} from layer {shared[since]:g}"


def trace_maps(rows: Sequence[Mapping[str, Any]], entity: str) -> tuple[Part, ...]:
    """Effect of restoring one state at (layer, token): a map per state on one scale, and what
    differs from the clean model."""
    kinds = dict.fromkeys(
        (row["kind"], row["corruption"], row["metric"], row["object"], row["window"])
        for row in rows
    )
    plots: list[Part] = []
    for kind, corruption, metric, target, window in kinds:
        chosen = [
            row
            for row in rows
            if (row["kind"], row["corruption"], row["metric"], row["object"], row["window"])
            == (kind, corruption, metric, target, window)
        ]
        tokens = {row["position"]: str(row["token"]) for row in chosen}
        places, layers = sorted(tokens), sorted({row["layer"] for row in chosen})
        grids, ends = {}, []
        lost = "substituted" if corruption == "substitution" else "noised"
        for state in order_states(row["state"] for row in chosen):
            cells = {
                (row["layer"], row["position"]): row["score"]
                for row in chosen
                if row["state"] == state
            }
            grids[state] = [[_float(cells.get((layer, at))) for at in places] for layer in layers]
            some = next(row for row in chosen if row["state"] == state)
            ends.append(
                f"{state}: {_peak(grids[state], layers, [tokens[at] for at in places])}"
                f" ({plain(_float(some['low']))} {lost}, {plain(_float(some['high']))} whole)"
            )
        values = [v for grid in grids.values() for row in grid for v in row if math.isfinite(v)]
        common = {
            "rows": tuple(str(layer) for layer in layers),
            "columns": tuple(tokens[at] for at in places),
            "row_title": "layer",
            "column_title": "token",
            "tokens": True,
            "subject": subject_columns([tokens[at] for at in places], entity),
        }
        names = {"resid": "residual stream", "mlp": "MLP output", "attn": "attention output"}
        what = f"{names.get(kind, kind)}, {target} object"
        plots.append(
            Heatmaps(
                title=f"Causal tracing: {what}",
                panels=tuple(Panel(state, tuple(map(tuple, g))) for state, g in grids.items()),
                value_title=f"{metric} with this state restored",
                caption=(
                    f"Where restoring one state ({corruption} run, window {window}) brings the "
                    f"answer back most. {'; '.join(ends)}. Dotted: the subject."
                ),
                diverging=bool(values) and min(values) < 0 < max(values),
                low_words="nothing restored",
                high_words="most restored",
                **common,
            )
        )
        if "clean" in grids and len(grids) > 1:
            plots.append(_difference(grids, what, metric, layers, common))
    return tuple(plots)


def _difference(
    grids: Mapping[str, Sequence[Sequence[float]]],
    what: str,
    metric: str,
    layers: Sequence[int],
    common: Mapping[str, Any],
) -> Heatmaps:
    panels, told = [], []
    for state, grid in grids.items():
        if state != "clean":
            gaps = [
                [mine - clean for mine, clean in zip(row, clean_row, strict=True)]
                for row, clean_row in zip(grid, grids["clean"], strict=True)
            ]
            panels.append(Panel(f"{state} − clean", tuple(map(tuple, gaps))))
            size = [[abs(value) for value in row] for row in gaps]
            told.append(f"{state}: {_peak(size, layers, common['columns'], gaps)}")
    return Heatmaps(
        title=f"Difference from the clean model: {what}",
        panels=tuple(panels),
        value_title=f"difference in {metric}",
        caption=f"Largest difference from clean. {'; '.join(told)}.",
        diverging=True,
        low_words="less than clean",
        high_words="more than clean",
        **common,
    )


def _peak(
    grid: Sequence[Sequence[float]],
    layers: Sequence[int],
    tokens: Sequence[str],
    values: Sequence[Sequence[float]] | None = None,
) -> str:
    """Where the largest finite cell is, in words, with its value (from `values`, if given)."""
    cells = [
        (value, row, column)
        for row, line in enumerate(grid)
        for column, value in enumerate(line)
        if math.isfinite(value)
    ]
    if not cells:
        return "nothing measured"
    _, row, column = max(cells)
    return (
        f"layer {layers[row]}, token “{token_label(tokens[column])}”, "
        f"{plain((values or grid)[row][column])}"
    )


def subject_columns(tokens: Sequence[str], entity: str) -> tuple[int, ...]:
    """The tokens that spell the entity's name, the last time it occurs; none if it does not."""
    text = "".join(tokens)
    start = text.rfind(entity)
    if start < 0:
        return ()
    found, place = [], 0
    for column, token in enumerate(tokens):
        if place < start + len(entity) and place + len(token) > start and token.strip():
            found.append(column)
        place += len(token)
    return tuple(found)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
