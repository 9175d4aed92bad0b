"""Who computes the cells of a run: this process, or several, each with a model of its own.

Cells that do not wait for each other can be computed side by side. A worker is a fresh process: it
lays out the same steps from the same settings, and is told names of cells. What a cell needs it
finds where every later run would find it, in the folder; nothing else passes between workers. So a
result does not depend on how many there are, only on how many threads each of them has.
"""

import contextlib
import os
import queue
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.backend import get_context
from joblib.externals.loky.process_executor import TerminatedWorkerError

from restor_interp.errors import RestorError
from restor_interp.pipeline.building import Step
from restor_interp.pipeline.machine import available_memory
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Workbench
from restor_interp.presets import RunConfig
from restor_interp.store import Store

UNKNOWN_BYTES = 4e9
"""Memory of a worker whose model says nothing of its size."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell."""

    cell: str
    seconds: float
    failure: str | None = None
    """Why an optional one could not be computed."""


class Crew(Protocol):
    """Computes steps, one at a time or several."""

    @property
    def is_busy(self) -> bool:
        """Whether nothing more can be begun before something is finished."""
        ...

    @property
    def at_work(self) -> bool:
        """Whether there is something that will be finished."""
        ...

    def begin(self, step: Step) -> None:
        """Compute a step, or have it computed."""
        ...

    def settled(self, step: Step) -> None:
        """Take notice of a step whose result is there: later ones may use it."""
        ...

    def finished(self) -> list[Outcome]:
        """What was finished since the last time; waits for one if any is at work. Raises what a
        step raised that is not optional."""
        ...


@contextlib.contextmanager
def crew_for(bench: Workbench) -> Iterator[Crew]:
    """As many workers as the settings say, or none but this process."""
    number = number_of_workers(bench.config)
    if number == 1:
        yield Alone(bench.store)
        return
    team = Team(bench, number)
    try:
        yield team
    finally:
        team.end()


def number_of_workers(config: RunConfig) -> int:
    """Processes that a run with these settings uses. `auto`: one per `threads` cores, as far as the
    memory goes, and one alone on an accelerator."""
    if config.workers != "auto":
        return config.workers
    if config.device != "cpu" or config.threads is None:
        return 1
    from restor_interp.pipeline.estimating import memory_bytes  # it plans runs

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    memory = available_memory()
    number = cores // config.threads
    if memory is not None and number > 1:
        number = min(number, int(memory // (memory_bytes(config) or UNKNOWN_BYTES)))
    return max(1, number)


def compute(step: Step, store: Store) -> Outcome:
    """Compute a step here. Raises whatever it raises, unless it is optional."""
    began, failure = time.monotonic(), None
    try:
        with store.writing(step.cell) as writer:
            step.compute(writer)
    except RestorError as error:
        if not step.optional:
            raise
        failure = str(error)
    except Exception as error:
        # A user's own analysis or probe may raise anything; the rest of the run goes on.
        if not step.optional:
            raise
        failure = f"{type(error).__name__}: {error}"
        store.log("traceback", cell=step.cell.name, text=traceback.format_exc())
    return Outcome(cell=step.cell.name, seconds=time.monotonic() - began, failure=failure)


class Alone:
    """This process, one step after another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._done: list[Outcome] = []

    @property
    def is_busy(self) -> bool:
        return self.at_work

    @property
    def at_work(self) -> bool:
        return bool(self._done)

    def begin(self, step: Step) -> None:
        self._done.append(compute(step, self._store))

    def settled(self, step: Step) -> None:
        if step.ready is not None:
            step.ready()

    def finished(self) -> list[Outcome]:
        done, self._done = self._done, []
        return done


# ---- several processes


class Team:
    """Worker processes, started when there is something to do."""

    def __init__(self, bench: Workbench, number: int) -> None:
        self._progress = bench.progress
        self._number = number
        self._at_work: dict[Future[Outcome], str] = {}
        self._ready: list[str] = []
        """Cells whose results the model is to know."""
        self._told: Any = get_context("loky").Queue()
        self._pool = ProcessPoolExecutor(
            number,
            # Nobody is sent home for idling while one long cell holds up all others.
            timeout=None,
            initializer=_begin_work,
            initargs=(bench.config, bench.store.folder, os.getpid(), self._told),
            env={"OMP_NUM_THREADS": str(bench.numerics()["threads"])},
        )

    @property
    def is_busy(self) -> bool:
        return len(self._at_work) >= self._number

    @property
    def at_work(self) -> bool:
        return bool(self._at_work)

    def begin(self, step: Step) -> None:
        future = self._pool.submit(_compute_cell, step.cell.name, tuple(self._ready))
        self._at_work[future] = step.cell.name

    def settled(self, step: Step) -> None:
        if step.ready is not None:
            self._ready.append(step.cell.name)

    def finished(self) -> list[Outcome]:
        done: Iterable[Future[Outcome]] = ()
        while self._at_work and not done:
            done, _ = wait(self._at_work, timeout=0.2, return_when=FIRST_COMPLETED)
            self._pass_on()
        outcomes = []
        for future in done:
            cell = self._at_work.pop(future)
            try:
                outcomes.append(future.result())
            except TerminatedWorkerError as error:
                raise RestorError(
                    f"the process that computed {cell} was ended from outside, perhaps for want "
                    "of memory. Give the same command again, with workers=1 for a single process; "
                    "what is finished is kept"
                ) from error
        return outcomes

    def _pass_on(self) -> None:
        """What workers have to tell: a note, or how far the cell is that was begun first."""
        with contextlib.suppress(queue.Empty):
            while True:
                kind, *told = self._told.get_nowait()
                if kind == "note":
                    self._progress.note(*told)
                elif told[-1] == next(iter(self._at_work.values()), None):
                    self._progress.advanced(*told)

    def end(self) -> None:
        """Let all go: at once those that are still at work, after an error or an interruption."""
        self._pool.shutdown(wait=True, kill_workers=bool(self._at_work))


class _Telling:
    """A worker's progress, told to the process that draws it."""

    def __init__(self, told: Any) -> None:
        self._told = told
        self._last = 0.0
        self.cell = ""

    def started(self, cell: str, number: int, total: int) -> None:
        del number, total
        self.cell = cell

    def advanced(self, done: int, total: int, cell: str | None = None) -> None:
        if time.monotonic() - self._last > 0.5 or done == total:
            self._last = time.monotonic()
            self._told.put(("advanced", done, total, cell or self.cell))

    def finished(self, cell: str, seconds: float, outcome: str) -> None:
        del cell, seconds, outcome

    def note(self, text: str) -> None:
        self._told.put(("note", text))


class _Worker:
    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._known: set[str] = set()
        """Cells whose results the model knows."""

    @cached_property
    def _steps(self) -> dict[str, Step]:
        return {step.cell.name: step for step in steps(self.bench)}

    def compute(self, name: str, ready: Sequence[str]) -> Outcome:
        for cell in ready:
            make_known = self._steps[cell].ready
            if cell not in self._known and make_known is not None:
                make_known()
                self._known.add(cell)
        self.bench.progress.started(name, 0, 0)
        return compute(self._steps[name], self.bench.store)


_worker: list[_Worker] = []
"""Of a worker process, itself."""


def _begin_work(config: RunConfig, folder: Path, parent: int, told: Any) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Joblib takes a process that has grown for one that leaks, and starts another. Ours hold a
    # model, and start anew in seconds that are better spent.
    process_executor._USE_PSUTIL = False  # pyright: ignore[reportAttributeAccessIssue]
    bench = Workbench(config, Store(folder), _Telling(told))
    torch.set_num_threads(int(bench.numerics()["threads"]))
    _worker.append(_Worker(bench))


def _end_with(parent: int) -> None:
    """A killed process cannot end its workers, so that they look after it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _compute_cell(name: str, ready: Sequence[str]) -> Outcome:
    [worker] = _worker
    return worker.compute(name, ready)
