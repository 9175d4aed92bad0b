"""One document as one HTML file that opens from the disk: nothing lies beside it.

The page is that of a site (`html`), with its style, its script, the data of its plots and plotly
written into it. The content security policy then admits no script but these, by their digests.
"""

import base64
import hashlib
import os
from dataclasses import replace
from pathlib import Path

from restor_interp.disk import publish, storage_errors
from restor_interp.errors import ConfigError
from restor_interp.reporting.html import PLOTLY, site_files
from restor_interp.reporting.parts import Document, Plot, parts_in

_DATA, _STYLE, _SCRIPT = "data/index.js", "assets/report.css", "assets/report.js"


def single_page(document: Document) -> bytes:
    """The document as one page; the same document gives the same bytes."""
    alone = replace(document, further=())
    files = {name: data.decode("utf-8") for name, data in site_files(alone, {}).items()}
    scripts = [_SCRIPT]
    if any(isinstance(part, Plot) for part in parts_in(document.parts)):
        scripts = [f"assets/{PLOTLY}", _DATA, _SCRIPT]
    page = files["index.html"]
    policy = " ".join(f"'sha256-{_digest(files[name])}'" for name in scripts)
    written = "".join(_element("script", files[name]) for name in scripts)
    for old, new in (
        ("script-src 'self'; style-src 'self' 'unsafe-inline'",
         f"script-src {policy}; style-src 'unsafe-inline'"),
        (f'<link rel="stylesheet" href="{_STYLE}">', _element("style", files[_STYLE])),
        (f'<script src="{_SCRIPT}" defer></script>\n', ""),
        # Last, so that the text is there before the plotting library has been read.
        ("</body>", f"{written}</body>"),
    ):  # fmt: skip
        assert page.count(old) == 1, f"the page's template has {page.count(old)} times {old!r}"
        page = page.replace(old, new)
    return page.encode("utf-8")


def write_single_page(document: Document, path: str | Path) -> Path:
    """Write the page as a whole or not at all; a file that is there already is replaced.

    Raises `ConfigError` for a name that does not end in `.html`, `StorageError` where the file
    cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise ConfigError(f"a page is a file whose name ends in .html, found {os.fspath(path)!r}")
    data = single_page(document)
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, data)
    return path


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()


def _element(tag: str, text: str) -> str:
    """Text that nothing in it can end early."""
    assert f"</{tag}" not in text.lower() and "<!--" not in text and "\r" not in text, tag
    return f"<{tag}>{text}</{tag}>\n"
