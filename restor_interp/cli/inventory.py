"""What there is to choose from, each with one line: for `restor-interp list`.

Each kind imports what it needs by itself: what can be told without torch is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from restor_interp.errors import RestorError, unknown_name

if TYPE_CHECKING:
    from restor_interp.stages.methods import Method
    from restor_interp.stages.settings import Settings

Rows = list[dict[str, Any]]


def inventory(kind: str) -> Rows:
    """Rows of one kind. Raises `ConfigError` for a kind that does not exist."""
    if kind not in _OF_KIND:
        raise unknown_name("kind of thing to list", kind, (*KINDS, "all"))
    return _OF_KIND[kind]()


def _definitions() -> Rows:
    """Probes, analyses and reports of the current folder and ours; a broken file is a row too."""
    from restor_interp.definitions import gallery_folders, load_definitions

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
    from restor_interp.stages.methods import METHODS

    return [
        {
            "name": method.name,
            "kind": _kind(method),
            "what": f"{method.summary}; needs {', '.join(_needs(method)) or 'nothing else'}",
            "settings": _defaults(method.settings),
            "tuning": method.hints,
            "source": method.citation,
        }
        for method in METHODS.values()
    ]


def _kind(method: Method) -> str:
    if method.ceiling:
        return "ceiling"
    if not method.needs_forget:
        return "control"
    return "corruption" if method.name == "fine_tune" else "unlearning"


def _needs(method: Method) -> list[str]:
    """What a method asks for beyond the documents and the state that it changes."""
    needs = [f"the {method.counterpart} for each document"] if method.counterpart else []
    needs += [f"the start state's {method.reference}"] if method.reference else []
    needs += ["the clean model"] if method.start == "clean" else []
    return needs + (["retain text"] if method.needs_retain else [])


def _attacks() -> Rows:
    from restor_interp.stages.attacks import ATTACKS

    return [
        {
            "name": attack.name,
            "kind": attack.kind,
            "what": attack.summary + (f" Needs {attack.needs}." if attack.needs else ""),
            "settings": _defaults(attack.settings),
            "source": attack.citation,
        }
        for attack in ATTACKS.values()
    ]


def _defaults(settings: type[Settings]) -> str:
    """Every setting with its default, written as an override would be."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in settings().model_dump().items())


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _presets() -> Rows:
    from restor_interp.presets import PRESETS

    return [{"name": name, "what": _told(make)} for name, make in PRESETS.items()]


def _switches() -> Rows:
    """What may follow the name of a preset, as in `restor-k0+packed`."""
    from restor_interp.presets import SWITCHES

    return [{"name": f"+{name}", "what": _told(switch)} for name, switch in SWITCHES.items()]


def _told(documented: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, which may be more than a line."""
    return " ".join((documented.__doc__ or "").strip().partition("\n\n")[0].split())


def _models() -> Rows:
    from restor_interp.models.loading import model_status

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
    from restor_interp.facts import BUILT_IN, load_facts

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
    "attacks": _attacks,
    "presets": _presets,
    "switches": _switches,
    "models": _models,
    "facts": _facts,
}
KINDS = tuple(_OF_KIND)
