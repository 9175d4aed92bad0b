"""The page of a run's folder: the columns of its tables, from the store itself."""

import re
from typing import Any

PAGE = "reference/run-folder.md"
SLOT = re.compile(r"\{(\w+)\}")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    if page.file.src_uri != PAGE:
        return markdown
    from restor_interp.store import TABLES

    return SLOT.sub(lambda found: " ".join(f"`{name}`" for name in TABLES[found[1]]), markdown)
