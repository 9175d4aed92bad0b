"""The executed notebook as a page: its text, its code, and the outputs that are stored in it."""

import json
import re
from pathlib import Path
from typing import Any

PAGE = "tutorials/notebook.md"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    if page.file.src_uri != PAGE:
        return markdown
    notebook = Path(page.file.abs_src_path).with_suffix(".ipynb")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join([markdown, *(_cell(cell) for cell in cells)])


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    outputs = [_output(output) for output in cell["outputs"]]
    return "\n\n".join([f"``` python\n{source}\n```", *filter(None, outputs)])


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output.get("data", {})
    if "text/html" in data:
        # A blank line would end the block of HTML; a table of pandas' own looks is not the site's.
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        html = html.replace('<table border="1" class="dataframe">', "<table>")
        lines = html.splitlines()
        return "\n".join(["<div>", *(line for line in lines if line.strip()), "</div>"])
    return _text("".join(data.get("text/plain", "")))


def _text(text: str) -> str:
    return f"``` text\n{text.rstrip()}\n```" if text.strip() else ""
