"""Execute the notebook beside this file and store its outputs.

    python docs/tutorials/run_notebook.py            # in place
    python docs/tutorials/run_notebook.py --out NEW  # elsewhere, to compare

Needs the extra `docs` (nbclient, ipykernel).
"""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def main() -> None:
    parser = argparse.ArgumentParser(description="Execute the notebook of the documentation.")
    parser.add_argument("--out", type=Path, default=NOTEBOOK)
    given = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Times of cells would make every execution differ.
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        # What libraries say to a terminal depends on the machine.
        outputs = [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]
        if "outputs" in cell:
            cell["outputs"] = outputs
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, given.out)


if __name__ == "__main__":
    main()
