"""The page on RESTOR's experiment: its switches, each with its first line, from the presets."""

from typing import Any

PAGE = "how-to/restor.md"
SLOT = "{switches}"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    if page.file.src_uri != PAGE:
        return markdown
    from restor_interp.presets.switches import SWITCHES

    rows = [f"| `+{name}` | {_first_line(switch.__doc__)} |" for name, switch in SWITCHES.items()]
    return markdown.replace(SLOT, "\n".join(["| switch | |", "| --- | --- |", *rows]))


def _first_line(told: str | None) -> str:
    """Up to the first empty line, which may be further than a line of code is wide."""
    return " ".join((told or "").strip().partition("\n\n")[0].split()).replace("|", "\\|")
