"""From which layer on can the true object be read, and is it still there after unlearning?

A linear map from an activation to the unembedding row of the true object's first token, fitted by
ridge regression. On entities that it has not seen it must rank the true object among candidates
of its type: one map for all relations, and it can name objects that it was never fitted on.
Fitted on the clean state and read in all states, it asks whether the object is still encoded as
it was there; fitted on each state, whether it is encoded in any linear way.

Controls: labels shuffled within their relation (what the frequencies of answers alone give); the
embedding of the subject's last token (what its spelling gives away); chance among candidates.

What would falsify a reading of it: clean values no higher than the controls; a method whose sham
reads as well. That something can be read does not mean that the model uses it.
"""

import random
from collections.abc import Mapping

import numpy as np

import restor_interp as ri


@ri.probe
def object_readout(
    activations: ri.StateActivations,
    facts: ri.FactSet,
    *,
    site="resid",
    layers=3,
    positions=("subject_last", "last"),
    candidates=20,
    folds=5,
    permutations=10,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers."""
    base = "clean" if "clean" in activations else activations.states[0]
    prompts = activations[base].prompts
    pools = {
        fact.fact_id: _candidates(fact, facts, activations, candidates, seed) for fact in facts
    }
    kept = [row for row, prompt in enumerate(prompts) if len(pools.get(prompt.fact_id, ())) > 1]
    asked = [facts[prompts[row].fact_id] for row in kept]

    def read(state, site, layer, position):
        """Activations of the prompts that can be asked about, or why there are none."""
        if activations[state].prompts != prompts:
            return f"other prompts were captured than of {base}"
        found = activations[state].select(site=site, layer=layer, position=position)[kept]
        return found if np.isfinite(found).all() else "activations are not finite"

    def fit(x, others: Mapping[str, np.ndarray]):
        """A probe, or why there is none."""
        if isinstance(x, str):
            return x
        try:
            return ri.fit_probe(
                x,
                [fact.true_objects[0] for fact in asked],
                entities=[fact.entity for fact in asked],
                vectors={name: activations.object_vectors[name] for name in named},
                candidates=[pools[fact.fact_id] for fact in asked],
                strata=[fact.relation for fact in asked],
                units=[fact.fact_id for fact in asked],
                transfer=others,
                folds=folds,
                permutations=permutations,
                seed=seed,
            )
        except ValueError as problem:  # too few entities, a single label, …
            return str(problem)

    named = sorted({name for fact in asked for name in pools[fact.fact_id]})
    embedding = fit(read(base, "resid", 0, "subject_last"), {})
    rows = []
    for layer in _chosen(activations[base].layers(site), layers):
        for position in positions:
            place = {"layer": layer, "position": position, "metric": "accuracy", "n": len(kept)}
            found = {state: read(state, site, layer, position) for state in activations}
            measured = {state: x for state, x in found.items() if not isinstance(x, str)}
            of_base = fit(found[base], measured)
            for state, x in found.items():
                own = of_base if state == base else fit(x, {})
                of_clean = x if isinstance(x, str) else of_base
                for fitted_on, probe in ((base, of_clean), ("each state", own)):
                    fixed = place | {"state": state, "fitted_on": fitted_on}
                    rows += _rows(fixed, probe, embedding, transferred=fitted_on == base)
    return ri.ProbeResult(rows=rows)


def _candidates(fact, facts, activations, number, seed):
    """The true object first, then others of its type that begin with another token."""
    vectors = activations.object_vectors
    true = fact.true_objects[0]
    if true not in vectors:
        return []
    accepted = set(facts.accepted(fact))
    others = [
        name
        for name in facts.pools[fact.object_type]
        if name not in accepted
        and name in vectors
        and not np.array_equal(vectors[name], vectors[true])
    ]
    draw = random.Random(f"{seed}/{fact.fact_id}")
    return [true, *draw.sample(others, min(len(others), number - 1))]


def _chosen(available, layers):
    if not isinstance(layers, int):
        return list(layers)
    return sorted({*available[::layers], available[-1]})


def _rows(fixed, probe, embedding, *, transferred):
    """A row per control; a value that could not be measured with the reason."""
    if isinstance(probe, str):
        return [fixed | {"value": None, "control": "", "control_value": None, "reason": probe}]
    score = probe.transfer[fixed["state"]] if transferred else probe.score
    fixed = fixed | {"value": score.accuracy, "reciprocal_rank": score.reciprocal_rank}
    fixed |= {"chance": probe.chance, "reason": None}
    controls = {"labels shuffled": np.mean([one.accuracy for one in probe.shuffled])}
    if not isinstance(embedding, str):
        controls["subject embedding only"] = embedding.score.accuracy
    return [
        fixed | {"control": name, "control_value": float(value)} for name, value in controls.items()
    ]
