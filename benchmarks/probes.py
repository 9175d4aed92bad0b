"""What do all probes of the gallery cost on a run of the demo's size, beside scikit-learn?

    python benchmarks/probes.py            # about two minutes on 2 cores
    python benchmarks/probes.py --quick    # few facts, layers and states: does it work?

Activations are made up: 135 facts about 17 entities in 9 states, 11 layers of width 576, two
positions; statements with true, false and random objects; the same questions about another
entity; a model with random weights. Every probe of `probes/` reads all of it, from disk, with all
its controls, one after the other in one process.

Beside it what they replace, done plainly with scikit-learn, on the same splits and strengths: a
cell (one layer, position and state) of the object read-out by `RidgeCV`, its strength chosen by
grouped cross-validation, with the same number of shuffled labels; and of statement truth by
`LogisticRegression`, chosen by `GridSearchCV`. Both are timed on a few cells and scaled to all.
Their accuracies stand beside ours on these cells.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import restor_interp as ri
from restor_interp.definitions import load_definitions
from restor_interp.facts import Entity, Fact, FactSet, Relation
from restor_interp.measure import probing
from restor_interp.models.activations import ActivationWriter, CapturedPrompt

BOUND = 60.0
"""Seconds that all probes may take on two cores."""

PROBES = Path(__file__).parents[1] / "probes"
FOLDS, PERMUTATIONS = 5, 10


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much there is to read."""

    entities: int
    relations: int
    facts: int
    layers: int
    states: int
    width: int
    cells: int
    """Cells that scikit-learn is timed on."""


DEMO = Size(entities=17, relations=8, facts=135, layers=11, states=9, width=576, cells=2)
QUICK = Size(entities=12, relations=3, facts=36, layers=2, states=2, width=32, cells=1)


# ---- a made-up run


def made_up_facts(size: Size) -> FactSet:
    rng = np.random.default_rng(0)
    pools = {
        f"type {r}": tuple(f"{r} object {n}" for n in range(40)) for r in range(size.relations)
    }
    names = [f"Entity {number}" for number in range(size.entities)]
    facts = [
        Fact(
            fact_id=f"{names[number % size.entities]}/P{number // size.entities}",
            entity=names[number % size.entities],
            relation=f"P{number // size.entities}",
            question="?",
            true_objects=(str(rng.choice(pools[f"type {number // size.entities}"])),),
            object_type=f"type {number // size.entities}",
        )
        for number in range(min(size.facts, size.entities * size.relations))
    ]
    return FactSet(
        name="made up",
        facts=tuple(facts),
        entities={n: Entity(name=n, kind=("person", "city")[i % 2]) for i, n in enumerate(names)},
        relations={
            f"P{r}": Relation(
                relation=f"P{r}", name=f"P{r}", question="{entity}?", object_type=f"type {r}"
            )
            for r in range(size.relations)
        },
        pools=pools,
    )


def captured(
    folder: Path,
    size: Size,
    facts: FactSet,
    seed: int,
    *,
    labels: Sequence[str] = ("",),
    positions: Sequence[str] = ("subject_last", "last"),
    code: np.ndarray | None = None,
) -> ri.Activations:
    """Noise of features of unlike size, and the true object's code at the last position."""
    role = {n: ("direct", "untouched")[i % 2] for i, n in enumerate(facts.entities)}
    prompts = [
        CapturedPrompt(
            fact_id=fact.fact_id,
            context_id=0,
            entity=fact.entity,
            relation=fact.relation,
            num_tokens=8,
            role=role[fact.entity],
            label=label,
        )
        for fact in facts
        for label in labels
    ]
    rng = np.random.default_rng(seed)
    spread = np.random.default_rng(1).lognormal(0, 1, size.width)
    true = {fact.fact_id: fact.true_objects[0] for fact in facts}
    named = sorted({name for pool in facts.pools.values() for name in pool})
    with ActivationWriter(
        folder,
        prompts=prompts,
        sites=("resid",),
        positions=positions,
        num_layers=size.layers - 1,
        num_heads=1,
        width=size.width,
    ) as out:
        for row, prompt in enumerate(prompts):
            x = rng.standard_normal((size.layers, len(positions), size.width))
            if code is not None:
                x[size.layers // 2 :, -1] += code[named.index(true[prompt.fact_id])]
            x[:, :, : size.width // 4] += (prompt.label == "true") * 0.5
            out.add(row, {"resid": x * spread})
    return ri.Activations.open(folder)


def made_up_run(root: Path, size: Size, facts: FactSet) -> ri.StateActivations:
    named = sorted({name for pool in facts.pools.values() for name in pool})
    rng = np.random.default_rng(2)
    vectors = {name: rng.standard_normal(size.width) for name in named}
    code = np.stack([vectors[name] for name in named]) / 2
    states = ["clean", "corrupted", *(f"method {number}" for number in range(size.states - 2))]

    def every_state(name: str, **how) -> ri.StateActivations:
        return ri.StateActivations(
            {
                state: captured(root / name / state, size, facts, 10 + number, **how)
                for number, state in enumerate(states)
            },
            controls={"random_weights": captured(root / name / "random", size, facts, 3, **how)}
            if "labels" in how
            else None,
        )

    own = every_state("questions", code=code)
    return ri.StateActivations(
        {state: own[state] for state in states},
        object_vectors=vectors,
        others={
            "statements": every_state(
                "statements", labels=("true", "false", "random"), positions=("last",)
            ),
            "wrong_entity": every_state("wrong"),
        },
        controls={"random_weights": captured(root / "random", size, facts, 4)},
    )


# ---- scikit-learn, plainly


def plain_read_out(activations: ri.StateActivations, facts: FactSet, layer: int) -> float:
    """The object read-out of one cell by `RidgeCV`, with its shuffled labels: its accuracy."""
    asked = probing.object_labels(activations, facts)
    x = activations["clean"].select(site="resid", layer=layer, position="last")[asked.rows]
    names = sorted(asked.vectors)
    targets = np.stack([asked.vectors[name] for name in names])
    targets = targets - targets.mean(axis=0)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    index = np.array([names.index(label) for label in asked.labels])
    own = [[names.index(name) for name in some] for some in asked.candidates]
    groups = np.unique(asked.entities, return_inverse=True)[1]
    alphas = np.array(probing.RIDGES) * x.shape[1]
    rng = np.random.default_rng(0)
    accuracy = 0.0
    for time_ in range(PERMUTATIONS + 1):
        labels = index if time_ == 0 else rng.permutation(index)
        right = np.zeros(len(x), dtype=bool)
        splits = GroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
        for train, test in splits.split(x, groups=groups):
            inner = list(GroupKFold(n_splits=3).split(x[train], groups=groups[train]))
            model = make_pipeline(StandardScaler(), RidgeCV(alphas=alphas, cv=inner))
            scores = model.fit(x[train], targets[labels[train]]).predict(x[test]) @ targets.T
            for row, one in zip(test, scores, strict=True):
                right[row] = max(own[row], key=lambda name: one[name]) == labels[row]
        accuracy = float(right.mean()) if time_ == 0 else accuracy
    return accuracy


def plain_truth(activations: ri.StateActivations, layer: int) -> float:
    """Truth of statements in one cell by `LogisticRegression`, with its shuffled labels."""
    one = activations.of("statements")["clean"]
    rows = [row for row, prompt in enumerate(one.prompts) if prompt.label in ("true", "random")]
    x = one.select(site="resid", layer=layer, position="last")[rows]
    labels = np.array([one.prompts[row].label for row in rows])
    groups = np.unique([one.prompts[row].entity for row in rows], return_inverse=True)[1]
    grid = {"logisticregression__C": [1 / (s * x.shape[1]) for s in probing.LOGISTIC_RIDGES]}
    rng = np.random.default_rng(0)
    accuracy = 0.0
    for time_ in range(5 + 1):
        said = labels if time_ == 0 else rng.permutation(labels)
        right = np.zeros(len(x), dtype=bool)
        splits = GroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
        for train, test in splits.split(x, groups=groups):
            inner = list(GroupKFold(n_splits=3).split(x[train], groups=groups[train]))
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            search = GridSearchCV(model, grid, cv=inner).fit(x[train], said[train])
            right[test] = search.predict(x[test]) == said[test]
        accuracy = float(right.mean()) if time_ == 0 else accuracy
    return accuracy


def own_value(rows: Sequence[dict], metric: str, layer: int) -> float:
    """What our probe says of the clean state at the last position."""
    wanted = {"metric": metric, "layer": layer, "state": "clean", "position": "last"}
    found = [row for row in rows if wanted.items() <= row.items() and row["fitted_on"] == "clean"]
    return found[0]["value"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few facts, layers and states")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else DEMO
    facts = made_up_facts(size)
    cells = size.layers * 2 * size.states
    print(
        f"{size.layers} layers × 2 positions × {size.states} states × {len(facts)} facts, width "
        f"{size.width}; {os.cpu_count()} cores, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        activations = made_up_run(Path(folder), size, facts)
        total = 0.0
        rows = {}
        for definition in load_definitions(PROBES):
            started, busy = time.perf_counter(), time.process_time()
            result = definition.run(activations, facts, **every_layer(definition.parameters))
            took, busy = time.perf_counter() - started, time.process_time() - busy
            rows[definition.name] = result.rows
            unmeasured = sum(row["value"] is None for row in result.rows)
            total += took
            print(
                f"  {definition.name:20} {took:7.1f} s  ({busy:.1f} s of processor time)  "
                f"{len(result.rows):6} rows, {unmeasured} without a value",
                flush=True,
            )
        print(f"  {'all probes':20} {total:7.1f} s  (bound: {BOUND:.0f} s on 2 cores)")

        layers = [size.layers - 1 - number for number in range(size.cells)]
        for name, plain, metric, number in (
            (
                "object_readout, RidgeCV",
                lambda layer: plain_read_out(activations, facts, layer),
                ("object_readout", "accuracy"),
                cells,
            ),
            (
                "statement_truth, logistic",
                lambda layer: plain_truth(activations, layer),
                ("statement_truth", "accuracy of logistic"),
                cells // 2,  # one position
            ),
        ):
            started, busy = time.perf_counter(), time.process_time()
            theirs = [plain(layer) for layer in layers]
            scale = number / len(layers)
            took = (time.perf_counter() - started) * scale
            busy = (time.process_time() - busy) * scale
            ours = [own_value(rows[metric[0]], metric[1], layer) for layer in layers]
            print(
                f"  {name:26} {took:7.1f} s  ({busy:.1f} s of processor time), scaled from "
                f"{len(layers)} of {number} cells; accuracy {np.mean(theirs):.3f}, ours "
                f"{np.mean(ours):.3f}",
                flush=True,
            )


def every_layer(parameters) -> dict:
    return {"layers": 1} if "layers" in parameters else {}


if __name__ == "__main__":
    main()
