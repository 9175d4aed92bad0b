"""Does the activation still say what was asked: which relation, about which kind of entity?

Two classifiers by ridge regression on the same decomposition: the relation of the question, and
the kind of its entity (person, city, …). Unlearning that breaks the reading of the question
itself, and not the fact, shows here: the corrupted and the unlearned states should be read as well
as the clean one. It is the floor under every other probe: an object that is lost where its
relation is lost as well says nothing about knowledge.

Controls: labels shuffled between entities; the commonest label; the embedding of the subject's last
token; a model with random weights, which passes the words of the question on and may well be
read, at the last token above all; the same question about another entity, for which the relation
holds and the kind mostly too.

What would falsify a reading of it: at the subject's last token, values no higher than those of
the embedding; at the last token, values no higher than those of random weights. The probe is a
linear classifier as in Alain and Bengio 2016, split by entity.
"""

import restor_interp as ri


@ri.probe
def relation(
    activations: ri.StateActivations,
    facts: ri.FactSet,
    *,
    site="resid",
    layers=3,
    positions=("subject_last", "last"),
    folds=5,
    permutations=5,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers."""
    base = "clean" if "clean" in activations else activations.states[0]
    prompts = activations[base].prompts
    rows = [row for row, prompt in enumerate(prompts) if prompt.entity in facts.entities]
    asked = [prompts[row] for row in rows]
    labels = {
        "relation accuracy": [prompt.relation for prompt in asked],
        "kind accuracy": [facts.entities[prompt.entity].kind for prompt in asked],
    }

    def fit(metric):
        return lambda split, others: ri.fit_probe(
            split,
            labels[metric],
            # An entity has one kind, and is shuffled as a whole.
            units=[p.entity for p in asked] if metric == "kind accuracy" else None,
            transfer=others,
            permutations=permutations,
            seed=seed,
        )

    return ri.ProbeResult(
        rows=ri.survey_states(
            activations,
            {metric: fit(metric) for metric in labels},
            rows=rows,
            site=site,
            layers=layers,
            positions=positions,
            folds=folds,
            seed=seed,
        )
    )
