"""The promises of a run's tables: readable, with their columns, and holding what cells hold."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.core.util.hashing import hash_array

from restor_interp.errors import ConfigError
from restor_interp.pipeline.runs import Run
from restor_interp.pipeline.verifying.finding import Finding, Looked, assembled_again
from restor_interp.store import TABLES


def check_tables(run: Run) -> Looked:
    cells = list(run.manifest["cells"])
    names = run.store.table_names(cells)
    return Looked(len(names), _wrong_tables(run, names, cells))


def _wrong_tables(run: Run, names: Sequence[str], cells: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        place, mend = f"tables/{name}.parquet", assembled_again(run)
        try:
            frame = run.table(name)
            expected = run.store.collect(name, cells)
        except ConfigError:
            yield Finding(place=place, problem="is missing", mend=mend)
            continue
        except Exception as error:  # a damaged file makes its reader raise whatever it meets
            yield Finding(place=place, problem=f"cannot be read: {error}", mend=mend)
            continue
        missing = [column for column in TABLES.get(name, ()) if column not in frame.columns]
        if missing:
            problem = f"lacks the columns {', '.join(missing)}"
            yield Finding(place=place, problem=problem, mend=mend)
        elif name == "failures":
            if len(frame) != len(run.manifest["failures"]) + len(expected):
                yield Finding(place=place, problem="does not list the failures", mend=mend)
        elif _rows(frame, expected) != _rows(expected, expected):
            problem = f"its {len(frame)} rows are not the {len(expected)} of its cells"
            yield Finding(place=place, problem=problem, mend=mend)


def _rows(frame: pd.DataFrame, expected: pd.DataFrame) -> Counter[int]:
    """The rows as a multiset, whatever their order, over the columns that are expected; what is
    missing is one value in all columns.

    The seed does not count: the whole table has the run's, whatever a cell says.
    """
    columns = [str(column) for column in expected.columns if column != "seed"]
    hashes = np.zeros(len(frame), dtype=np.uint64)
    for number, column in enumerate(columns):
        if column not in frame.columns:
            return Counter({-1: 1})
        texts = np.array([_as_text(value) for value in frame[column]], dtype=object)
        found = hash_array(texts, categorize=True)
        with np.errstate(over="ignore"):
            hashes = hashes * np.uint64(1_000_003) + found * np.uint64(2 * number + 1)
    return Counter(hashes.tolist())


def _as_text(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple):
        return "[" + ",".join(map(_as_text, value)) + "]"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "∅"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    # Where some cells of a table have no value, pandas turns its whole numbers into floats.
    return repr(float(value)) if isinstance(value, int | float | np.number) else str(value)
