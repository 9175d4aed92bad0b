"""What a report definition receives: the tables of a run, or of one entity in it.

Tables are pandas frames with the columns of `restor_interp.store.TABLES`; any of them may be
missing. A missing table is an empty frame, and a missing fixed column is filled with NaN and told
in `problems`, so that a page about an older run says what it lacks instead of failing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from restor_interp.errors import DataError, unknown_name
from restor_interp.explain.retention import Retained, retained
from restor_interp.reporting.vocabulary import is_control, order_states, state_kind
from restor_interp.store import TABLES

SETTINGS = {
    "lens": "explanation.lens_facts=24",
    "traces": "explanation.traced_facts=8",
    "probes": "explanation.probes=[object_readout]",
    "timeline": "unlearning.checkpoints=4",
}
"""Table -> the override with which a run has it; the other tables are in every run."""

ANALYSES = {
    "patches": "cross_state_patching",
    "retention": "retention",
    "grafts": "grafting",
    "knockouts": "attention_knockout",
    "attributions": "attribution",
    "contributions": "direct_logits",
    "tuned_lens": "tuned_lens",
    "mlp_changes": "mlp_changes",
    "value_vectors": "value_vectors",
    "attention": "subject_attention",
    "descriptions": "subject_description",
    "token_attributions": "token_attribution",
}
"""Table -> the analysis that makes it, for those that a run has only if it asks for them."""

SURVEYS = {
    "weights": "weights",
    "drift": "drift",
    "directions": "directions",
    "steering": "directions",
    "interpolation": "interpolation",
    "forget_weights": "forget_weights",
    "forget_trajectory": "forget_weights",
    "gradients": "gradients",
    "timeline": "timeline",
    "turnings": "timeline",
    "leading_layers": "timeline",
}
"""Table -> the survey of whole states that makes it."""

_MEASURED = ("answers", "choices", "lens", "traces", "fates")


def where(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values; a list or tuple admits each of its members."""
    kept = frame
    for column, value in values.items():
        admitted = list(value) if isinstance(value, list | tuple) else [value]
        kept = kept.loc[kept[column].isin(admitted)]
    return kept


def records(frame: pd.DataFrame, **values: Any) -> list[dict[str, Any]]:
    """The rows of `where` as dictionaries; whatever is missing (NaN, NA, NaT) is None."""
    chosen = where(frame, **values)
    columns = [_values(column) for _, column in chosen.items()]
    names = [str(name) for name in chosen.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pd.Series) -> list[Any]:
    values, missing = column.tolist(), column.isna()
    if missing.any():
        return [None if gone else value for value, gone in zip(values, missing, strict=True)]
    return values


class _Tables:
    """Look-ups that a run and an entity share."""

    tables: Mapping[str, pd.DataFrame]

    def table(self, name: str) -> pd.DataFrame:
        """A table; an empty one with its fixed columns where it was not measured.

        Raises `ConfigError` for a name that no run can have.
        """
        if name in self.tables:
            return self.tables[name]
        if name not in TABLES:
            raise unknown_name("table", name, {*TABLES, *self.tables})
        return pd.DataFrame(columns=list(TABLES[name]))

    def rows(self, name: str) -> tuple[dict[str, Any], ...]:
        """All records of a table, made once: for what is asked of it often."""
        made: dict[str, tuple[dict[str, Any], ...]] = self.__dict__.setdefault("_made", {})
        if name not in made:
            made[name] = tuple(records(self.table(name)))
        return made[name]

    def has(self, name: str) -> bool:
        """Whether a table has rows."""
        return name in self.tables and len(self.tables[name]) > 0


@dataclass(frozen=True, kw_only=True)
class RunResults(_Tables):
    """A whole run."""

    name: str
    config: Mapping[str, Any]
    """`config.yaml`, fully resolved."""
    manifest: Mapping[str, Any]
    """`manifest.json`: versions, digests, seeds, timings."""
    tables: Mapping[str, pd.DataFrame]
    problems: tuple[str, ...] = field(init=False, default=())
    """Fixed columns that a table of this run lacks."""

    def __post_init__(self):
        problems, tables = [], {}
        for name, frame in self.tables.items():
            missing = [column for column in TABLES.get(name, ()) if column not in frame.columns]
            problems += [f"the table {name} has no column {column}" for column in missing]
            tables[name] = frame.assign(**dict.fromkeys(missing, math.nan)) if missing else frame
        facts = tables.get("facts")
        if facts is None or not len(facts):
            raise DataError(
                f"the run {self.name!r} has no table of facts, so there is nothing to report on; "
                "give its `restor-interp run` command again"
            )
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "problems", tuple(problems))

    @cached_property
    def facts(self) -> tuple[dict[str, Any], ...]:
        """The rows of the table of facts, each fact once, missing values as None."""
        return tuple(records(self.table("facts").drop_duplicates("fact_id")))

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Every entity: the corrupted ones first, then the others, each group in table order."""
        others = (fact["entity"] for fact in self.facts)
        return tuple(dict.fromkeys((*self.corrupted_entities, *others)))

    @cached_property
    def corrupted_entities(self) -> tuple[str, ...]:
        """Entities with at least one planted falsehood."""
        return tuple(dict.fromkeys(f["entity"] for f in self.facts if f["role"] == "direct"))

    @cached_property
    def states(self) -> tuple[str, ...]:
        """Every measured state: clean, corrupted, methods, controls."""
        found: list[str] = []
        for name in _MEASURED:
            found += self.table(name)["state"].dropna().unique().tolist()
        return order_states(found)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The unlearned states."""
        return tuple(state for state in self.states if state_kind(state) == "method")

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """The control states: shams, retain-only, rollbacks, repairs."""
        return tuple(state for state in self.states if is_control(state))

    @cached_property
    def retained(self) -> Retained:
        """What the table of retention says of each fact, and by which layers and controls."""
        measured = self.table("retention").dropna(subset=["layer"])
        return retained(measured, {f["fact_id"]: f["role"] for f in self.facts})

    def command(self, *tables: str) -> str:
        """The command that adds tables to this run, and leaves its other settings as they are."""
        words = ["restor-interp run <run folder>/config.yaml --out <run folder>"]
        words += [SETTINGS[table] for table in tables if table in SETTINGS]
        for setting, makers in (("analyses", ANALYSES), ("surveys", SURVEYS)):
            added = [makers[table] for table in tables if table in makers]
            if added:
                own = self.config.get("explanation", {}).get(setting, ())
                words.append(f"explanation.{setting}=[{','.join(dict.fromkeys((*own, *added)))}]")
        return " ".join(words)

    @property
    def knows_claims(self) -> bool:
        """Whether this run knows which falsehoods were planted: of documents and models that are
        given nobody can say, unless a file of claims comes with them."""
        data = self.config.get("data", {})
        given = data.get("documents") is not None or bool(self.config.get("checkpoints"))
        return data.get("claims") is not None or not given

    def entity(self, name: str) -> "EntityResults":
        """The results about one entity. Raises `ConfigError` for an entity of which none are."""
        return EntityResults(entity=name, run=self)


@dataclass(frozen=True, kw_only=True)
class EntityResults(_Tables):
    """One entity: tables keyed by fact hold its facts alone, the others the whole run."""

    entity: str
    run: RunResults
    tables: Mapping[str, pd.DataFrame] = field(init=False)

    def __post_init__(self):
        if self.entity not in self.run.entities:
            raise unknown_name("entity in this run", self.entity, self.run.entities)
        ids = [fact["fact_id"] for fact in self.facts]
        tables = {
            table: where(frame, fact_id=ids) if "fact_id" in frame.columns else frame
            for table, frame in self.run.tables.items()
        }
        object.__setattr__(self, "tables", tables)

    @cached_property
    def facts(self) -> tuple[dict[str, Any], ...]:
        """The entity's facts."""
        return tuple(fact for fact in self.run.facts if fact["entity"] == self.entity)

    @property
    def is_corrupted(self) -> bool:
        """Whether falsehoods about this entity were planted."""
        return self.entity in self.run.corrupted_entities
