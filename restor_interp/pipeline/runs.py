"""A finished run: its tables, its model with every state, its report."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from restor_interp.definitions import Definition, find_definition, load_definitions
from restor_interp.errors import ConfigError
from restor_interp.models.activations import Activations, StateActivations
from restor_interp.models.bars import without_bars
from restor_interp.models.deltas import State, load_delta
from restor_interp.models.hooked import HookedModel
from restor_interp.models.loading import load_model
from restor_interp.pipeline.capturing import state_activations
from restor_interp.pipeline.training import CORRUPTION
from restor_interp.presets import RunConfig, read_config
from restor_interp.reporting.displays import figures
from restor_interp.reporting.html import write_site
from restor_interp.reporting.notebook import html_of
from restor_interp.reporting.parts import Callout, Document, Paragraph
from restor_interp.reporting.results import EntityResults, RunResults
from restor_interp.reporting.states import state_table, verdict_on_run
from restor_interp.reporting.sweep_page import sweep_pages
from restor_interp.reporting.text import summary_text
from restor_interp.store import Store, write_json


def open_run(folder: str | Path) -> "Run":
    """A run that was made before. Raises `ConfigError` where the folder holds none."""
    run = Run(folder)
    if not (run.folder / "manifest.json").is_file():
        raise ConfigError(
            f"there is no finished run in {folder}. Make one with: "
            f"restor-interp run demo --out {folder}"
        )
    return run


def config_file(folder: str | Path) -> Path:
    """The settings of the run in a folder. Raises `ConfigError` where no run was begun there."""
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"there is no run in {folder}: it has no config.yaml. Give the folder that "
            "`restor-interp run … --out FOLDER` was given"
        )
    return path


class Run:
    """The folder of a run, as values. Tables are named in the documentation of the run folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.store = Store(self.folder)

    @cached_property
    def config(self) -> RunConfig:
        return read_config(config_file(self.folder))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text())

    @property
    def failures(self) -> Mapping[str, str]:
        """Cells that could not be computed, with the reason."""
        return self.manifest["failures"]

    def table(self, name: str) -> pd.DataFrame:
        """One of the run's tables. Raises `ConfigError` for one that it does not have."""
        return self.store.table(name)

    def states(self) -> dict[str, State]:
        """Every state of the run by name, in the order of work."""
        return {
            name: State(coefficients)
            for name, coefficients in json.loads((self.folder / "states.json").read_text()).items()
        }

    def model(self) -> HookedModel:
        """The run's model, knowing every state: `with run.model().at("npo"): …`."""
        model = load_model(self.config.model, dtype=self.config.dtype, device=self.config.device)
        for path in sorted((self.folder / "deltas").iterdir()):
            model.add_delta(load_delta(path))
        for name, state in self.states().items():
            model.add_state(name, state)
        return model

    def activations(self, state: str, *, step: int | None = None) -> Activations:
        """What was captured of one state, or of it on the way, after `step` steps of training."""
        if step is None:
            folder = self.store.cell_folder(f"capture/{state}") / "activations"
            offer = (
                f"add it with: restor-interp run {self.folder}/config.yaml "
                f"explanation.capture=true --out {self.folder}"
            )
        else:
            shared = self.manifest["cells"].get(f"shared/{state}", {})
            delta = CORRUPTION if state == "corrupted" else shared.get("delta", state)
            there = self.store.cell_folder(f"train/{delta}") / "checkpoints"
            folder = there / f"step_{step:05d}"
            steps = sorted(int(path.name.removeprefix("step_")) for path in there.glob("step_*"))
            offer = (
                f"it was captured after the steps {steps}"
                if steps
                else "train it with `checkpoints` of its training settings above 0"
            )
        if not folder.is_dir():
            raise ConfigError(f"nothing was captured of state {state!r} in {self.folder}; {offer}")
        return Activations.open(folder)

    def state_activations(self) -> StateActivations:
        """Every captured state's activations with what probes are compared with: what a probe
        receives.

        Raises `ConfigError` where nothing was captured, with the command that adds it.
        """
        self.activations("clean")
        return state_activations(self.store, self.config.explanation.captured(self.states()))

    def export_state(self, state: str, folder: str | Path) -> Path:
        """Write one state as a plain Hugging Face folder, for any other tool."""
        folder = Path(folder)
        model = self.model()
        with model.at(state):
            with without_bars():
                model.hf_model.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        return folder

    # ---- what the pipeline writes at the end

    def assemble(self, cells: Sequence[str], failures: Mapping[str, str]) -> None:
        """Tables, facts and deltas in their places, out of the finished cells."""
        names = self.store.table_names(cells)
        for path in (self.folder / "tables").glob("*.parquet"):
            if path.stem not in names:
                path.unlink()
        shutil.rmtree(self.folder / "deltas", ignore_errors=True)
        failed = [{"cell": cell, "reason": reason} for cell, reason in failures.items()]
        for table in names:
            frame = self.store.collect(table, cells)
            if table == "failures" and failed:
                frame = pd.concat([frame, pd.DataFrame(failed)], ignore_index=True)
            self.store.write_table(table, frame.assign(seed=self.config.seed))
        for path in sorted(self.store.cell_folder("data").glob("*.jsonl")):
            _publish_file(path, self.folder / path.name)
        for cell in cells:
            delta = self.store.cell_folder(cell) / "delta"
            if cell.startswith("train/") and delta.is_dir():
                place = self.folder / "deltas" / cell.removeprefix("train/")
                place.mkdir(parents=True, exist_ok=True)
                for path in sorted(delta.iterdir()):
                    _publish_file(path, place / path.name)
        states = {
            cell.removeprefix("evaluate/"): record["ingredients"]["coefficients"]
            for cell in cells
            if cell.startswith("evaluate/") and (record := self.store.record(cell)) is not None
        }
        write_json(self.folder / "states.json", states)

    @property
    def report_index(self) -> Path:
        """The first page of the report."""
        return self.folder / "report" / "index.html"

    def is_reported(self) -> bool:
        """Whether tables, manifest and report have been written, and belong together."""
        return self.report_index.is_file() and (self.folder / "manifest.json").is_file()

    def results(self) -> RunResults:
        """The tables of the run, as a report receives them."""
        return RunResults(
            name=self.folder.name,
            config=self.config.model_dump(mode="json"),
            manifest=self.manifest,
            tables=self.store.tables(),
        )

    def write_report(self, definitions: Sequence[Path] = ()) -> Path:
        """Write `report/index.html`, a page per entity and that of a sweep; returns the index."""
        overview, entity = self._report_definitions(definitions)
        results = self.results()
        pages = {
            name: entity.run(EntityResults(entity=name, run=results)) for name in results.entities
        }
        index = overview.run(results)
        index = replace(index, further=(*sweep_pages(results), *index.further))
        return write_site(index, pages, self.folder / "report")

    def document(self, entity: str | None = None, *, definitions: Sequence[Path] = ()) -> Document:
        """The report's first page, or one entity's, before it is HTML: `ri.figures(run.document(
        "Paris"))` are its plots. Raises `ConfigError` for an entity of which the run knows nothing.
        """
        overview, page = self._report_definitions(definitions)
        results = self.results()
        return overview.run(results) if entity is None else page.run(results.entity(entity))

    def figures(self, entity: str | None = None) -> dict[str, Figure]:
        """The plots of the report's first page, or of one entity's, as plotly figures by title."""
        return figures(self.document(entity))

    def _repr_html_(self) -> str:
        """The table of states and the verdict, for a notebook."""
        results = self.results()
        parts = (
            Callout(verdict_on_run(results) or "No method has been judged."),
            state_table(results),
            Paragraph(f"report: {self.report_index}"),
        )
        return html_of(Document(f"Run {results.name}", parts))

    def _report_definitions(self, own: Sequence[Path]) -> tuple[Definition, Definition]:
        """Those of the overview and of an entity's page; a file of one's own goes before ours."""
        given = [definition for path in own for definition in load_definitions(path)]
        overview = [definition for definition in given if definition.name == "overview"]
        entity = [definition for definition in given if definition.name != "overview"]
        return (
            overview[-1] if overview else find_definition("report", "overview"),
            entity[-1] if entity else find_definition("report", "entity"),
        )

    def summary_text(self) -> str:
        """The run's summary table and where the report is, for a terminal."""
        return f"{summary_text(self.results())}\n\nreport: {self.folder}/report/index.html"


def _publish_file(source: Path, target: Path) -> None:
    """The same file at a second place: a link where the file system allows, else a copy."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
