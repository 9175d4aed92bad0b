"""Plain values -> a configuration: files, `key.sub=value`, and what is wrong with them."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.presets.config import RunConfig


def read_config(path: Path) -> RunConfig:
    """A configuration file, such as the `config.yaml` of another run."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return validated(values, str(path))


def validated(values: Any, source: str) -> RunConfig:
    """A `RunConfig` of plain values; every problem on its own line."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                problems.append(str(_unknown_key(place)))
            else:
                problems.append(f"{place}: {problem['msg']}, found {problem['input']!r}")
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


def override(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign:
        raise ConfigError(f"an override is `key=value`, found {override!r}; for example seed=1")
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        if not isinstance(place, dict) or parent not in place:
            raise _unknown_key(key)
        place = place[parent]
    if not isinstance(place, dict):
        raise _unknown_key(key)
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {key} is not YAML: {text!r} ({error})") from error


def _unknown_key(key: str) -> ConfigError:
    return unknown_name("setting", key, setting_names(RunConfig))


def setting_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that an override may name."""
    names = []
    for name, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
