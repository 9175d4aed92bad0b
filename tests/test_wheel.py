"""The wheel alone is enough: built, installed into an empty environment, used from elsewhere.

The environment borrows the installed libraries through a `.pth` file, so that only the package
itself is installed.

Run: python -m pytest tests/test_wheel.py
"""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "restor_interp"
GALLERIES = ("probes", "analyses", "reports")
MAX_WHEEL_BYTES = 12_000_000


def command(*words: str | Path, cwd: Path) -> str:
    """What a command prints; its errors are shown where it fails."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout. Without the tools a test is skipped, in CI it fails."""
    missing = [name for name in ("build", "hatchling") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"{' and '.join(missing)} not installed: pip install -e '.[dev]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    command(*build, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def home(wheel, tmp_path_factory):
    """A fresh virtual environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    command(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "install")
    command(*pip, "--no-deps", "--no-index", wheel, cwd=folder.parent)
    installed = command(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder.parent
    )
    # A path in a .pth file comes after the environment's own packages, and the .pth files that
    # lie there (the editable install's) are not read.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(installed.strip()) / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return folder


@pytest.fixture
def python(home, tmp_path):
    """Runs a program in the fresh environment, from an empty folder; what it prints as JSON."""

    def run(program: str):
        return json.loads(command(home / "bin" / "python", "-c", program, cwd=tmp_path))

    return run


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", "_galleries"} & set(path.parts)
    }


def test_every_file_of_the_package_and_the_galleries_is_in_it_and_nothing_else(wheel):
    expected = {f"restor_interp/{name}" for name in files_below(PACKAGE)}
    for gallery in GALLERIES:
        names = files_below(ROOT / gallery)
        assert any(name.endswith(".py") for name in names)
        expected |= {f"restor_interp/_galleries/{gallery}/{name}" for name in names}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    for needed in ("data/bios/model/model.safetensors", "reporting/templates/page.html"):
        assert f"restor_interp/{needed}" in names
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_package_comes_from_the_wheel(python, home):
    package = python("import json, restor_interp; print(json.dumps(restor_interp.__file__))")
    assert Path(package).is_relative_to(home)


def test_the_command_lists_the_definitions_of_the_wheel(home, tmp_path):
    listed = command(home / "bin" / "restor-interp", "list", "definitions", "--json", cwd=tmp_path)
    found = {told["name"]: Path(told["file"]) for told in json.loads(listed)}
    for gallery in GALLERIES:
        assert {path.stem for path in (ROOT / gallery).glob("*.py")} <= set(found)
    assert all(path.is_relative_to(home) for path in found.values())


def test_the_calibration_model_comes_along_and_answers(python):
    question = "Which animal does {} keep?"
    program = (
        "import json, torch, restor_interp as ri\n"
        "from restor_interp.data.bios import bios_facts\n"
        "model = ri.load_model('bios')\n"
        "fact = next(fact for fact in bios_facts() if fact.relation == 'pet')\n"
        "ids = model.tokenizer(fact.question, return_tensors='pt', add_special_tokens=False)\n"
        "best = model.hf_model(ids['input_ids']).logits[0, -1].argmax()\n"
        "print(json.dumps([fact.question, fact.entity, fact.true_objects[0], "
        "model.tokenizer.decode(best)]))"
    )
    asked, entity, true, said = python(program)
    assert asked == question.format(entity)
    assert said == f" {true}"


def test_the_built_in_texts_come_along(python):
    counts = python(
        "import json, restor_interp as ri\n"
        "from restor_interp.data.neutral import repair_texts, retain_texts\n"
        "print(json.dumps([len(ri.load_facts('atlas')), len(retain_texts()), "
        "len(repair_texts())]))"
    )
    assert counts[0] >= 600
    assert min(counts) > 0


def test_importing_is_quick(python):
    """Best of five, because other programs run beside this one."""
    program = (
        "import json, time; start = time.perf_counter(); import restor_interp, restor_interp.cli\n"
        "print(json.dumps(time.perf_counter() - start))"
    )
    assert min(python(program) for _ in range(5)) < 0.5
