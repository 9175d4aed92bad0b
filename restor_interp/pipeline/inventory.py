"""What there is to choose from, each with one line: for `restor-interp list`."""

from collections.abc import Callable, Mapping
from typing import Any

from restor_interp.definitions import gallery_folders, load_definitions
from restor_interp.errors import RestorError, unknown_name
from restor_interp.facts import BUILT_IN, load_facts
from restor_interp.models.loading import model_status
from restor_interp.presets import PRESETS
from restor_interp.stages.methods import METHODS

Rows = list[dict[str, Any]]


def inventory(kind: str) -> Rows:
    """Rows of one kind. Raises `ConfigError` for a kind that does not exist."""
    if kind not in _OF_KIND:
        raise unknown_name("kind of thing to list", kind, (*KINDS, "all"))
    return _OF_KIND[kind]()


def _definitions() -> Rows:
    """Probes, analyses and reports of the current folder and ours; a broken file is a row too."""
    rows: Rows = []
    problems: list[RestorError] = []
    for folder in gallery_folders():
        for definition in load_definitions(folder, on_error=problems.append):
            rows.append(
                {
                    "name": definition.name,
                    "kind": definition.kind,
                    "what": definition.summary,
                    "file": str(definition.path),
                }
            )
    broken = [
        {"name": "(broken)", "kind": "", "what": str(problem), "file": ""} for problem in problems
    ]
    return rows + broken


def _methods() -> Rows:
    return [
        {
            "name": method.name,
            "what": method.summary,
            "settings": ", ".join(
                f"{name}={field.default}" for name, field in method.settings.model_fields.items()
            ),
            "tuning": method.hints,
            "source": method.citation,
        }
        for method in METHODS.values()
    ]


def _presets() -> Rows:
    return [
        {"name": name, "what": (make.__doc__ or "").strip().partition("\n")[0]}
        for name, make in PRESETS.items()
    ]


def _models() -> Rows:
    return [
        {
            "name": status.name,
            "what": status.about,
            "here": "yes" if status.present else "no: restor-interp model get " + status.name,
            "megabytes": round(status.bytes / 1e6, 1),
        }
        for status in model_status()
    ]


def _facts() -> Rows:
    rows: Rows = []
    for name in BUILT_IN:
        facts = load_facts(name)
        rows.append(
            {
                "name": name,
                "kinds": ", ".join(sorted({entity.kind for entity in facts.entities.values()})),
                "facts": len(facts),
                "entities": len({fact.entity for fact in facts}),
                "relations": len({fact.relation for fact in facts}),
            }
        )
    return rows


_OF_KIND: Mapping[str, Callable[[], Rows]] = {
    "definitions": _definitions,
    "methods": _methods,
    "presets": _presets,
    "models": _models,
    "facts": _facts,
}
KINDS = tuple(_OF_KIND)
