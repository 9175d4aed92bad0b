"""Token attributions of one fact: a strip of the prompt's tokens per state."""

from collections.abc import Sequence

from restor_interp.reporting.characters import token_label
from restor_interp.reporting.formats import plain, signed
from restor_interp.reporting.parts import Heatmaps, Panel, Paragraph, Part
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.rows import RowOf, finite, grouped, number, reasons, subject_columns
from restor_interp.reporting.vocabulary import order_states

KINDS = {
    "occlusion": "each token replaced by a neutral word (exact)",
    "gradient": "to first order",
    "integrated": "integrated gradients",
}


def token_strips(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """States by tokens, a figure per kind: scales differ between kinds, not between states."""
    if all(row["position"] is None for row in rows):
        return not_measured(rows)
    rows = [row for row in rows if row["position"] is not None]
    tokens = {int(row["position"]): str(row["token"]) for row in rows}
    places = tuple(sorted(tokens))
    labels = tuple(tokens[place] for place in places)
    inside = {int(row["position"]) for row in rows if row.get("in_subject")}
    subject = tuple(n for n, place in enumerate(places) if place in inside)
    parts: list[Part] = []
    groups = grouped(rows, "kind")
    for kind in sorted((kind for (kind,) in groups), key=_order):
        parts += _strip(
            groups[kind,], kind, places, labels, subject or subject_columns(labels, fact["entity"])
        )
    left = reasons(rows)
    if left:
        parts.append(Paragraph(f"Crossed cells: {left}.", quiet=True))
    return tuple(parts)


def _order(kind: str) -> int:
    known = list(KINDS)
    return known.index(kind) if kind in known else len(known)


def _strip(
    rows: Sequence[RowOf],
    kind: str,
    places: tuple[int, ...],
    labels: tuple[str, ...],
    subject: tuple[int, ...],
) -> tuple[Part, ...]:
    own = grouped(rows, "state")
    states = order_states(state for (state,) in own)
    cells, told = [], []
    for state in states:
        found = {int(row["position"]): number(row["value"]) for row in own[state,]}
        line = tuple(found.get(place, float("nan")) for place in places)
        cells.append(line)
        told.append(_told(state, line, labels, subject, own[state,][0]))
    if not finite(tuple(cells)):
        return ()
    return (
        Heatmaps(
            title=f"Which tokens the answer listens to: {KINDS.get(kind, kind)}",
            panels=(Panel("", tuple(reversed(cells))),),
            rows=tuple(reversed(states)),
            columns=labels,
            row_title="state",
            column_title="token",
            value_title="log-odds true : false that the token adds, nats",
            caption=f"Of n = {len(places)} tokens: {'; '.join(told)}. Dotted: the subject.",
            diverging=True,
            tokens=True,
            subject=subject,
            low_words="speaks for the falsehood",
            high_words="speaks for the truth",
        ),
    )


def _told(
    state: str,
    line: Sequence[float],
    labels: Sequence[str],
    subject: Sequence[int],
    row: RowOf,
) -> str:
    known = [(abs(value), n) for n, value in enumerate(line) if value == value]
    if not known:
        return f"{state} not measured"
    _, most = max(known)
    own = sum(line[n] for _, n in known if n in subject)
    whole = sum(line[n] for _, n in known)
    text = (
        f"{state}: most “{token_label(labels[most])}” ({signed(line[most])}), the subject "
        f"{signed(own)} of {signed(whole)} together"
    )
    if row.get("rank_correlation") is not None and row["kind"] != "occlusion":
        text += f"; rank correlation with occlusion {plain(number(row['rank_correlation']))}"
    if row.get("completeness_error") is not None:
        text += f", error of the sum {plain(number(row['completeness_error']))}"
    return text
