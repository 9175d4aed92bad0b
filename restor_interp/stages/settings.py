"""Typed settings in which an unknown key is an error that names the nearest one."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from restor_interp.errors import ConfigError, unknown_name


class Settings(BaseModel):
    """Frozen settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, values: Mapping[str, Any], what: str) -> Self:
        """Settings from plain values.

        `what` says whose they are, as in "the method npo". Raises `ConfigError`, with the nearest
        name for an unknown key and the value found for one that makes no sense.
        """
        for name in values:
            if name not in cls.model_fields:
                if not cls.model_fields:
                    raise ConfigError(f"{what} has no settings, found {name!r}: leave it out")
                raise unknown_name(f"setting of {what}", name, cls.model_fields)
        try:
            return cls(**values)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}, "
                f"found {problem['input']!r}"
                for problem in error.errors()
            )
            raise ConfigError(f"{what}: {problems}") from None
