"""Documents as plain text, for terminals and for tests: no tags, no control characters."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.reporting.characters import one_line, shorten, token_label, visible
from restor_interp.reporting.counts import (
    FateCounts,
    ObjectScores,
    fate_counts,
    object_scores,
    states_with_fates,
)
from restor_interp.reporting.figures import note_on
from restor_interp.reporting.formats import (
    NOT_A_NUMBER,
    cell_text,
    interval_text,
    mark_sign,
    number_text,
    p_text,
    percent,
    plain,
    plural,
    signed,
)
from restor_interp.reporting.parts import (
    Amount,
    Amounts,
    Bars,
    Callout,
    Code,
    Details,
    Document,
    Empty,
    Heatmaps,
    KeyValues,
    Legend,
    LinePanel,
    Lines,
    Paragraph,
    Part,
    Plot,
    Section,
    Table,
)
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.states import accuracy, fate_share, p_false, verdict_on_run
from restor_interp.reporting.summary import Gap, gap_to_sham

WIDEST = 40
"""Code points of a table's cell."""

SUMMARY_HEADS = (
    *("state", "p(false)", "right: direct", "right: untouched", "restored [95%]", "guessed"),
    *("still false", "forgotten", "still lost", "minus sham [95%]"),
)
"""Columns of `summary_text`."""


def to_text(what: Document | Part, *, width: int = 100) -> str:
    """A document or one part of it as text; plots become the table of their numbers."""
    if isinstance(what, Document):
        lines = [what.title, "=" * min(len(what.title), width)]
        lines += [what.subtitle] if what.subtitle else []
        blocks = ["\n".join(lines), *(to_text(part, width=width) for part in what.parts)]
        return visible("\n\n".join(blocks))
    return visible("\n".join(_lines(what, width)))


def summary_text(run: RunResults, *, width: int = 110) -> str:
    """The table of states, at most `width` wide, and the verdict: what a run prints at its end."""
    scores = object_scores(run)
    counts = {state: fate_counts(run, state) for state in states_with_fates(run)}
    rows = [[one_line(state), *_summary_row(run, state, scores, counts)] for state in run.states]
    gaps = {state: gap_to_sham(run, state) for state in run.states}
    tests = [
        f"{state} {p_text(gap.p)}, mde {'∞' if gap.mde is None else plain(100 * gap.mde, 0)}"
        for state, gap in gaps.items()
        if gap is not None and gap.p is not None
    ]
    lost = next((found.lost for found in counts.values()), 0)
    note = (
        f"restored … still lost: of {plural(lost, 'fact')} that corruption took. minus sham: "
        "points of the restored share"
    )
    if tests:
        note += (
            ", on other contexts than facts were chosen on; mde: the smallest difference that "
            f"would be found in 4 of 5 such runs. {'; '.join(tests)}"
        )
    told = (f"{note}.", verdict_on_run(run) or "No method has been judged.")
    table = "\n".join(_two_line_grid(SUMMARY_HEADS, rows, width))
    return "\n\n".join([table, *(textwrap.fill(one_line(text), width) for text in told)])


def _summary_row(
    run: RunResults,
    state: str,
    scores: Mapping[tuple[str, str], ObjectScores],
    counts: Mapping[str, FateCounts],
) -> list[str]:
    cells = [
        "" if number is None else number_text(number)
        for number in (
            p_false(run, state, scores),
            accuracy(run, state, "direct"),
            accuracy(run, state, "untouched"),
        )
    ]
    if state not in counts:
        return [*cells, *[""] * (len(FATES_OF_LOST) + 1)]
    own = counts[state]
    restored = fate_share(run, state, "restored", own)
    cells.append(str(restored.k))
    if restored.n:
        interval = interval_text(restored).rstrip("%")
        cells[-1] += f" {percent(restored.k / restored.n)}% [{interval}]"
    cells += [str(own.of(fate)) for fate in FATES_OF_LOST[1:]]
    return [*cells, _gap_text(gap_to_sham(run, state))]


def _gap_text(gap: Gap | None) -> str:
    if gap is None:
        return ""
    value = signed(100 * gap.value, 0)
    if gap.low is None or gap.high is None:
        return value
    return f"{value} [{plain(100 * gap.low, 0)}, {plain(100 * gap.high, 0)}]"


def _two_line_grid(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> Iterable[str]:
    """Columns flush right, heads split at their last space, long names in the first column cut."""
    upper = [head.rpartition(" ")[0] for head in heads]
    lower = [head.rpartition(" ")[2] for head in heads]
    widths = [max(map(len, column)) for column in zip(upper, lower, *rows, strict=True)]
    widths[0] = max(8, min(widths[0], width - sum(widths[1:]) - 2 * len(widths[1:])))
    for number, (name, *texts) in enumerate([upper, lower, *rows]):
        cells = [text.rjust(room) for text, room in zip(texts, widths[1:], strict=True)]
        yield "  ".join([shorten(name, widths[0]).ljust(widths[0]), *cells]).rstrip()
        if number == 1:
            yield "  ".join("-" * room for room in widths)


def _lines(part: Part, width: int) -> Iterable[str]:
    match part:
        case Paragraph() | Callout():
            yield from textwrap.wrap(part.text, width) or [""]
        case Empty():
            yield part.what + (f" Add it with: {part.command}" if part.command else "")
        case Code():
            yield from (f"    {line}" for line in part.text.splitlines())
        case KeyValues():
            yield from (f"{key}: {value}" for key, value in part.items)
        case Legend():
            for name in part.names:
                sign = mark_sign(name)
                yield f"{sign.glyph} {sign.word}: {sign.meaning}"
        case Table():
            yield from _table(part)
        case Heatmaps() | Lines() | Bars() | Amounts():
            yield from _plot(part, width)
        case Details():
            yield f"▸ {part.summary}" + (f": {part.told}" if part.told else "")
            for inner in part.parts:
                yield from (f"  {line}" for line in _lines(inner, width - 2))
        case Section():
            yield part.title
            yield "-" * min(len(part.title), width)
            for text in filter(None, (part.intro, *(to_text(p, width=width) for p in part.parts))):
                yield from (text, "")


def _table(table: Table) -> Iterable[str]:
    if table.caption:
        yield table.caption
    heads = [f"{c.group.rstrip(', %')}: {c.title}" if c.group else c.title for c in table.columns]
    rows = [[cell_text(cell) for cell in row.cells] for row in table.rows]
    yield from _grid([column.title for column in table.columns] if rows else heads, rows)


def _plot(plot: Plot, width: int) -> Iterable[str]:
    yield plot.title
    yield from textwrap.wrap(plot.caption, width)
    match plot:
        case Heatmaps():
            write = signed if plot.diverging else plain
            for panel in plot.panels:
                rows = [
                    [name, *map(write, values)]
                    for name, values in zip(plot.rows, panel.values, strict=True)
                ]
                for row, places in zip(rows, panel.likeliest, strict=False):
                    first = [token_label(one.tokens[0]) if one else "" for one in places]
                    row[1:] = [f"{a} {b}" for a, b in zip(first, row[1:], strict=True)]
                yield f"[{panel.name or plot.value_title}]"
                yield from _grid([plot.row_title, *plot.columns], rows[::-1])
        case Lines():
            for panel in plot.panels:
                if any(not line.joined for line in panel.series):
                    yield f"[{panel.name or plot.y_title}]"
                    yield from _grid(["", plot.x_title, plot.y_title], _points(panel))
                    continue
                xs = sorted({x for line in panel.series for x in line.x})
                lines = [dict(zip(line.x, line.y, strict=True)) for line in panel.series]
                rows = [
                    [
                        plot.x_labels[int(x)] if plot.x_labels else f"{x:g}",
                        *(_point(line.get(x)) for line in lines),
                    ]
                    for x in xs
                ]
                yield f"[{panel.name or plot.y_title}]"
                yield from _grid([plot.x_title, *(line.name for line in panel.series)], rows)
        case Bars():
            rows = [
                [name, *(str(counts[at]) for _, counts in plot.segments)]
                for at, name in enumerate(plot.categories)
            ]
            yield from _grid(["", *(mark_sign(name).word for name, _ in plot.segments)], rows)
        case Amounts():
            for panel in plot.panels:
                rows = [
                    [bar.name, _point(bar.value), _point(bar.control), _range(bar)]
                    for bar in panel.amounts
                ]
                yield f"[{panel.name or plot.value_title}]"
                yield from _grid(["", plot.value_title, plot.control_words, ""], rows)
    if not isinstance(plot, Bars) and (note := note_on(plot)):
        yield note


def _points(panel: LinePanel) -> list[list[str]]:
    """A row per point of what is not joined: such points share no places."""
    return [
        [line.name, _point(x), _point(y)]
        for line in panel.series
        if not line.joined
        for x, y in zip(line.x, line.y, strict=True)
    ]


def _point(value: float | None) -> str:
    """A line's value at some x; empty where the line has none."""
    if value is None:
        return ""
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else NOT_A_NUMBER


def _range(bar: Amount) -> str:
    return "" if bar.low is None or bar.high is None else f"{_point(bar.low)} to {_point(bar.high)}"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns of text under their heads, two spaces apart."""
    shown = [[shorten(one_line(text), WIDEST) for text in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(heads))]
    for number, row in enumerate(shown):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield line.rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)
