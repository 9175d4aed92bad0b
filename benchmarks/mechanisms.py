"""Do the rules for mechanisms name what was planted? On the calibration model, beside decoys.

    python benchmarks/mechanisms.py                # 20 plants of each kind, five minutes
    python benchmarks/mechanisms.py --quick        # one of each, few people: does it work?
    python benchmarks/mechanisms.py --seed 2 --csv cells.csv
    python benchmarks/mechanisms.py --model FOLDER  # another model (benchmarks/train_bios.py)

Half of the people (the even ones) fix what verdicts depend on: the layers that are read, and the
bands of what is intact and what is lost, from controls in the clean model. Thresholds are the
library's. About others damage of a known kind is planted (`restor_interp.testing.plants`), measured
with the library's instruments, joined by its own `explain.readings`, and classified as a run does.
Printed are

* the confusion matrix: rows are what was planted, columns what is said;
* balanced accuracy over the planted mechanisms, and how often nothing is said (`undetermined`);
* false claims: a mechanism of damage said of a decoy (an inert change, a mixture of two causes, a
  change spread over all matrices), or of facts that a plant spares (its sham);
* the shares that verdicts rest on, per kind, to see why.

`output_scaling` has no class of its own: what is lost after the fact arrived reads as
`late_override`, and counts as `output_scaling` where the flag says that untouched facts fell as
much. Refuters are asked only where their class is suspected: others do not enter a verdict.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import restor_interp as ri
from restor_interp.data.bios import bios_facts
from restor_interp.errors import RestorError
from restor_interp.explain.mechanism import Verdict, classify
from restor_interp.explain.readings import Read, look_inside, read
from restor_interp.explain.retention import retained
from restor_interp.explain.thresholds import DEFAULT
from restor_interp.explain.verdicts import shares_out
from restor_interp.facts import Fact
from restor_interp.measure.margins import measure_margins
from restor_interp.measure.retention import measure_retention
from restor_interp.prompts import Prompt, substitutes, with_substitute
from restor_interp.testing.plants import (
    DECOYS,
    MECHANISMS,
    TRAINED,
    Plant,
    Watched,
    make_plants,
    watch,
)
from restor_interp.testing.plants.watching import MADE_ON, TESTED_ON

Rows = list[dict[str, Any]]

DAMAGE = (*MECHANISMS,)
"""What a claim of damage may be."""
CANDIDATES = 20
SUBSTITUTES = 5
UNTOUCHED = 2
"""Facts of the same relation about people of the other half, asked in every state."""
CONTROLS = 3
"""Draws of random modules per swap of weights."""
TRAINED_PLANTS = 4
"""Of a part of the network; each has several facts."""
DECOY_PLANTS = 12
SHAM_EVERY = 3
"""Every so manieth plant is also asked for a fact that it spares."""
LOOKED_AT = 40
"""Of the first so many people plants were looked at while instruments were chosen: not scored."""
ATTENTION_WINDOW = 3
"""As `analyses/cross_state_patching.py` has it."""
FACTS_OF = {"trained": 4, "planted": 1}
"""Facts looked at per plant."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fact in words that instruments take."""

    fact: Fact
    foil: str | None
    """What is said instead, where that was chosen."""
    prompt: Prompt
    other_contexts: tuple[Prompt, ...]
    candidates: tuple[str, ...]
    others: tuple[str, ...]
    """Whom else the question can be about."""


class Bench:
    """The model, its facts, and how each is measured."""

    def __init__(self, watched: Watched, fixing: Sequence[str]) -> None:
        self.fixing = frozenset(fixing)
        """People whose facts fix layers and bands, and who are untouched by plants of others."""
        self.watched, self.model, self.facts = watched, watched.model, watched.facts
        self._cases: dict[tuple[str, str | None], Case] = {}
        self._margins: dict[tuple[str, str | None, str], dict[str, Any]] = {}

    def case(self, fact: Fact, foil: str | None = None) -> Case:
        """`foil` is among the candidates: what is said instead must be one of them, or a fact
        that nobody hears any more keeps its share of the rest."""
        key = fact.fact_id, foil
        if key not in self._cases:
            true = set(self.facts.accepted(fact))
            sharing = {
                other.entity
                for other in self.facts
                if other.relation == fact.relation and true & set(self.facts.accepted(other))
            }
            others = substitutes(
                self.facts,
                fact.entity,
                number=SUBSTITUTES,
                length=lambda name: len(
                    self.model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"]
                ),
                exclude=frozenset(sharing),
                seed=0,
            )
            pool = [name for name in self.facts.pools[fact.object_type] if name not in true]
            chosen = random.Random(fact.fact_id).sample(pool, len(pool))
            if foil is not None:
                chosen = [foil, *(name for name in chosen if name != foil)]
            [prompt] = self.watched.prompts([fact], TESTED_ON)
            self._cases[key] = Case(
                fact=fact,
                foil=foil,
                prompt=prompt,
                other_contexts=tuple(self.watched.prompts([fact], c)[0] for c in MADE_ON),
                candidates=(fact.true_objects[0], *chosen[: CANDIDATES - 1]),
                others=others,
            )
        return self._cases[key]

    def margin(self, case: Case, state: str) -> dict[str, Any]:
        """A row of the table `margins`."""
        key = (case.fact.fact_id, case.foil, state)
        if key not in self._margins:
            asked = [with_substitute(case.prompt, name) for name in case.others]
            with self.model.at(state):
                [found] = measure_margins(self.model, [case.prompt], [asked], [case.candidates])
            self._margins[key] = {
                "fact_id": case.fact.fact_id,
                "state": state,
                "margin": found.margin,
            }
        return self._margins[key]

    def untouched(self, fact: Fact) -> list[Fact]:
        """Facts of the same relation about people of the other half, no namesakes."""
        words = set(fact.entity.split())
        found = [
            other
            for other in self.watched.asked
            if other.relation == fact.relation
            and other.entity in self.fixing
            and not words & set(other.entity.split())
        ]
        return found[:UNTOUCHED]

    def controls(self, facts: Sequence[Fact]) -> Rows:
        """Retention of the clean model's own donors, at all layers."""
        return [
            row
            for fact in facts
            for row in self.retention(self.case(fact), "clean", None, controls=True)
        ]

    def retention(
        self, case: Case, state: str, layers: Sequence[int] | None, *, controls: bool = False
    ) -> Rows:
        host, *wrong = case.others
        found = measure_retention(
            self.model,
            case.prompt,
            case.candidates,
            states=[state],
            substitute=host,
            other_contexts=case.other_contexts if controls else (),
            wrong_entities=wrong[:2] if controls else (),
            layers=layers,
        )
        return found.rows(fact_id=case.fact.fact_id)

    def refuters(self, suspected: str, case: Case, state: str) -> dict[str, Rows]:
        """The table that a suspicion is put to, as the analyses of a run fill it."""
        true, foil, name = case.fact.true_objects[0], case.candidates[1], case.fact.fact_id
        if suspected == "late_override":
            rows: Rows = []
            for by in ("layer", "late"):
                grafts = ri.graft(
                    self.model, [case.prompt], [true], [foil], host=state, by=by, controls=CONTROLS
                )
                rows += grafts.rows(fact_id=name)
            return {"grafts": rows}
        attention = {"kind": "attn", "positions": ["last"], "window": ATTENTION_WINDOW}
        asked: Any = attention if suspected == "not_routed" else {"kind": "subject"}
        other = with_substitute(case.prompt, case.others[0])
        grid, null = (
            ri.patch_states(
                self.model, case.prompt, true, foil, host=state, donor_prompt=donor, **asked
            )
            for donor in (None, other)
        )
        return {"patches": grid.rows(fact_id=name) + null.rows(fact_id=name, null_of=grid)}


# ---- one cell: a fact in a planted state


@dataclass(frozen=True, kw_only=True)
class Cell:
    kind: str
    planted: str
    plant: Plant
    case: Case


def cells_of(bench: Bench, plants: Sequence[Plant], rng: random.Random) -> Iterator[Cell]:
    for number, plant in enumerate(plants):
        most = FACTS_OF["trained" if plant.kind in TRAINED else "planted"]
        for fact in plant.facts[:most]:
            yield Cell(kind=plant.kind, planted=plant.mechanism, plant=plant, case=bench.case(fact))
        is_sham = plant.kind in MECHANISMS and plant.kind != "output_scaling"
        if is_sham and number % SHAM_EVERY == 0:
            spared = rng.choice(plant.spared)
            yield Cell(kind="sham", planted="intact", plant=plant, case=bench.case(spared))


def judge(bench: Bench, cell: Cell, controls: Rows, layers: Sequence[int]) -> tuple[Verdict, Read]:
    """The verdict on a cell, out of the library's tables."""
    case, state = cell.case, cell.plant.name
    rows = controls + bench.retention(case, state, layers)
    verdict, found = look(bench, case, state, rows, {})
    if verdict.suspected not in ("undetermined", "restored", "never_lost"):
        tables = bench.refuters(verdict.suspected, case, state)
        verdict, found = look(bench, case, state, rows, tables)
    return verdict, found


def look(
    bench: Bench, case: Case, state: str, rows: Rows, tables: Mapping[str, Rows]
) -> tuple[Verdict, Read]:
    """What these tables say. The subject's layer and bands come from controls alone, which are
    among `rows`."""
    fact_id = case.fact.fact_id
    roles = {row["fact_id"]: "untouched" for row in rows} | {fact_id: "direct"}
    held = retained(pd.DataFrame(rows), roles)
    asked = {fact_id: case}
    if "grafts" in tables:  # late_override is the one class that the damage of others splits
        asked |= {f.fact_id: bench.case(f) for f in bench.untouched(case.fact)}
    facts = pd.DataFrame(
        [
            {
                "fact_id": name,
                "relation": one.fact.relation,
                "role": "direct" if one is case else "untouched",
                "true_objects": one.fact.true_objects,
            }
            for name, one in asked.items()
        ]
    )
    margins = [bench.margin(one, at) for one in asked.values() for at in ("clean", state)]
    r_out = shares_out(pd.DataFrame(margins))
    frames = {name: pd.DataFrame(found) for name, found in tables.items()}
    inside = look_inside(facts, frames, held)
    found = read(r_out, held, facts, inside)[fact_id, state]
    return classify(found.readings, held.bands), found


def said(verdict: Verdict) -> str:
    """The class that a verdict counts as."""
    if verdict.mechanism in ("restored", "never_lost"):
        return "intact"
    if verdict.mechanism == "late_override" and "general_damage" in verdict.flags:
        return "output_scaling"
    return verdict.mechanism


# ---- scores


def confusion(rows: pd.DataFrame) -> pd.DataFrame:
    order = [*MECHANISMS, *TRAINED, *DECOYS, "sham"]
    columns = [*MECHANISMS, "intact", "undetermined"]
    found = pd.crosstab(rows["kind"], rows["said"])
    found = found.reindex(index=[k for k in order if k in found.index], columns=columns)
    return found.fillna(0).astype(int)


def spread(rows: pd.DataFrame) -> pd.DataFrame:
    """Tenth, middle and ninetieth per cent of each share, per kind."""
    found = {}
    for kind in rows["kind"].unique():
        own = rows.loc[rows["kind"].eq(kind)]
        for name in ("r_subject", "r_mid", "r_out"):
            values = own[name].to_numpy(float)
            values = values[np.isfinite(values)]
            low, middle, high = np.percentile(values, [10, 50, 90]) if len(values) else [np.nan] * 3
            found.setdefault(kind, {})[name] = f"{low:6.2f} {middle:6.2f} {high:6.2f}"
    return pd.DataFrame(found).T


def scores(rows: pd.DataFrame) -> dict[str, float]:
    """Balanced accuracy, abstention and false claims, as shares; NaN where there is nothing."""
    planted = rows.loc[rows["kind"].isin(MECHANISMS)]
    trained = rows.loc[rows["kind"].isin(TRAINED)]
    decoys, shams = rows.loc[rows["kind"].isin(DECOYS)], rows.loc[rows["kind"].eq("sham")]

    def balanced(some: pd.DataFrame, merged: dict[str, str] | None = None) -> float:
        names = merged or {}
        truth, answer = (
            np.array([names.get(name, name) for name in some[column]], dtype=str)
            for column in ("planted", "said")
        )
        shares = [np.mean(answer[truth == name] == name) for name in np.unique(truth)]
        return float(np.mean(shares)) if shares else float("nan")

    def claimed(some: pd.DataFrame) -> float:
        return share(some, DAMAGE)

    def share(some: pd.DataFrame, names: Sequence[str]) -> float:
        return float(np.mean([name in names for name in some["said"]])) if len(some) else np.nan

    return {
        "balanced accuracy, planted": balanced(planted),
        "  with late_override and output_scaling as one class": balanced(
            planted, {"output_scaling": "late_override"}
        ),
        "balanced accuracy, trained": balanced(trained),
        "abstention, planted": share(planted, ["undetermined"]),
        "abstention, trained": share(trained, ["undetermined"]),
        "false claims, decoys": claimed(decoys),
        **{f"  {kind}": claimed(decoys.loc[decoys["kind"].eq(kind)]) for kind in DECOYS},
        "false claims, shams": claimed(shams),
        "false claims, decoys and shams": claimed(pd.concat([decoys, shams])),
    }


# ---- the command


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the plants that are scored")
    parser.add_argument("--number", type=int, default=20, help="plants of each kind")
    parser.add_argument("--controls", type=int, default=32, help="facts that fix layers and bands")
    parser.add_argument("--kinds", default=",".join((*MECHANISMS, *DECOYS, *TRAINED)))
    parser.add_argument("--even", action="store_true", help="plant in the half that fixes bands")
    parser.add_argument("--quick", action="store_true", help="1 plant of each kind, 24 people")
    parser.add_argument("--model", default="bios", help="one that knows the people of bios")
    parser.add_argument("--csv", help="write one row per cell")
    asked = parser.parse_args()
    started = time.perf_counter()
    clock: Callable[[], str] = lambda: f"[{time.perf_counter() - started:.0f} s]"  # noqa: E731
    model, facts = ri.load_model(asked.model), bios_facts()
    people = sorted({fact.entity for fact in facts})
    fixing = people[0::2]
    scored = fixing if asked.even else people[LOOKED_AT + 1 :: 2]
    if asked.quick:
        fixing, scored = fixing[:12], scored[:12]
        facts = facts.only(entities=[*fixing, *scored])
    watched = watch(model, facts)
    bench = Bench(watched, fixing)
    print(f"{clock()} last token reads the subject in layers {list(watched.reading)}", flush=True)
    known = [fact for fact in facts if fact.entity in fixing]
    chosen = random.Random(0).sample(known, 12 if asked.quick else asked.controls)
    controls = bench.controls(chosen)
    print(f"thresholds {DEFAULT.version}")
    held = retained(pd.DataFrame(controls), {row["fact_id"]: "untouched" for row in controls})
    for site in ("subject", "mid", "out"):
        print(f"  {site}: {getattr(held, site) or held.reason}", flush=True)
    # Any fact's own mid may be among them.
    layers = set(range(watched.reading[0] - 1, model.num_layers))
    layers |= set() if held.subject is None else {held.subject.layer}
    number, rng = 1 if asked.quick else asked.number, random.Random(asked.seed)
    rows = []
    for kind in asked.kinds.split(","):
        most = TRAINED_PLANTS if kind in TRAINED else DECOY_PLANTS if kind in DECOYS else number
        wanted = min(number, most)
        plants = make_plants(
            model, facts, kind=kind, seed=asked.seed, number=wanted, people=scored, watched=watched
        )
        print(f"{clock()} {kind}: {len(plants)} of {wanted} plants behave", flush=True)
        for cell in cells_of(bench, plants, rng):
            try:
                verdict, found = judge(bench, cell, controls, sorted(layers))
                rows.append(row_of(cell, verdict, found))
            except RestorError as error:
                print(f"  not measured: {cell.case.fact.fact_id}: {error}")
        if asked.csv and rows:
            pd.DataFrame(rows).to_csv(asked.csv, index=False)
    tell(pd.DataFrame(rows))
    print(f"{clock()}")


def tell(rows: pd.DataFrame) -> None:
    """Print everything that was found."""
    print(
        f"\n{len(rows)} cells, {rows['plant'].nunique()} plants\n\n{confusion(rows).to_string()}\n"
    )
    print(f"10, 50 and 90% of the shares\n{spread(rows).to_string()}\n")
    for name, value in scores(rows).items():
        print(f"{name:56} {'-' if np.isnan(value) else f'{100 * value:.0f}%'}")
    wrong = rows.loc[rows["said"].ne(rows["planted"])]
    why = ["kind", "said", "sites", "refuter"]
    print("\nother than what was planted, by what is said at subject, mid and out")
    print(wrong.groupby(why, dropna=False).size().to_string())


def row_of(cell: Cell, verdict: Verdict, found: Read) -> dict[str, Any]:
    own = found.readings
    return {
        "kind": cell.kind,
        "planted": cell.planted,
        "plant": cell.plant.name,
        "fact_id": cell.case.fact.fact_id,
        "about": cell.plant.about,
        "said": said(verdict),
        "mechanism": verdict.mechanism,
        "suspected": verdict.suspected,
        "refuter": verdict.refuter,
        "flags": " ".join(verdict.flags),
        "sites": " ".join(str(word) for word in verdict.said),
        "r_subject": own.r_subject,
        "r_mid": own.r_mid,
        "r_out": own.r_out,
        "untouched_r_out": own.untouched_r_out,
        "late_effect": own.late_effect,
        "late_control": own.late_control,
        "attention_effect": own.attention_effect,
        "attention_control": own.attention_control,
        "subject_effect": own.subject_effect,
        "subject_control": own.subject_control,
        "subject_whole": own.subject_whole,
        "reason": verdict.reason,
        **{f"seen_{name}": value for name, value in cell.plant.witnessed.numbers().items()},
    }


if __name__ == "__main__":
    main()
