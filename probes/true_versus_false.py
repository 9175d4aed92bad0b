"""On which side of the line between truth and falsehood does an unlearned state stand?

The same questions about corrupted entities are read in the clean state (which holds the true
object) and in the corrupted one (which holds the false one). A direction that separates the two
on entities that it has not seen is fitted in three ways: difference of means, Fisher's
discriminant, logistic regression. Every state's activations are then read with it: the share of
facts on the true side is 1 where the state looks as clean does, 0 where it looks as corrupted.

Controls: labels exchanged within each fact, with a permutation p, for the accuracy of the
direction itself; for the share, the same share of facts about untouched entities, read with the
same direction. They hold no falsehood in any state: where they cross the line as well, the
direction tells one state from another, and not a falsehood from the truth. Layer 0 at the
subject's last token is the embedding: nothing should be read there, unless it was trained.

What would falsify a reading of it: an accuracy no better than that of exchanged labels; untouched
facts that follow the corrupted ones; a sham that comes back as far. Difference of means as a
direction of truth: Marks and Tegmark 2023; here it separates two states of one model.
"""

import numpy as np

import restor_interp as ri

FITTED_ON = "clean and corrupted"


@ri.probe
def true_versus_false(
    activations: ri.StateActivations,
    facts: ri.FactSet,
    *,
    site="resid",
    layers=3,
    positions=("subject_last", "last"),
    kinds=("mean_difference", "lda", "logistic"),
    folds=5,
    permutations=5,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers."""
    prompts = activations[activations.states[0]].prompts
    places = {
        role: [row for row, prompt in enumerate(prompts) if prompt.role == role]
        for role in ("direct", "untouched")
    }
    direct = [prompts[row] for row in places["direct"]]
    n = len(direct)

    def fit(kind):
        return lambda split, others: ri.fit_direction(
            split,
            ["true"] * n + ["false"] * n,
            kind=kind,
            strata=[f"{prompt.fact_id}/{prompt.context_id}" for prompt in direct] * 2,
            transfer=others,
            permutations=permutations,
            seed=seed,
        )

    rows = []
    for layer in ri.chosen_layers(activations[activations.states[0]].layers(site), layers):
        for position in positions:
            where = {"layer": layer, "position": position}
            fixed = {**where, "fitted_on": FITTED_ON, "n": n}
            read, untouched = (
                ri.read_states(activations, rows=places[role], site=site, **where)
                for role in ("direct", "untouched")
            )

            sides = [read.get(state, f"no state {state}") for state in ("clean", "corrupted")]
            reasons = [side for side in sides if isinstance(side, str)]
            for kind in kinds:
                found = ri.fit_or_reason(
                    fit(kind),
                    reasons[0] if reasons else np.concatenate(sides),
                    # Each state twice, once for either label: the first half asks for "true".
                    {s: np.tile(x, (2, 1)) for s, x in read.items() if not isinstance(x, str)},
                    entities=[prompt.entity for prompt in direct] * 2,
                    folds=folds,
                    seed=seed,
                )
                rows += _rows(fixed, kind, found, read, untouched)
    return ri.ProbeResult(rows=rows)


def _rows(fixed, kind, probe, read, untouched):
    """The accuracy of the direction, and each state's share on the true side."""
    of_kind = fixed | {"state": "corrupted", "metric": f"accuracy of {kind}"}
    if isinstance(probe, str):
        return ri.control_rows(of_kind, probe)
    shuffled = {"labels shuffled": float(np.mean([one.accuracy for one in probe.shuffled]))}
    of_kind |= {"chance": probe.chance, "p": probe.p_value}
    rows = ri.control_rows(of_kind, probe.score.accuracy, shuffled)
    for state, x in read.items():
        about = fixed | {"state": state, "metric": f"on the true side by {kind}", "chance": 0.5}
        value, beside = x, untouched[state]
        if not isinstance(x, str):
            value = float(np.mean(probe.transfer[state].ranks[: len(x)] == 1))
        if not isinstance(beside, str):
            said = probe.predict(beside)
            beside = said.count("true") / len(said) if said else "no untouched facts"
        rows += ri.control_rows(about, value, {"untouched facts": beside})
    return rows
