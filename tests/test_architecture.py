"""Imports point one way, and each kind of work stays in its room.

Run: python -m pytest tests/test_architecture.py
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import restor_interp

PACKAGE = Path(restor_interp.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_galleries" not in path.parts)

RANKS = (
    {"errors", "signatures", "displays", "disk", "facts", "fact_files", "data"},
    {"corpus", "corpus_files", "prompts"},
    {"models"},
    {"stages", "measure"},
    {"explain"},
    {"definitions", "reporting", "store"},
    {"testing"},
    {"presets"},
    {"pipeline", "engines"},
    {"cli", "__main__"},
)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def rank(name: str) -> int:
    found = [index for index, rooms in enumerate(RANKS) if name in rooms]
    assert found, f"{name} has no place in RANKS: say where it belongs"
    return found[0]


def module_name(path: Path) -> str:
    relative = path.relative_to(PACKAGE.parent).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_one_way(path):
    here = room(module_name(path))
    if here == "__init__":
        return
    for imported in imports(path):
        if not imported.startswith("restor_interp."):
            assert imported.split(".")[0] not in {"probes", "analyses", "reports"}
            continue
        there = room(imported)
        if (here, there) == ("data", "facts"):
            continue  # the built-in sets are values of the types in `facts`
        assert rank(there) <= rank(here), f"{here} must not import {there}"
        if {here, there} == {"stages", "measure"}:
            pytest.fail("stages and measure do not know each other")


@pytest.mark.parametrize("light", ["facts", "corpus", "prompts", "errors", "cli", "reporting"])
def test_light_modules_do_not_import_torch(light):
    names = [module_name(path) for path in MODULES if room(module_name(path)) == light]
    program = f"import {', '.join(names)}; import sys; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("pattern", "rooms"),
    [
        (r"register_(forward|full_backward)\w*hook", {"models/hooked.py"}),
        (r"\.to_parquet\(", {"store.py"}),
        (r"\bprint\(", {f"cli/{path.name}" for path in (PACKAGE / "cli").glob("*.py")}),
        (r"sys\.exit\(", {"cli/__init__.py"}),
        (r"(?<!safetensors\.)torch\.save\(|pickle\.\w|trust_remote_code=True", set()),
        # Inside `fork_rng`: a family's initialisation takes no generator.
        (r"torch\.manual_seed\(", {"models/random_weights.py"}),
    ],
)
def test_each_kind_of_work_stays_in_its_room(pattern, rooms):
    places = {
        str(path.relative_to(PACKAGE)) for path in MODULES if re.search(pattern, path.read_text())
    }
    assert places <= rooms


def test_public_names_are_sorted_listed_once_and_importable():
    assert sorted(restor_interp.__all__) == sorted(restor_interp._MODULE_OF)
    for name in restor_interp.__all__:
        assert getattr(restor_interp, name) is not None
    tree = ast.parse(Path(restor_interp.__file__).read_text())
    typed = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and "restor_interp" in node.module
        for alias in node.names
    }
    assert typed == set(restor_interp.__all__)
