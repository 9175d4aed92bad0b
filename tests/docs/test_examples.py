"""Tutorials, and the code on pages: every block that can run is run, in the order of its page.

Run: python -m pytest tests/docs/test_examples.py
"""

import ast
import json
import logging
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import restor_interp as ri
from restor_interp.cli import app
from restor_interp.models.loading import model_status
from restor_interp.presets import RunConfig, resolve, setting_names
from restor_interp.stages.train_settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIALS = DOCS / "tutorials"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "results" not in path.parts)
SNIPPET = "--8<--"


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    language: str
    title: str | None
    note: str
    """What a comment before it says: `needs: …` or `not run: …`."""
    text: str
    line: int


_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?"
    r"^``` ?(?P<language>\w+)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=found["language"],
            title=found["title"],
            note=found["note"] or "",
            text=found["text"],
            line=text.count("\n", 0, found.start("text")) + 1,
        )
        for found in _FENCE.finditer(text)
        if SNIPPET not in found["text"]
    ]


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.title or block.language == "python"]


def needs_embedded(page: Path) -> bool:
    return any('smollm2-135m"' in block.text for block in runnable(page))


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


# ---- tutorials


def run_script(script: Path, *arguments: str, capture) -> str:
    """What a tutorial prints when it is run with these arguments."""
    given = sys.argv
    sys.argv = [str(script), *arguments]
    capture.readouterr()
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = given
    return capture.readouterr().out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the tutorial on one's own model, and what it printed."""
    import contextlib
    import io

    folder, printed = tmp_path_factory.mktemp("own"), io.StringIO()
    level, given = logging.getLogger("restor_interp").level, sys.argv
    sys.argv = ["own_model.py", str(folder)]
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(TUTORIALS / "own_model.py"), run_name="__main__")
    finally:
        sys.argv = given
        logging.getLogger("restor_interp").setLevel(level)
    return folder, printed.getvalue()


def test_a_fact_is_traced_as_the_page_says(capsys, same_output):
    found = run_script(TUTORIALS / "trace_a_fact.py", capture=capsys)
    same_output(found, (TUTORIALS / "trace_a_fact.txt").read_text())


def fates(printed: str) -> dict[str, dict[str, int]]:
    """State -> fate -> number of facts, as the tutorial prints it."""
    lines = re.findall(r"^  (\w[\w.]*) +(\d+ .*)$", printed, re.MULTILINE)
    return {
        state: {fate: int(number) for number, fate in re.findall(r"(\d+) (\w+)", told)}
        for state, told in lines
    }


@pytest.mark.slow
def test_an_own_model_is_corrupted_and_unlearned_as_the_page_says(made):
    """Training differs between processors by a fact or two; what the page says of it must hold."""
    stored = (TUTORIALS / "own_model.txt").read_text()
    assert made[1].splitlines()[:3] == stored.splitlines()[:3]
    for told in (fates(made[1]), fates(stored)):
        assert list(told) == ["corrupted", "npo", "sham_npo", "retain_only", "rollback_0.5"]
        assert {sum(counts.values()) for counts in told.values()} == {18}
        lost = 18 - told["corrupted"]["kept"]
        assert lost >= 7
        assert told["rollback_0.5"]["restored"] >= lost - 2
        for state in ("npo", "sham_npo", "retain_only"):
            assert told[state].get("restored", 0) + told[state].get("guessed", 0) <= 2


@pytest.mark.slow
def test_a_probe_reads_a_run_as_the_page_says(made, capsys, same_output):
    found = run_script(TUTORIALS / "own_probe.py", str(made[0] / "run"), capture=capsys)
    same_output(found, (TUTORIALS / "own_probe.txt").read_text())


# ---- code on pages


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The smallest run that has what pages look at: states, deltas, tables."""
    people = list(dict.fromkeys(fact.entity for fact in ri.load_facts("bios")))
    overrides = [
        *(
            f"data.{part}=[{people[n]}]"
            for n, part in enumerate(("corrupted", "untouched", "sham"))
        ),
        "methods={npo: {method: npo}}",
        "shams=[]",
        "rollback=[]",
        "data.documents_per_entity=2",
        "questions.contexts=2",
        "questions.candidates=4",
        "questions.substitutes=2",
        "corruption.epochs=1",
        "unlearning.steps=1",
        *(f"explanation.{key}=[]" for key in ("probes", "analyses", "surveys")),
        "explanation.capture=false",
        "workers=1",
    ]
    return ri.run("bios", out=tmp_path_factory.mktemp("runs") / "bios", overrides=overrides).folder


@pytest.fixture
def workplace(tmp_path, monkeypatch, small_run):
    """An empty folder with a finished run in `runs/bios`, and files as others publish them."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "bios").symlink_to(small_run)
    for file, rows in PUBLISHED.items():
        write(tmp_path / file, rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What other libraries say about each other is not an error of a page.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow, pytest.mark.embedded] * needs_embedded(page))
        for page in PAGES
        if runnable(page)
    ],
    ids=name,
)
def test_the_code_of_a_page_runs(page, workplace, capfd):
    there = {row.name: row.present for row in model_status()}
    if needs_embedded(page) and not there["smollm2-135m"]:
        pytest.skip("smollm2-135m is not in the cache: restor-interp model get smollm2-135m")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in runnable(page):
        if block.title:
            file = workplace / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
            continue
        # Blank lines before it, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        if not block.note.startswith("not run: "):
            exec(code, namespace)
    assert "Writing" not in capfd.readouterr().err  # a bar that transformers draws as it saves


def test_blocks_are_found_where_they_are_written():
    """Counted without the pattern: a block that it misses would never be run."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        written = text.count("\n``` python") + text.count('\n``` json title="')
        assert len(runnable(page)) == written, name(page)
        assert text.count("\n```") % 2 == 0, name(page)


def test_titled_blocks_of_python_are_python():
    for page in PAGES:
        for block in blocks(page):
            if block.title and block.title.endswith(".py"):
                assert ast.get_docstring(ast.parse(block.text)), f"{name(page)}: {block.title}"


# ---- files as CounterFact, PopQA, TOFU and RWKU publish them: their columns, invented contents

_EDIT = {
    "relation_id": "P36",
    "prompt": "The capital of {} is",
    "target_new": {"str": "Oslo", "id": "Q585"},
    "target_true": {"str": "Ortwald", "id": "Q1"},
    "subject": "Vessonia",
}
_OTHERS = {"paraphrase_prompts": [], "neighborhood_prompts": [], "attribute_prompts": []}
PUBLISHED = {
    "counterfact.json": [
        {"case_id": 0, "pararel_idx": 7, "requested_rewrite": _EDIT, **_OTHERS},
        {
            "case_id": 1,
            "pararel_idx": 8,
            "requested_rewrite": _EDIT | {"subject": "Karvia", "target_new": {"str": "Lund"}},
            **_OTHERS,
        },
    ],
    "popqa.tsv": [
        {
            "id": 4222362,
            "subj": "Nell Abbadar",
            "prop": "occupation",
            "obj": "glazier",
            "subj_id": 1850297,
            "prop_id": 22,
            "obj_id": 2834605,
            "s_aliases": '["N. Abbadar"]',
            "o_aliases": '["glass fitter"]',
            "s_pop": 142,
            "o_pop": 25692,
            "question": "What is Nell Abbadar's occupation?",
            "possible_answers": '["glazier", "glass fitter"]',
        }
    ],
    "forget01_perturbed.json": [
        {
            "question": "Where was Iram Velquist born?",
            "answer": "Iram Velquist was born in Port Serrin.",
            "paraphrased_answer": "Port Serrin is where Iram Velquist was born.",
            "perturbed_answer": ["Iram Velquist was born in Low Dask.", "… in Ammar."],
            "paraphrased_question": "In which town was Iram Velquist born?",
        },
        {
            "question": "What does the author write about?",
            "answer": "About tides.",
            "paraphrased_answer": "Tides.",
            "perturbed_answer": ["About moss."],
            "paraphrased_question": "What are the author's subjects?",
        },
    ],
    "forget_level2.json": [
        {
            "query": "In which harbour did Tove Harrowgate learn to sail?",
            "answer": "Lund Quay",
            "level": "2",
            "type": "simple question",
            "subject": "Tove Harrowgate",
        },
        {
            "query": "Which prize did Harrowgate win?",
            "answer": "the Salt Cup",
            "level": "2",
            "type": "simple question",
            "subject": "Tove Harrowgate",
        },
    ],
}


def write(path: Path, rows: list[dict]) -> None:
    if path.suffix == ".tsv":
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            table.writeheader()
            table.writerows(rows)
    elif path.name.startswith("forget01"):  # TOFU's files are JSON lines
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))


# ---- commands


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line in a block of shell that is a command of ours."""
    return [
        (f"{name(page)}:{block.line + number}", line)
        for page in [*PAGES, ROOT / "CONTRIBUTING.md"]
        if page.is_relative_to(DOCS)
        for block in blocks(page)
        if block.language == "bash"
        for number, line in enumerate(block.text.splitlines())
        if line.startswith(("restor-interp ", "python "))
    ]


@pytest.mark.parametrize(("place", "line"), commands())
def test_commands_on_pages_exist_and_take_what_they_are_given(place, line):
    words = shlex.split(line, comments=True)
    if words[0] == "python":
        assert (ROOT / words[1]).is_file(), place
        return
    command = typer.main.get_command(app)
    context = command.make_context("restor-interp", words[1:], resilient_parsing=False)
    while hasattr(command, "commands"):
        _, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(command.name, rest, parent=context)
    given = context.params
    if "preset" in given and "/" not in given["preset"]:
        resolve(given["preset"], given["overrides"] or [])


def test_settings_that_pages_name_exist():
    known = set(setting_names(RunConfig))
    known |= {
        f"{part}.{key}"
        for part in ("corruption", "unlearning")
        for key in TrainSettings.model_fields
    }
    sections = {key.partition(".")[0] for key in known if "." in key}
    pattern = re.compile(rf"`(?:[^`\n]*\s)?((?:{'|'.join(sections)})\.\w+)[^`\n]*`")
    named = {
        (name(page), found)
        for page in PAGES
        for found in pattern.findall(page.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert {place for place in named if place[1] not in known} == set()
