"""One's own definitions: a template to start from, and a probe added to a finished run."""

import keyword
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.pipeline.running import run
from restor_interp.pipeline.runs import Run, open_run
from restor_interp.pipeline.workbench import Progress
from restor_interp.store import write_atomic

# ---- a probe of one's own on a run that is done


@dataclass(frozen=True, kw_only=True)
class Added:
    """A probe that was added to a run."""

    name: str
    run: Run
    rows: pd.DataFrame
    """Its rows of the run's table `probes`."""
    failures: dict[str, str]
    """Cell -> why it could not be computed; only of this probe."""


def add_probe(file: str | Path, folder: str | Path, *, progress: Progress | None = None) -> Added:
    """Run a probe on what a finished run has captured, and make it part of that run.

    Only the probe is computed; the run's tables and report then have it like any other. A changed
    file is run again. A probe that fails leaves the rest as it was.

    Raises `ConfigError` where there is no finished run, where nothing was captured (with the
    command that adds it), and for a file that defines no probe.
    """
    made = open_run(folder)
    config, explanation = made.config, made.config.explanation
    definition = find_definition("probe", str(file))
    if not explanation.capture:
        raise ConfigError(
            f"nothing was captured in {folder}, and a probe reads captured activations. Add them "
            f"with: restor-interp run {folder}/config.yaml explanation.capture=true --out {folder}"
        )
    path = str(definition.path or file)
    kept = [name for name in explanation.probes if definition.name != _name(name) and name != path]
    probes = (*kept, path)
    config = config.model_copy(
        update={"explanation": explanation.model_copy(update={"probes": probes})}
    )
    done = run(config, out=folder, progress=progress)
    table = done.store.tables().get("probes", pd.DataFrame(columns=["probe"]))
    cell = f"probe/{definition.name}"
    return Added(
        name=definition.name,
        run=done,
        rows=table.loc[table["probe"].eq(definition.name)],
        failures={name: why for name, why in done.failures.items() if name == cell},
    )


def _name(probe: str) -> str:
    """What a probe of a configuration is called, without loading its file."""
    return Path(probe).stem if probe.endswith(".py") else probe


# ---- templates

TEMPLATES = {
    "probe": "probes",
    "probe-sklearn": "probes",
    "probe-torch": "probes",
    "analysis": "analyses",
    "report": "reports",
    "method": "methods",
}
"""Kind of definition -> the folder that its files stand in."""

_NEXT = {
    "probes": "next: restor-interp probe {path} --run runs/demo",
    "analyses": 'next: restor-interp run demo "explanation.analyses=[{path}]" --out runs/{name}',
    "reports": "next: restor-interp report --out runs/demo --definition {path}",
    "methods": 'next: python -c "from restor_interp.testing import check_method; '
    "check_method('{path}')\"",
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that was made from a template."""

    path: Path
    next: str
    """The command that tries it out."""


def write_template(kind: str, name: str, folder: str | Path | None = None) -> Written:
    """Write a working definition to start from; nothing that exists is overwritten.

    Raises `ConfigError` for a kind that does not exist, a name that no function can have, and a
    file that is there already.
    """
    if kind not in TEMPLATES:
        raise unknown_name("kind of definition", kind, TEMPLATES)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot name a function: use letters, digits and underscores, such as "
            f"my_{kind.partition('-')[0]}"
        )
    place = Path(TEMPLATES[kind] if folder is None else folder)
    path = place / f"{name}.py"
    if path.exists():
        raise ConfigError(f"{path} exists: choose another name, or take it away first")
    text = (resources.files("restor_interp.data.templates") / f"{kind}.py.txt").read_text("utf-8")
    write_atomic(path, text.replace("NAME", name).encode())
    return Written(path=path, next=_NEXT[TEMPLATES[kind]].format(path=path, name=name))
