"""The notebook: executed anew it says what is stored in it.

Run: python -m pytest tests/docs/test_notebook.py
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.docs, pytest.mark.slow]


def outputs(path) -> list[str]:
    """What every cell of code shows as text."""
    shown = []
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            texts = [
                output["text"]
                if "text" in output
                else output["data"].get("text/html", output["data"]["text/plain"])
                for output in cell["outputs"]
            ]
            shown.append("".join("".join(text) for text in texts))
    return shown


def test_it_shows_what_is_stored(documentation_tools, root, tmp_path, same_output):
    stored = root / "docs" / "tutorials" / "notebook.ipynb"
    script = root / "docs" / "tutorials" / "run_notebook.py"
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path / "new.ipynb")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, wanted = outputs(tmp_path / "new.ipynb"), outputs(stored)
    assert len(found) == len(wanted) and all(wanted[1:])
    for new, old in zip(found, wanted, strict=True):
        same_output(new, old)
