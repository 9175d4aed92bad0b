"""Search from the disk: the index also as a script, since pages may not read files there."""

from pathlib import Path
from typing import Any


def on_post_build(*, config: Any, **_: Any) -> None:
    index = Path(config["site_dir"]) / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text('utf-8')}", "utf-8")
