"""A sweep: one run whose unlearned states are the trials of one or more methods.

    sweep("bios", methods=["npo", "ga"], tries=["learning_rate=5e-4,1e-3,2e-3"], out="runs/sweep")

Each trial is a state (`npo-01`, `npo-02`, …) of an ordinary configuration, so whatever is equal is
computed once, by the run's ordinary cells: the corruption, the clean and corrupted evaluation, the
margins and the rollbacks. Trials that differ only in how much of a delta they take (the `alpha` of
a task vector) share its training, too. The run's `explain` cell sees several versions of one method
and adds the tables `trials`, `selection` and `equal_forgetting`; its report gets the page
`sweep.html`.
"""

import itertools
import random
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from restor_interp.definitions import find_method
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.pipeline.running import PlannedCell, plan, run
from restor_interp.pipeline.runs import Run
from restor_interp.pipeline.workbench import Progress
from restor_interp.presets import MethodSettings, RunConfig, resolve
from restor_interp.stages.methods import Method
from restor_interp.stages.training import TrainSettings

MIN_ENTITIES = 4
"""Corrupted entities that a selection needs: two in each half."""
ROLLBACKS = (0.25, 0.5, 0.75)
"""The path that trials are compared with, where the preset has fewer points."""


def sweep(
    preset: str | RunConfig,
    *,
    methods: Sequence[str],
    tries: Sequence[str],
    out: str | Path,
    overrides: Sequence[str] = (),
    number: int | None = None,
    seed: int = 0,
    shams: bool = False,
    unequal: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run every trial of a sweep, or go on where it stopped.

    Args:
        methods: names, or files of one's own.
        tries: `setting=value,value,…`, of a method's own settings or, where it has none of that
            name, of its training; `npo.beta=…` is of one method alone. With `number` also
            `setting=low:high`, drawn log-uniformly.
        number: trials per method that are drawn at random; none: every combination of the values.
        seed: of that drawing. The first trials stay the same when `number` grows, and a setting
            that several methods have takes the same values in all of them.
        shams: also a sham of every trial.
        unequal: methods may have different numbers of trials.

    Raises `ConfigError` for what makes no sense, before anything is computed.
    """
    config = sweep_config(
        preset,
        methods=methods,
        tries=tries,
        overrides=overrides,
        number=number,
        seed=seed,
        shams=shams,
        unequal=unequal,
    )
    return run(config, out=out, progress=progress)


def plan_sweep(config: RunConfig, *, out: str | Path) -> list[PlannedCell]:
    """What a sweep would compute, and which of its cells are shared. Computes nothing."""
    return plan(config, out=out)


def sweep_config(
    preset: str | RunConfig,
    *,
    methods: Sequence[str],
    tries: Sequence[str],
    overrides: Sequence[str] = (),
    number: int | None = None,
    seed: int = 0,
    shams: bool = False,
    unequal: bool = False,
) -> RunConfig:
    """The configuration of a sweep: a preset whose methods are the trials, nothing explained."""
    base = preset if isinstance(preset, RunConfig) else resolve(preset, overrides)
    _check(base, methods, tries, number)
    found = {name: find_method(name) for name in methods}
    axes = [_axis(text, found) for text in tries]
    trials: dict[str, MethodSettings] = {}
    counts: dict[str, int] = {}
    for name, method in found.items():
        own = [axis for axis in axes if axis.applies_to(name, method)]
        made = list(_drawn(own, number, seed, name) if number else _combinations(own, name))
        counts[name] = len(made)
        start = next((m for m in base.methods.values() if m.method == name), None)
        for place, chosen in enumerate(made, 1):
            trials[f"{method.name}-{place:02d}"] = _trial(name, method, start, chosen)
    _check_counts(counts, unequal)
    return base.model_copy(
        update={
            "preset": f"{base.preset} (sweep)",
            "methods": trials,
            "shams": tuple(trials) if shams else (),
            "rollback": tuple(sorted({*ROLLBACKS, *base.rollback})),
            "repair": False,
            "corruption": {**base.corruption, "checkpoints": 0},
            "unlearning": {**base.unlearning, "checkpoints": 0},
            "explanation": type(base.explanation)(
                capture=False, probes=(), analyses=(), surveys=(), lens_facts=0, traced_facts=0
            ),
            "judges": {},
            "robustness": type(base.robustness)(),
        }
    )


def _check(
    base: RunConfig, methods: Sequence[str], tries: Sequence[str], number: int | None
) -> None:
    if not methods:
        raise ConfigError("a sweep needs a method: --method npo, once per method")
    twice = [name for name in dict.fromkeys(methods) if methods.count(name) > 1]
    if twice:
        raise ConfigError(f"the method {', '.join(twice)} is named more than once: name it once")
    if not tries:
        raise ConfigError(
            "a sweep needs something to try: --try learning_rate=5e-4,1e-3, once per setting"
        )
    if number is not None and number < 2:
        raise ConfigError(f"a sweep draws at least 2 trials per method, found {number}")
    if base.checkpoints:
        raise ConfigError("checkpoints are given, so nothing is trained: there is nothing to sweep")
    if len(base.data.corrupted) < MIN_ENTITIES:
        raise ConfigError(
            f"trials are chosen on half of the corrupted entities and scored on the other half, "
            f"which needs at least {MIN_ENTITIES}; data.corrupted names {len(base.data.corrupted)}"
        )


def _check_counts(counts: Mapping[str, int], unequal: bool) -> None:
    few = [name for name, count in counts.items() if count < 2]
    if few:
        raise ConfigError(
            f"nothing is tried with {', '.join(few)}: none of the settings given with --try is a "
            "setting of it, or there is a single value. Give it two values at least"
        )
    if len(set(counts.values())) > 1 and not unequal:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(
            f"the methods have different numbers of trials ({told}), and the best of more trials "
            "is better by luck alone. Give them equally many (npo.beta=… is of one method alone; "
            "--random draws the same number for each), or say --unequal"
        )


def _trial(
    name: str, method: Method, start: MethodSettings | None, chosen: Mapping[str, Any]
) -> MethodSettings:
    settings = dict(start.settings) if start else {}
    training = dict(start.training) if start else {}
    for key, value in chosen.items():
        if key in method.settings.model_fields:
            settings[key] = value
        else:
            training[key] = value
    # The length of a training is said in one of two ways; a tried one takes the other's place.
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if one in chosen:
            training[other] = None
    return MethodSettings(method=name, settings=settings, training=training)


# ---- what is tried


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """One setting and the values to try."""

    text: str
    method: str | None
    """None: every method that has this setting."""
    key: str
    values: tuple[Any, ...] = ()
    ends: tuple[float, float] | None = None
    """Of a range, instead of values."""
    whole: bool = False
    """The numbers of a range are rounded to integers."""

    def applies_to(self, name: str, method: Method) -> bool:
        if self.method is not None:
            return self.method in (name, method.name)
        return self.key in _fields(method)


def _fields(method: Method) -> dict[str, Any]:
    """Name -> annotation of everything that a trial of a method may set; its own settings first."""
    training, own = TrainSettings.model_fields, method.settings.model_fields
    return {key: field.annotation for key, field in {**training, **own}.items()}


def _axis(text: str, methods: Mapping[str, Method]) -> _Axis:
    name, sign, values = text.partition("=")
    if not sign or not values.strip():
        raise ConfigError(
            f"what to try is `setting=value,value` or `setting=low:high`, found {text!r}"
        )
    prefix, dot, key = name.rpartition(".")
    names = {method.name: method for method in methods.values()} | dict(methods)
    if dot and prefix not in names:
        raise unknown_name("method of this sweep", prefix, names)
    having = [names[prefix]] if dot else list(methods.values())
    fields = [_fields(method) for method in having]
    if not any(key in own for own in fields):
        raise unknown_name(
            f"setting of {', '.join(method.name for method in having)} to try",
            key,
            {name for own in fields for name in own},
        )
    kinds = {kind for own in fields if key in own for kind in _number_kinds(own[key])}
    axis = {"text": text, "method": prefix if dot else None, "key": key}
    if ":" in values and kinds:
        return _Axis(**axis, ends=_ends(text, values), whole=float not in kinds)
    try:
        # YAML reads 6:12 as 372, a number to the base of sixty.
        quoted = re.sub(r"\d*:\d+|\d+:", lambda found: f'"{found.group()}"', values)
        parsed = yaml.safe_load(f"[{quoted}]")
    except yaml.YAMLError as error:
        raise ConfigError(f"the values to try in {text!r} are not YAML: {error}") from error
    read = tuple(_as_number(value) if kinds else value for value in parsed)
    if len({repr(value) for value in read}) < len(read):
        raise ConfigError(f"{text!r} names a value more than once: name it once")
    return _Axis(**axis, values=read)


def _number_kinds(annotation: Any) -> set[type]:
    """int or float, where a setting is a number; nothing where it is something else as well."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = set(typing.get_args(annotation)) if union else {annotation}
    kinds -= {types.NoneType}
    return kinds if kinds and kinds <= {int, float} else set()


def _as_number(value: Any) -> Any:
    """YAML reads 5e-4 as a word."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _ends(text: str, values: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in values.split(":"))
    except ValueError:
        raise ConfigError(f"a range to try is `low:high`, two numbers; found {text!r}") from None
    if not 0 < low < high:
        raise ConfigError(
            f"a range is drawn log-uniformly, which needs 0 < low < high; found {text!r}. "
            "List the values instead"
        )
    return low, high


def _combinations(axes: Sequence[_Axis], name: str) -> Iterator[dict[str, Any]]:
    for axis in axes:
        if axis.ends is not None:
            raise ConfigError(
                f"{axis.text!r} is a range: say how many trials to draw with --random, or list "
                "the values"
            )
    _refuse_repeated(axes, name)
    if not axes:
        return
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.key for axis in axes), values, strict=True))


def _drawn(axes: Sequence[_Axis], number: int, seed: int, name: str) -> Iterator[dict[str, Any]]:
    _refuse_repeated(axes, name)
    if not axes:
        return
    seen: set[str] = set()
    for attempt in range(100 * number):
        chosen = {axis.key: _draw(axis, seed, attempt) for axis in axes}
        if repr(chosen) not in seen:
            seen.add(repr(chosen))
            yield chosen
        if len(seen) == number:
            return
    raise ConfigError(
        f"what is tried with {name} has only {len(seen)} different settings: ask for fewer "
        f"trials than {number}, or try more values"
    )


def _draw(axis: _Axis, seed: int, attempt: int) -> Any:
    # One generator per value: neither other settings nor more trials change what is drawn.
    order = random.Random(f"{seed}/{axis.key}/{attempt}")
    if axis.ends is None:
        return order.choice(axis.values)
    low, high = axis.ends
    drawn = low * (high / low) ** order.random()
    return round(drawn) if axis.whole else float(f"{drawn:.4g}")


def _refuse_repeated(axes: Sequence[_Axis], name: str) -> None:
    keys = [axis.key for axis in axes]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise ConfigError(f"{', '.join(twice)} of {name} is tried more than once: name it once")
