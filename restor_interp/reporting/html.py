"""Documents as a folder of HTML pages that open from the disk: the only place that knows tags.

    <folder>/
      index.html            the first page
      methods.html          a page that every other leads to, and what else the first one brings
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
import re
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
from restor_interp.reporting.figures import Drawing, draw, note_on
from restor_interp.reporting.formats import interval_text, mark_sign, number_text, percent, sort_key
from restor_interp.reporting.html_assets import PLOTLY, shared_files
from restor_interp.reporting.html_filters import (
    column_groups,
    numeric_columns,
    samples,
    swatches,
)
from restor_interp.reporting.meanings import Words, table_words
from restor_interp.reporting.parts import Details, Document, Lines, Plot, Section, Table, parts_in
from restor_interp.reporting.vocabulary import FATES


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
    further: Mapping[str, str]
    """Name -> title of the pages beside the first one."""
    name: str = ""
    """Which of these it is itself."""

    def address(self, name: str) -> str:
        """Where a page of the site is, seen from this one; empty where there is no such page."""
        return f"{self.root}{name}.html" if name == "index" or name in self.further else ""

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

    def words(self, table: Table) -> tuple[str, Words]:
        """Where the words of a table are told on this page, and the words where that is here:
        below the first table that has just these. Empty for a table that needs none."""
        told = table_words(table)
        if not told or told in self._told:
            return self._told.get(told, ""), ()
        return self._told.setdefault(told, f"w{len(self._told) + 1}"), told

    @cached_property
    def _told(self) -> dict[Words, str]:
        return {}

    def line_signs(self) -> list[dict[str, str]]:
        """How lines look in the legends of this page: each look once, which all legends share."""
        plots = (part for part in parts_in(self.document.parts) if isinstance(part, Lines))
        return list({line["sign"]: line for plot in plots for line in samples(plot)}.values())

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
    further = dict(index.further)
    _check_names(further)
    titles = {name: document.title for name, document in further.items()}
    shared = {"run": index.title, "pages": places, "further": titles}
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
    drawn += [
        _Page(
            document=document,
            root="",
            data=f"data/{name}.js",
            home="index.html",
            before=None,
            after=None,
            name=name,
            **shared,
        )
        for name, document in further.items()
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
    paths = ("index.html", *(f"{name}.html" for name in further), *places.values())
    for path, page in zip(paths, drawn, strict=True):
        files |= {path: _render(template, page), page.data: _packed(page.plots)}
    files |= shared_files()
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


def _check_names(further: Mapping[str, Document]) -> None:
    for name in further:
        if not re.fullmatch("[a-z][a-z_]{0,39}", name) or name == "index":
            raise DataError(
                f"a further page of a report is called {name!r}; its name is that of its file: "
                "lower-case letters and _, at most 40, and not index"
            )


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
        "samples": samples,
        "swatches": swatches,
        "groups": column_groups,
        "numeric": numeric_columns,
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
        [{**one.figure, "names": one.names, "labels": one.labels, **one.extra} for one in plot]
        for plot in plots
    ]
    text = json.dumps(panels, sort_keys=True, separators=(",", ":"), allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'window.packedPlots = "{packed}";\n'.encode()
