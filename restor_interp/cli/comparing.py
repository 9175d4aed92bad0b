"""The command `compare`: two runs, or two methods of one, side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from restor_interp.cli.shown import AsJson, err_console, say, show, show_json
from restor_interp.errors import ConfigError

MOST_ROWS = 20
"""Changed fates that a terminal shows; all are on the page."""


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of two runs; of one, with --methods.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Of one run, two of its states, as in npo,grad_diff. Of two runs, the states to "
            "compare; none: all that both have."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page: a file .html; none: beside the run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs, or two methods of one run: settings, numbers, and facts whose fate differs.

    Differences come with intervals over entities where both sides asked the same facts; each side
    is one run, and what another seed would change is not in them.
    """
    from restor_interp.definitions import find_definition
    from restor_interp.reporting.single_page import write_single_page

    found = _compared(runs, [name for name in (methods or "").split(",") if name])
    document = find_definition("report", "compare").run(found)
    page = write_single_page(document, out or _page(runs, found.names))
    if as_json:
        show_json(_as_values(found, page))
        return
    _draw(found)
    say(f"\nEvery number, and every fact: open {page}")


def _compared(folders: list[Path], names: list[str]) -> Any:
    from restor_interp.pipeline import open_run
    from restor_interp.reporting.comparing import compare_methods, compare_runs

    if len(folders) == 1 and len(names) == 2:
        return compare_methods(open_run(folders[0]).results(), names[0], names[1])
    if len(folders) != 2:
        raise ConfigError(
            f"given: runs {len(folders)}, methods {len(names)}; compare two runs "
            "(restor-interp compare RUN_A RUN_B), or two methods of one (restor-interp compare RUN "
            "--methods npo,grad_diff)"
        )
    first, second = (open_run(folder) for folder in folders)
    called = first.folder.name, second.folder.name
    if called[0] == called[1]:
        called = str(folders[0]), str(folders[1])
    return compare_runs(first.results(), second.results(), names=called, states=names)


def _page(folders: list[Path], names: tuple[str, str]) -> Path:
    from restor_interp.reporting.characters import file_stem

    stem = "-".join(file_stem(name).rpartition("-")[0] for name in names)
    return folders[0].parent / f"compare-{stem}.html"


def _draw(found: Any) -> None:
    from restor_interp.reporting.comparing import HEADLINE
    from restor_interp.reporting.comparison_parts import (
        LIMITS,
        comparison_sentence,
        difference_cell,
        is_apart,
        side_cell,
    )
    from restor_interp.reporting.formats import cell_text
    from restor_interp.reporting.vocabulary import FATES

    first, second = found.names
    if found.settings:
        rows = [{"setting": key, first: a, second: b} for key, a, b in found.settings]
        show(rows, as_json=False, title="settings that differ")
    rows = [
        {
            "state": each.label,
            "facts": each.role,
            "number": each.metric,
            first: cell_text(side_cell(each.first)).partition(" ")[0],
            second: cell_text(side_cell(each.second)).partition(" ")[0],
            "difference": cell_text(difference_cell(each)) + (" *" if is_apart(each) else ""),
        }
        for each in found.differences
        if each.metric in HEADLINE and each.role in ("direct", "untouched")
    ]
    show(rows, as_json=False, title="numbers", narrow=True)
    say(f"* its interval leaves out 0. {LIMITS}\n")
    rows = [
        {
            "state": change.label,
            "question": change.fact["question"],
            first: FATES[change.first].word,
            second: FATES[change.second].word,
        }
        for change in found.fate_changes[:MOST_ROWS]
    ]
    if rows:
        show(rows, as_json=False, title="facts that met another fate")
    rest = len(found.fate_changes) - len(rows)
    if rest:
        err_console.print(f"… and {rest} more on the page", style="dim")
    say(comparison_sentence(found))


def _as_values(found: Any, page: Path) -> dict[str, Any]:
    return {
        "names": list(found.names),
        "page": str(page),
        "settings": [
            {"setting": key, "first": own, "second": other} for key, own, other in found.settings
        ],
        "differences": [
            {
                "state": each.label,
                "role": each.role,
                "metric": each.metric,
                "first": each.first["value"],
                "second": each.second["value"],
                "difference": each.value,
                "low": None if each.paired is None else each.paired.low,
                "high": None if each.paired is None else each.paired.high,
                "p": None if each.paired is None else each.paired.p,
                "n_facts": None if each.paired is None else each.paired.n_facts,
                "n_entities": None if each.paired is None else each.paired.n_entities,
                "reason": each.reason,
            }
            for each in found.differences
        ],
        "fates": [
            {
                "state": change.label,
                "fact_id": change.fact["fact_id"],
                "first": change.first,
                "second": change.second,
            }
            for change in found.fate_changes
        ],
    }
