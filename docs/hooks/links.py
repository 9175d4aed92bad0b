"""Links of pages that are also read in the repository: what is no page of the site loses its link.

Pages of `docs/results` point to tables beside them, which the site does not carry.
"""

import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
_BOTH = ("results/",)
"""Folders of pages that are read in both places."""


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:
    if not page.file.src_uri.startswith(_BOTH):
        return markdown
    folder = page.file.src_uri.rpartition("/")[0]
    pages = {file.src_uri for file in files if file.inclusion.is_included()}

    def kept(found: re.Match[str]) -> str:
        return found[0] if f"{folder}/{found[2]}" in pages else found[1]

    return _LINK.sub(kept, markdown)
