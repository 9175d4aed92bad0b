"""What the readers of fact files share: text, JSON, places in it, and checks of values."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from restor_interp.errors import DataError

TEXT = "a text of one line, without spaces around it"
TEXTS = "a list of texts"
ALIASES = "an object of lists of texts"


def contains_word(text: str, name: str) -> bool:
    """Does `name` stand in `text` as whole words? ("Niger" does not stand in "Nigeria".)"""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def template_of(asked: list[tuple[str, str]]) -> str:
    """The commonest question of (question, entity) pairs with its entity taken out."""
    templates = Counter(
        re.sub(
            rf"(?<!\w){re.escape(escaped(entity))}(?!\w)", "{entity}", escaped(question), count=1
        )
        for question, entity in asked
    )
    return templates.most_common(1)[0][0]


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def without_escapes(template: str) -> str:
    """A template less its doubled braces: those that are left mark slots."""
    return template.replace("{{", "").replace("}}", "")


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no file {path.absolute()}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class UnreadableError(ValueError):
    """Text that is not the JSON that was wanted, with the line of the problem."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem)
        self.line = line


def parse(text: str) -> Any:
    """JSON without repeated keys, of which one would silently win. Raises `UnreadableError`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = Counter(key for key, _ in pairs)
        for key, count in counted.items():
            if count > 1:
                line = _line_of_repeat(text, key)
                raise UnreadableError(f"the key {key!r} stands twice in one object", line)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at character {error.colno} of the line"
        raise UnreadableError(problem, error.lineno) from None
    except RecursionError:
        raise UnreadableError("not usable JSON: nested too deeply") from None


def _line_of_repeat(text: str, key: str) -> int:
    """The line on which a key stands for the second time within one object."""
    open_objects, seen = [-1], set[int]()
    for found in re.finditer(rf"[{{}}]|{_key_pattern(key).pattern}", text):
        if found[0] == "{":
            open_objects.append(found.start())
        elif found[0] == "}":
            # A brace inside of a text may be one too many.
            open_objects = open_objects[:-1] or [-1]
        elif open_objects[-1] in seen:
            return text.count("\n", 0, found.start()) + 1
        else:
            seen.add(open_objects[-1])
    return 1


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line on which a path of keys ends, found by its keys in their order."""
    place = 0
    for key in keys:
        found = _key_pattern(key).search(text, place)
        place = found.end() if found else place
    return text.count("\n", 0, place) + 1


def _key_pattern(key: str) -> re.Pattern[str]:
    spellings = {json.dumps(key), json.dumps(key, ensure_ascii=False)}
    return re.compile(rf"(?:{'|'.join(map(re.escape, sorted(spellings)))})\s*:")


def line_of_value(text: str, name: str) -> int:
    """The line on which a text first stands as a JSON string."""
    spellings = (json.dumps(name), json.dumps(name, ensure_ascii=False))
    places = [text.find(spelling) for spelling in spellings]
    return text.count("\n", 0, max(*places, 0)) + 1


def nearest(name: object, known: Iterable[str]) -> str:
    """How a message goes on after a name that does not exist."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; allowed: {', '.join(names)}" if len(names) <= 12 else ""


def shown(value: Any) -> str:
    """A value as a message shows it: JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"


def value_problems(key: str, value: Any, wanted: str) -> list[str]:
    """What is wrong with the value of a key that must be TEXT, TEXTS or ALIASES."""
    if wanted == TEXT:
        fits = is_line(value)
    elif wanted == TEXTS:
        fits = _are_lines(value)
    else:
        fits = (
            isinstance(value, dict)
            and _are_lines([*value])
            and all(map(_are_lines, value.values()))
        )
    if fits:
        return []
    return [f"{key!r} must be {wanted}; none empty; found {shown(value)}"]


def is_line(text: Any) -> bool:
    """Is it a text of one line, not empty, without spaces around it?"""
    return isinstance(text, str) and text == text.strip() and len(text.splitlines()) == 1


def _are_lines(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_line, value))
