"""Facts in a table that somebody else made: its columns are mapped to what a fact has.

    load_columns("popqa.tsv", {
        "entity": "subj", "relation": "prop", "question": "question",
        "true": "obj", "aliases": "possible_answers", "fact_id": "id",
    })

Left stands what a fact has, under the names of the JSONL format (`fact_files.jsonl`); right a
column, a path into nested ones (`requested_rewrite.target_true.str`), or a function of the row.
Files are CSV and TSV with a header, JSON lines, one JSON list of objects, or Parquet.
"""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from restor_interp.errors import ConfigError, DataError
from restor_interp.fact_files.jsonl import Record, facts_of_records
from restor_interp.fact_files.reading import (
    UnreadableError,
    is_line,
    nearest,
    parse,
    read_text,
    shown,
)
from restor_interp.facts import FactSet

Row = Mapping[str, Any]
Column = str | Callable[[Row], Any]
"""Name of a column, `outer.inner` for nested ones, or a function of the row."""

REQUIRED = ("entity", "relation", "question", "true")
OPTIONAL = ("fact_id", "kind", "type", "aliases", "false")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")

_LISTS = ("true", "aliases")
"""What may be several texts: a list, or a text that is a JSON list."""
_BETWEEN_ELEMENTS = " \t\r\n,"
_FAILURES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration)
_Rows = Iterator[tuple[int, Row | str]]
"""Number of the line from 1 on (of the row in Parquet, and in JSON of one line), and the row, or
what is wrong there."""


def load_columns(
    path: str | Path, columns: Mapping[str, Column], *, leave_out: bool = False
) -> FactSet:
    """A fact set out of a table, a fact per row.

    Args:
        path: a `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` file. `.json` is one list of
            objects, or one object per line.
        columns: what a fact has -> the column (or function of the row) that holds it. `entity`,
            `relation`, `question` and `true` are needed. `true` may be a list of right answers;
            `aliases` are other spellings of the first one; `false` is the object that corruption
            plants; `kind` is the entity's, `type` that of the objects; `fact_id` tells facts apart
            that have the same entity and relation. Spaces around texts are dropped, whole numbers
            are written out.
        leave_out: leave out rows that cannot be used, with a warning that counts and lists them,
            instead of refusing the file.

    Raises:
        DataError: the first problems as `file:line: problem` (`file:row` for Parquet, and for JSON
            whose rows share lines): a column that is not there, an empty cell, a question that does
            not name its entity, a fact that stands twice, a false object that is right.
        ConfigError: a key that a fact does not have, or one that is needed and not mapped.
    """
    _check_keys(columns)
    rows = _rows(Path(path))
    return facts_of_records(
        Path(path),
        (
            (number, [row] if isinstance(row, str) else _record(row, columns))
            for number, row in rows
        ),
        leave_out=leave_out,
    )


def _check_keys(columns: Mapping[str, Column]) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for key in columns:
        if key not in known:
            raise ConfigError(f"a fact has no {key!r}{nearest(key, known)}")
    missing = [key for key in REQUIRED if key not in columns]
    if missing:
        raise ConfigError(
            f"no column is mapped to {', '.join(missing)}, which every fact needs; mapped: "
            f"{', '.join(columns) or 'nothing'}"
        )


# ---- a row -> a record


def _record(row: Row, columns: Mapping[str, Column]) -> Record:
    """What the JSONL format has for a fact, or what is wrong with the row."""
    values: dict[str, Any] = {}
    problems = []
    for key, column in columns.items():
        try:
            found = _texts(_cell(row, column)) if key in _LISTS else _text(_cell(row, column))
        except UnreadableError as error:
            problems.append(f"{key!r}{_source(column)}: {error}")
            continue
        if found:
            values[key] = found
        elif key in REQUIRED:
            problems.append(f"{key!r}{_source(column)} is empty")
    if problems:
        return problems
    if "aliases" in values:
        right = values["true"]
        others = [name for name in values["aliases"] if name not in right]
        values["aliases"] = {right[0]: others} if others else {}
    return values


def _source(column: Column) -> str:
    return f" (column {column!r})" if isinstance(column, str) else " (a function of the row)"


def _cell(row: Row, column: Column) -> Any:
    if not isinstance(column, str):
        try:
            return column(row)
        except _FAILURES as error:
            raise UnreadableError(f"{type(error).__name__}: {error}".rstrip(": ")) from None
    if column in row:
        return row[column]
    place: Any = row
    for name in column.split("."):
        if not isinstance(place, Mapping) or name not in place:
            known = list(place) if isinstance(place, Mapping) else []
            raise UnreadableError(f"there is no {name!r}{nearest(name, known)}")
        place = place[name]
    return place


def _texts(value: Any) -> list[str]:
    """One text or several, without repeats."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(json.JSONDecodeError):  # a text that begins with a bracket
            value = json.loads(value)
    several = value if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(text for one in several if (text := _text(one))))


def _text(value: Any) -> str:
    """A text of one line without spaces around it; empty where there is nothing."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and (not value.strip() or is_line(value.strip())):
        return value.strip()
    found = shown(value) if isinstance(value, str) else repr(value)[:80]
    raise UnreadableError(f"a text of one line is needed, found {found}")


# ---- a file -> rows


def _rows(path: Path) -> _Rows:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path} is no table that can be read: its name must end in {', '.join(SUFFIXES)}"
        )
    if suffix == ".parquet":
        return _parquet_rows(path)
    text = read_text(path)
    if suffix in (".csv", ".tsv"):
        return _separated_rows(path, text, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json" and text.lstrip().startswith("["):
        return _listed_rows(path, text)
    return _line_rows(text)


def _line_rows(text: str) -> _Rows:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, _object(parse(line))
            except UnreadableError as error:
                yield number, str(error)


def _listed_rows(path: Path, text: str) -> _Rows:
    try:
        elements = parse(text)
    except UnreadableError as error:
        raise DataError(f"{path}:{error.line}: {error}") from None
    lines = _lines_of(text, len(elements))
    for number, element in zip(lines, elements, strict=True):
        yield number, _object(element)


def _lines_of(text: str, number: int) -> Sequence[int]:
    """The line on which each element of a JSON list begins; their places in it (from 1 on) where
    several begin on one line, so that every row has a number of its own."""
    decoder, lines = json.JSONDecoder(), []
    place = text.index("[") + 1
    line = 1 + text.count("\n", 0, place)
    for _ in range(number):
        begin = place
        while text[begin] in _BETWEEN_ELEMENTS:
            begin += 1
        line += text.count("\n", place, begin)
        lines.append(line)
        _, place = decoder.raw_decode(text, begin)
        line += text.count("\n", begin, place)
    return lines if len(set(lines)) == number else range(1, number + 1)


def _object(value: Any) -> Row | str:
    return value if isinstance(value, dict) else f"a row is a JSON object, found {shown(value)}"


def _separated_rows(path: Path, text: str, delimiter: str) -> _Rows:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise DataError(f"{path}:1: columns that stand twice: {', '.join(repeated)}")
        last = reader.line_num
        for cells in reader:
            number, last = last + 1, reader.line_num
            if len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            elif cells:
                yield number, f"{len(cells)} cells under a header of {len(header)}"
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None


def _parquet_rows(path: Path) -> _Rows:
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise DataError(f"there is no file {path.absolute()}")
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
