"""What a run will cost, before it is begun: minutes and memory.

Seconds of a cell come, in this order, from

    1. cells of its kind in this run and in its neighbours (the other runs of the same folder) with
       the same model, number type, device and threads: seconds per unit of `work`;
    2. `reference`, measured on one machine, times how much faster that was (`speed`); as it stands
       for a model of ours that is not fetched yet.

A cell whose kind was never measured has no estimate, and is counted as such. Estimates are meant
to be right within a factor of two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restor_interp.errors import RestorError
from restor_interp.pipeline.crew import number_of_workers
from restor_interp.pipeline.estimating.reference import REFERENCE, REFERENCE_SIZE, REFERENCE_SPEED
from restor_interp.pipeline.estimating.speed import model_folder, model_speed, parameters
from restor_interp.pipeline.estimating.work import Rates, bare, rates, seconds_of, units
from restor_interp.pipeline.running import PlannedCell
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import RunConfig, read_config
from restor_interp.store import Store

LIBRARIES_BYTES = 0.75e9
"""Memory of Python with torch, transformers, pandas and the rest."""
PUBLISH_SECONDS = 20.0
"""Loading the model, and tables and report at the end."""
MOST_NEIGHBOURS = 12
_CHAIN = ("data", "train/corruption", "explain")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What is expected of the cells that are still to be computed."""

    seconds: float | None
    """Of those whose cost is known; None where that is none of them."""
    memory: float | None
    """Bytes at the peak, about; None where the model's size is not known."""
    of: Mapping[str, float]
    """Cell -> seconds."""
    unknown: tuple[str, ...]
    """Cells to be computed of whose kind nothing is known."""
    source: str
    """What the seconds rest on, in words."""

    def text(self) -> str:
        """`about 25 min and 2.1 GB of memory (…)`; says what is not known."""
        if not self.of and not self.unknown:
            return "nothing to compute"
        time = "unknown time" if self.seconds is None else f"about {duration(self.seconds)}"
        memory = (
            "unknown memory" if self.memory is None else f"{self.memory / 1e9:.1f} GB of memory"
        )
        told = f"{time} and {memory} ({self.source}; right within a factor of 2)"
        if self.unknown:
            told += (
                f"; without {len(self.unknown)} cells of unknown cost, such as {self.unknown[0]}"
            )
        return told


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def waiting(config: RunConfig, out: str | Path) -> list[str]:
    """Names of the cells that a run would compute, without reading what the others hold."""
    if Path(out).is_file():  # the run itself says that it cannot write there
        return []
    store = Store(out)
    todo = steps(Workbench(config, store, Silent()))
    return [
        step.cell.name
        for step in todo
        if (store.record(step.cell.name) or {}).get("key") != step.cell.key
    ]


def cost(
    config: RunConfig,
    cells: Sequence[str] | Sequence[PlannedCell],
    *,
    out: str | Path,
    measure: bool = True,
) -> Cost:
    """What these cells cost; of planned ones, those that are not done.

    `measure`: load the model and measure its speed once, where nothing else is known.
    """
    names = [
        cell if isinstance(cell, str) else cell.cell
        for cell in cells
        if isinstance(cell, str) or cell.state != "done"
    ]
    facts = _asked(config)
    known, source = recorded_rates(config, Path(out)), "from runs beside it"
    seconds = {name: _seconds(config, name, facts, known) for name in names}
    missing = [name for name, value in seconds.items() if value is None]
    if missing:
        table = config.model if config.model in REFERENCE else "smollm2-135m"
        speed = model_speed(config, measure=measure)
        not_fetched = config.model == table and model_folder(table) is None
        if speed is not None or not_fetched:
            slower = 1.0 if speed is None else REFERENCE_SPEED[table] / speed
            scaled = {name: rate * slower for name, rate in REFERENCE[table].items()}
            seconds |= {name: _seconds(config, name, facts, scaled) for name in missing}
            source = (
                "from another machine, since the model is not on this one yet"
                if speed is None
                else f"from {speed:.0f} tokens per second here"
            ) + (" and runs beside it" if len(missing) < len(names) else "")
    of = {name: value for name, value in seconds.items() if value is not None}
    memory = memory_bytes(config)
    return Cost(
        seconds=_together(config, of) + PUBLISH_SECONDS if of else None,
        memory=None if memory is None else memory * number_of_workers(config),
        of=of,
        unknown=tuple(name for name in names if name not in of),
        source=source if of else "nothing like it was measured here",
    )


def _together(config: RunConfig, seconds: Mapping[str, float]) -> float:
    """What cells take when workers compute them side by side: no less than the corruption, which
    most others wait for, and the verdict, which waits for all."""
    chain = sum(s for name, s in seconds.items() if bare(name) in _CHAIN)
    return max(chain, sum(seconds.values()) / number_of_workers(config))


def _seconds(config: RunConfig, cell: str, facts: int, known: Rates) -> float | None:
    return seconds_of(cell, units(config, cell, facts), known)


def _asked(config: RunConfig) -> int:
    """How many facts a run asks."""
    return len(Workbench(config, Store("."), Silent()).asked)


# ---- what was recorded


def recorded_rates(config: RunConfig, out: Path) -> dict[str, float]:
    """Seconds per unit of cells in this folder and the runs beside it, of the same model and
    numerics; the run's own go before its neighbours', these from the latest on."""
    places = [out, *_neighbours(out)]
    found: dict[str, float] = {}
    for place in places:
        for name, rate in _rates_in(config, place).items():
            found.setdefault(name, rate)
    return found


def _neighbours(out: Path) -> list[Path]:
    try:
        configs = list(out.absolute().parent.glob("*/config.yaml"))
        configs.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
    folders = [path.parent for path in configs[:MOST_NEIGHBOURS]]
    return [folder for folder in folders if folder.absolute() != out.absolute()]


def _rates_in(config: RunConfig, folder: Path) -> Rates:
    try:
        other = read_config(folder / "config.yaml")
        same = ("model", "dtype", "device")
        if any(getattr(other, name) != getattr(config, name) for name in same):
            return {}
        facts = _asked(other)
    except (RestorError, OSError):
        return {}
    store = Store(folder)
    records = [(name, store.record(name) or {}) for name in store.cells()]
    here = Workbench(config, store, Silent()).numerics()
    done: list[tuple[str, float]] = [
        (name, float(record["seconds"]))
        for name, record in records
        if "seconds" in record and _numerics(record) == here
    ]
    return rates(done, lambda cell: units(other, cell, facts))


def _numerics(record: Mapping[str, Any]) -> Any:
    return record.get("ingredients", {}).get("numerics")


# ---- memory


def memory_bytes(config: RunConfig) -> float | None:
    """Bytes at the peak, about: libraries, the weights and the pristine copy of what deltas touch,
    and the logits of a training batch with their gradient. Weights on a GPU count as well."""
    size = _size(config.model)
    if size is None:
        return None
    count, vocabulary = size
    weights = count * (2 if config.dtype == "bfloat16" else 4)
    batch = max(int(part.get("batch_size", 4)) for part in (config.corruption, config.unlearning))
    return LIBRARIES_BYTES + 2.0 * weights + 3.0 * 4 * batch * 256 * vocabulary


def _size(model: str) -> tuple[int, int] | None:
    """Parameters and vocabulary; None where they are not known."""
    folder = model_folder(model)
    if folder is None:
        return REFERENCE_SIZE.get(model)
    count = parameters(folder)
    return None if count is None else (count, _vocabulary(folder))


def _vocabulary(folder: Path) -> int:
    from transformers import AutoConfig

    try:
        read = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError):
        return 0
    return int(getattr(read, "vocab_size", 0) or 0)
