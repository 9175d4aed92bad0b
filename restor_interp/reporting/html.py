"""Documents as a folder of HTML pages that open from the disk: the only place that knows tags.

    <folder>/
      index.html            the first page
      e/<slug>-<hash>.html  a page per entity
      data/                 what each page's plots are drawn from
      assets/               plotly (once), the page's own script and style, licences
      manifest.json         path, bytes and sha256 of every file

Templates escape every value (jinja2, autoescape and strict undefined names). Pages hold no inline
script. The data of a page's plots is a file of its own, which the page's script loads when the
first plot comes near: one base64 text of compressed JSON, in which no character can be markup. The
content security policy allows the site's own files alone, so that a page makes no request to
anywhere else. The same documents give the same bytes.
"""

import base64
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from restor_interp.disk import storage_errors
from restor_interp.errors import DataError, StorageError
from restor_interp.reporting.characters import SHOWN, file_stem, short_hash, shorten, visible
from restor_interp.reporting.figures import Drawing, draw, line_names, note_on
from restor_interp.reporting.formats import interval_text, mark_sign, number_text, percent, sort_key
from restor_interp.reporting.parts import (
    Amounts,
    Details,
    Document,
    Lines,
    Number,
    Plot,
    Section,
    Share,
    Table,
    parts_in,
)
from restor_interp.reporting.vocabulary import (
    CIVIDIS,
    CONTROL_LOOK,
    FALSE_LOOK,
    FATES,
    OUTCOMES,
    RED_BLUE,
    TRUE_LOOK,
    ink_on,
    look_of,
)

_SCRIPTS = ("report.js", "explore.js")
"""Written into one file; the second uses what the first defines."""

PLOTLY = "plotly-cartesian-4.1.1.min.js"
"""The part of plotly.js that draws maps, lines and bars: a third of what the Python package holds,
so that the first plot is there in half the time. Unchanged from npm, plotly.js-cartesian-dist-min.
"""

_DASHES = {
    "solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3",
    "longdash": "11 4", "longdashdot": "11 3 2 3",
}  # fmt: skip


_SHAPES = {
    "circle": "M13 5a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "M13.5 1.5h7v7h-7z",
    "diamond": "M17 0l4 5-4 5-4-5z",
    "diamond-tall": "M17 0l3 5-3 5-3-5z",
    "triangle-up": "M17 1l4.5 8h-9z",
    "triangle-down": "M17 9l4.5-8h-9z",
    "x": "M13 2l1-1 3 3 3-3 1 1-3 3 3 3-1 1-3-3-3 3-1-1 3-3z",
    "star": "M17 0l1.3 3.4 3.7.2-2.9 2.3 1 3.6-3.1-2-3.1 2 1-3.6-2.9-2.3 3.7-.2z",
    "pentagon": "M17 .5l4.5 3.3-1.7 5.4h-5.6l-1.7-5.4z",
    "cross": "M15 .5h4v2.5h2.5v4h-2.5v2.5h-4v-2.5h-2.5v-4h2.5z",
    "hexagon": "M17 .5l4 2.2v4.6l-4 2.2-4-2.2v-4.6z",
}
"""Markers of lines as SVG paths around (17, 5), for the legend; rare ones are left out."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What the templates know about the page that they draw, and its place in the site."""

    document: Document
    root: str
    """Path from the page to the site's folder."""
    data: str
    """The file with the data of its plots."""
    run: str
    home: str
    """Where the first page is; empty on the first page itself."""
    before: tuple[str, str] | None
    """Address and name of the entity before this one, if there is one."""
    after: tuple[str, str] | None
    pages: Mapping[str, str]
    """Entity -> file, for links."""

    @property
    def plotly(self) -> str:
        return f"{self.root}assets/{PLOTLY}"

    @cached_property
    def plots(self) -> list[tuple[Drawing, ...]]:
        """The drawings of every plot, in the order in which they stand on the page."""
        return [draw(p) for p in parts_in(self.document.parts) if isinstance(p, Plot)]

    def anchors(self) -> set[str]:
        """Keys that something on this page unfolds."""
        return {p.key for p in parts_in(self.document.parts) if isinstance(p, Details) and p.key}

    def sections(self) -> list[tuple[str, str]]:
        """(anchor, title) of the table of contents."""
        titles = [part.title for part in self.document.parts if isinstance(part, Section)]
        return [(f"s{number}", title) for number, title in enumerate(titles, 1)]


def write_site(index: Document, pages: Mapping[str, Document], folder: str | Path) -> Path:
    """Write a report and return the path of its first page.

    The folder appears as a whole or not at all: everything is written beside it and moved there.
    A report that is there already is replaced.

    Args:
        index: the first page.
        pages: entity -> its page, in the order in which a reader turns them.

    Raises:
        DataError: two entities whose names cannot be told apart in a file name.
        StorageError: the folder holds something that is not a report, or cannot be written.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    files = site_files(index, pages)
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        try:
            for name, data in files.items():
                path = fresh / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if folder.exists():
                folder.replace(old)
            fresh.replace(folder)
        except OSError:
            if old.exists() and not folder.exists():
                old.replace(folder)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    return folder / "index.html"


def site_files(index: Document, pages: Mapping[str, Document]) -> dict[str, bytes]:
    """Every file of a site by its path; the same documents give the same bytes."""
    places = _places(pages)
    environment = _environment()
    template = environment.get_template("page.html")
    names = list(pages)
    links = [(f"{file_stem(name)}.html", name) for name in names]
    shared = {"run": index.title, "pages": places}
    drawn = [
        _Page(
            document=index,
            root="",
            data="data/index.js",
            home="",
            before=None,
            after=None,
            **shared,
        )
    ]
    for number, name in enumerate(names):
        drawn.append(
            _Page(
                document=pages[name],
                root="../",
                data=f"data/{file_stem(name)}.js",
                home="../index.html",
                before=links[number - 1] if number else None,
                after=links[number + 1] if number + 1 < len(names) else None,
                **shared,
            )
        )
    files: dict[str, bytes] = {}
    for path, page in zip(("index.html", *places.values()), drawn, strict=True):
        files |= {path: _render(template, page), page.data: _packed(page.plots)}
    files |= _assets()
    manifest = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    }
    files["manifest.json"] = (json.dumps({"files": manifest}, indent=1) + "\n").encode()
    return files


def _places(pages: Mapping[str, Document]) -> dict[str, str]:
    """Entity -> its page's file."""
    places: dict[str, str] = {}
    for name in pages:
        place = f"e/{file_stem(name)}.html"
        if place in places.values():
            other = next(found for found, taken in places.items() if taken == place)
            raise DataError(
                f"the entities {other!r} and {name!r} are the same text in another Unicode form, "
                "so they would share a page; rename one of them"
            )
        places[name] = place
    return places


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "manifest.json").is_file():
        raise StorageError(
            f"{folder} holds something that is not a report, and a report replaces its whole "
            "folder. Choose another folder, or empty this one"
        )
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file; a report needs a folder of its own")


# ---- rendering


def _render(template: jinja2.Template, page: _Page) -> bytes:
    return (template.render(page=page, document=page.document) + "\n").encode("utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("restor_interp.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "kind": lambda value: type(value).__name__,
        "anchor": lambda key: f"k-{short_hash(key)}",
        "shorten": shorten,
        "sort_key": sort_key,
        "interval": interval_text,
        "number": number_text,
        "sign": mark_sign,
        "note": note_on,
        "percent": percent,
        "ends": lambda plot: [f"{value:.3g}".replace("-", "−") for value in plot.limits()],
        "samples": _samples,
        "swatches": _swatches,
        "groups": _column_groups,
        "numeric": _numeric_columns,
    }
    environment.globals |= {
        "SHOWN": SHOWN,
        "FATES": FATES,
    }
    return environment


def _shown(value: Any) -> Any:
    """Every text that a template writes, made visible; what macros return already is."""
    return visible(value) if type(value) is str else value


def _packed(plots: Sequence[Sequence[Drawing]]) -> bytes:
    """What a page's script needs to draw: JSON, a list per plot with one entry a panel, packed.

    All plots are packed as one, because they have most of their layout in common.
    """
    panels = [
        [{**one.figure, "names": one.names, "labels": one.labels} for one in plot] for plot in plots
    ]
    text = json.dumps(panels, sort_keys=True, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'window.packedPlots = "{packed}";\n'.encode()


def _samples(plot: Lines) -> list[dict[str, str]]:
    """The legend of a line plot: each line once, with its number, name and look."""
    lines = {line.name: line for panel in plot.panels for line in panel.series}
    samples = []
    for number, name in enumerate(line_names(plot)):
        look, n = look_of(lines[name].look), lines[name].n
        samples.append(
            {
                "id": f"l{number}",
                "name": f"{name} (n={n})" if n is not None else name,
                "colour": look.colour,
                "dash": _DASHES[look.dash] if lines[name].joined else "",
                "shape": _SHAPES.get(look.symbol.removesuffix("-open"), ""),
                "fill": "none" if look.symbol.endswith("-open") else look.colour,
            }
        )
    return samples


def _swatches(plot: Amounts) -> list[tuple[str, str, str, str]]:
    """(sign, words, colour, ink) of the two directions of bars, and of their control."""
    meanings = [("→", plot.high_words, TRUE_LOOK)]
    meanings += [("←", plot.low_words, FALSE_LOOK)] if plot.low_words else []
    if any(bar.control is not None for panel in plot.panels for bar in panel.amounts):
        meanings.append(("◇", plot.control_words, CONTROL_LOOK))
    return [(sign, words, look.colour, ink_on(look.colour)) for sign, words, look in meanings]


def _column_groups(columns: Any) -> list[tuple[str, int]]:
    """(group, number of columns) of neighbouring columns with one heading; empty: no groups."""
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups if any(name for name, _ in groups) else []


def _numeric_columns(table: Table) -> set[int]:
    """Places of the columns that hold numbers; they are set flush right."""
    return {
        place
        for row in table.rows
        for place, cell in enumerate(row.cells)
        if isinstance(cell, Number | Share)
    }


# ---- assets


def _assets() -> dict[str, bytes]:
    own = Path(__file__).parent / "assets"
    return {
        f"assets/{PLOTLY}": (Path(__file__).parent / "bundled" / PLOTLY).read_bytes(),
        "assets/report.css": (own / "report.css").read_bytes() + _own_styles().encode(),
        "assets/report.js": b"".join((own / name).read_bytes() for name in _SCRIPTS),
        "assets/LICENSES.txt": _licences().encode("utf-8"),
    }


def _own_styles() -> str:
    """The vocabulary's colours as classes: of outcomes and fates, and of the scales of maps."""
    signs = {
        **{f"o-{n}": s for n, s in OUTCOMES.items()},
        **{f"f-{n}": s for n, s in FATES.items()},
    }
    rules = [
        f".{name} {{ --sign: {sign.colour}; --sign-ink: {ink_on(sign.colour)} }}\n"
        for name, sign in signs.items()
    ]
    rules += [
        f".{name} {{ background: linear-gradient(to right, {', '.join(colours)}) }}\n"
        for name, colours in (("ramp", CIVIDIS), ("ramp.diverging", RED_BLUE))
    ]
    return "\n" + "".join(rules)


def _licences() -> str:
    """The licence of the plotting library that is shipped with every report."""
    text = (Path(__file__).parent / "bundled" / "plotly-LICENSE.txt").read_text(encoding="utf-8")
    return (
        f"{PLOTLY} is a part of plotly.js, https://plotly.com, taken unchanged from the npm "
        f"package plotly.js-cartesian-dist-min, under this licence:\n\n{text}"
    )
