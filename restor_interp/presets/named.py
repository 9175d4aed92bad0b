"""The presets by name, and a configuration out of one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.presets.atlas import atlas_k0, atlas_k1, atlas_k2
from restor_interp.presets.bios import bios, bios_all
from restor_interp.presets.config import RunConfig
from restor_interp.presets.demo import demo, demo_tuning
from restor_interp.presets.overrides import override, read_config, validated
from restor_interp.presets.restor import (
    restor_k0,
    restor_k1,
    restor_k2,
    restor_k3,
    restor_k4,
    restor_k5,
    restor_squad,
)
from restor_interp.presets.switches import as_in_the_paper, switched

Preset = Callable[[], RunConfig]

_OURS: Mapping[str, Preset] = {
    "demo": demo,
    "demo_tuning": demo_tuning,
    "bios": bios,
    "bios-all": bios_all,
    "atlas-k0": atlas_k0,
    "atlas-k1": atlas_k1,
    "atlas-k2": atlas_k2,
}
_RESTOR: Mapping[str, Preset] = {
    "restor-k0": restor_k0,
    "restor-k1": restor_k1,
    "restor-k2": restor_k2,
    "restor-k3": restor_k3,
    "restor-k4": restor_k4,
    "restor-k5": restor_k5,
    "restor-squad": restor_squad,
}


def _paper(name: str, preset: Preset) -> Preset:
    def make() -> RunConfig:
        return as_in_the_paper(preset()).model_copy(update={"preset": f"{name}-paper"})

    make.__doc__ = f"{name} with the paper's own choices, as far as they are known."
    return make


PRESETS: Mapping[str, Preset] = {
    **_OURS,
    **_RESTOR,
    **{f"{name}-paper": _paper(name, preset) for name, preset in _RESTOR.items()},
}

_YAML = (".yaml", ".yml")


def resolve(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A preset's or a YAML file's configuration, switched and overridden.

    `preset` may name switches, applied in order: `restor-k0+packed+in_order`,
    `runs/mine/config.yaml+fast`. Overrides are `key.sub=value` and come last. Raises `ConfigError`
    for an unknown preset, switch or key, or a value of the wrong kind.
    """
    name, switches = _named(preset)
    if name.endswith(_YAML):
        base = read_config(Path(name))
        called = f"{base.preset}{preset.removeprefix(name)}"
    else:
        if name not in PRESETS:
            raise _unknown(name)
        base, called = PRESETS[name](), preset
    for switch in switches:
        base = switched(base, switch)
    base = base.model_copy(update={"preset": called})
    values = base.model_dump(mode="json")
    for text in overrides:
        override(values, text)
    return validated(values, preset)


def _named(preset: str) -> tuple[str, list[str]]:
    """The preset or file, and the switches after it; a file's own path may have a +."""
    for end in _YAML:
        file, found, rest = preset.rpartition(end)
        if found and rest[:1] in ("", "+"):
            return f"{file}{end}", rest.split("+")[1:]
    name, *switches = preset.split("+")
    return name, switches


def _unknown(name: str) -> ConfigError:
    """What to give in the place of a run's folder, or the presets that there are."""
    config = Path(name) / "config.yaml"
    if config.is_file():
        return ConfigError(f"{name} is a folder of a run; its settings are a file: give {config}")
    return unknown_name("preset", name, PRESETS)
