"""The command line called in this process, and one small finished run to call it on."""

import sys

import pytest

from restor_interp.cli import main
from restor_interp.pipeline import run
from restor_interp.presets import resolve

SMALL = [
    "data.documents_per_entity=4", "questions.contexts=1", "questions.candidates=6",
    "explanation.lens_facts=2", "explanation.traced_facts=1", "explanation.probes=[]",
    "explanation.capture=false", "explanation.surveys=[]", "unlearning={steps: 2}",
    "corruption={epochs: 1}", "workers=1",
    "methods={npo: {method: npo}}",
]  # fmt: skip
"""Overrides with which the preset `bios` takes seconds."""

LEAST = [
    *SMALL[:-1], "explanation.analyses=[logit_lens]", "shams=[]", "rollback=[]",
    "data.corrupted=[Alba Delmonte, Dario Wintrop]", "data.untouched=[Anouk Norwell]",
    "data.sham=[Bruno Jorvik]",
    "methods={npo: {method: npo}, grad_diff: {method: grad_diff}}",
]  # fmt: skip
"""The same with two methods, and hardly anything looked at inside."""


@pytest.fixture(scope="session")
def small():
    return SMALL


@pytest.fixture(scope="session")
def least():
    return LEAST


@pytest.fixture
def cli(monkeypatch, capsys):
    """Call the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["restor-interp", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small run that is finished: nothing may write into it."""
    return run(resolve("bios", LEAST), out=tmp_path_factory.mktemp("runs") / "small")
