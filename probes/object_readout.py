"""From which layer on can the true object be read, and is it still there after unlearning?

A linear map from an activation to the unembedding row of the true object's first token, fitted by
ridge regression. On entities that it has not seen it must rank the true object among candidates
of its type: one map for all relations, and it can name objects that it was never fitted on.
Fitted on the clean state and read in all states, it asks whether the object is still encoded as
it was there; fitted on each state, whether it is encoded in any linear way. Where every answer of
a relation is common enough, a classifier of the answers stands beside it (logistic regression).

Controls: labels shuffled within their relation (what the frequencies of answers alone give, with
a permutation p); the commonest answer of the relation; the embedding of the subject's last token
(what its spelling gives away); a model with random weights; the same question about another
entity; chance among candidates.

What would falsify a reading of it: clean values no higher than the controls; a method whose sham
reads as well. That something can be read does not mean that the model uses it. The read-out onto
unembedding rows is that of the logit lens with a fitted map (Belrose et al. 2023); entity splits
and shuffled labels: Hewitt and Liang 2019.
"""

from collections import Counter

from sklearn.linear_model import LogisticRegression

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
    least=10,
    folds=5,
    permutations=10,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers. `least`: examples that
    each answer of a relation has, for its facts to be read by a classifier."""
    asked = ri.object_labels(activations, facts, candidates=candidates, seed=seed)

    def read_out(split, others):
        return ri.fit_probe(
            split,
            asked.labels,
            vectors=asked.vectors,
            candidates=asked.candidates,
            strata=asked.relations,
            units=asked.fact_ids,
            transfer=others,
            permutations=permutations,
            seed=seed,
        )

    where = {"site": site, "layers": layers, "positions": positions, "folds": folds, "seed": seed}
    rows = ri.survey_states(activations, {"accuracy": read_out}, rows=asked.rows, **where)
    common = _common(asked, least)
    if not common:
        return ri.ProbeResult(rows=rows)

    def classify(split, others):
        return ri.fit_probe(
            split,
            [asked.labels[place] for place in common],
            strata=[asked.relations[place] for place in common],
            units=[asked.fact_ids[place] for place in common],
            transfer=others,
            estimator=LogisticRegression(C=0.01, max_iter=1000),
            permutations=min(permutations, 3),
            seed=seed,
        )

    fits = {"accuracy of a classifier": classify}
    rows += ri.survey_states(activations, fits, rows=asked.rows[common], **where)
    return ri.ProbeResult(rows=rows)


def _common(asked, least):
    """Places of the questions of relations in which every answer has so many examples."""
    times = Counter(zip(asked.relations, asked.labels, strict=True))
    fewest, answers = {}, Counter(relation for relation, _ in times)
    for (relation, _), number in times.items():
        fewest[relation] = min(number, fewest.get(relation, number))
    return [
        place
        for place, relation in enumerate(asked.relations)
        if fewest[relation] >= least and answers[relation] > 1
    ]
