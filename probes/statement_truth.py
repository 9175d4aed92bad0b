"""Does the model hold a statement to be true, and planted falsehoods as well?

Statements of facts ("Paris is the capital of France.") with the true object, with a false one and
with a random one. In the clean state a direction is fitted that separates true statements from
random ones, by difference of means, Fisher's discriminant and logistic regression, and scored on
entities that it has not seen; then every state is read with it. The question for unlearning:
of the falsehoods that corruption planted, how many stand on the side of the truth? A method that
restores brings them back to the level of falsehoods that nobody planted.

Controls: labels shuffled within a relation; a model with random weights; for planted falsehoods,
the same share of falsehoods about untouched entities. Split by template and not by entity, the
shuffled labels are a control task (Hewitt and Liang 2019): a random truth value per statement,
which can only be memorised; what the probe reads beyond it is its selectivity.

What would falsify a reading of it: an accuracy no higher than the controls'; a direction that
reads the frequency of words (a random object is as frequent as a true one, being of its type);
untouched falsehoods that rise as planted ones do. Directions of truth: Marks and Tegmark 2023;
of implanted facts: arXiv 2510.17941.
"""

import numpy as np

import restor_interp as ri


@ri.probe
def statement_truth(
    activations: ri.StateActivations,
    facts: ri.FactSet,
    *,
    site="resid",
    layers=3,
    kinds=("lda", "mean_difference", "logistic"),
    folds=5,
    permutations=5,
    seed=0,
) -> ri.ProbeResult:
    """`layers`: every so many of them and the last, or a list of layers. The first of the kinds
    also reads planted falsehoods, and statements in templates that it has not seen."""
    base = "clean" if "clean" in activations else activations.states[0]
    nothing = {"state": base, "fitted_on": base, "layer": None, "position": "last", "n": 0}
    try:
        statements = activations.of("statements")
    except ValueError as problem:  # not captured
        return ri.ProbeResult(rows=ri.control_rows(nothing | {"metric": "accuracy"}, str(problem)))
    prompts = statements[base].prompts
    asked = [row for row, prompt in enumerate(prompts) if prompt.label in ("true", "random")]
    chosen = [prompts[row] for row in asked]

    def fit(kind, units=None):
        return lambda split, others: ri.fit_direction(
            split,
            [prompt.label for prompt in chosen],
            kind=kind,
            strata=[prompt.relation for prompt in chosen],
            units=units,
            transfer=others,
            permutations=permutations,
            seed=seed,
        )

    where = {"rows": asked, "site": site, "layers": layers, "folds": folds, "seed": seed}
    where["positions"] = statements[base].positions
    fits = {f"accuracy of {kind}": fit(kind) for kind in kinds}
    rows = ri.survey_states(
        statements,
        fits,
        controls=("labels shuffled", "random weights"),
        only_base=["accuracy of logistic"],
        **where,
    )
    templates = [str(prompt.context_id) for prompt in chosen]
    where["folds"] = min(folds, max(len(set(templates)), 2))
    stated = [f"{prompt.fact_id}/{prompt.label}" for prompt in chosen]
    in_other_words = {"accuracy in other templates": fit(kinds[0], stated)}
    found = ri.survey_states(
        statements,
        in_other_words,
        controls=("labels shuffled",),
        only_base=list(in_other_words),
        split_by=templates,
        **where,
    )
    rows += [row | {"control": row["control"] and "control task"} for row in found]
    where["folds"] = folds
    return ri.ProbeResult(rows=rows + _planted(statements, base, fit(kinds[0]), chosen, **where))


def _planted(statements, base, fit, chosen, *, rows, site, layers, positions, folds, seed):
    """The share of planted falsehoods on the true side, by fits that have not seen their entity."""
    prompts = statements[base].prompts
    place = {(p.fact_id, p.context_id, p.label): row for row, p in enumerate(prompts)}
    # In the place of each random statement the false one of the same fact and template.
    false = [place.get((p.fact_id, p.context_id, "false"), -1) for p in chosen]
    usable = np.array([p.label == "random" for p in chosen]) & (np.array(false) >= 0)
    partner = np.where(usable, false, rows)
    of_role = {r: usable & [p.role == r for p in chosen] for r in ("direct", "untouched")}
    entities, table = [prompt.entity for prompt in chosen], []
    for layer in ri.chosen_layers(statements[base].layers(site), layers):
        for position in positions:
            at = {"layer": layer, "position": position}
            own = ri.read_states(statements, rows=rows, site=site, **at)
            read = ri.read_states(statements, rows=partner, site=site, **at)
            good = {state: x for state, x in read.items() if not isinstance(x, str)}
            probe = ri.fit_or_reason(
                fit, own[base], good, entities=entities, folds=folds, seed=seed
            )
            for state, x in read.items():
                fixed = at | {"state": state, "fitted_on": base, "n": int(of_role["direct"].sum())}
                fixed |= {"metric": "planted falsehoods taken for true"}
                if isinstance(probe, str) or isinstance(x, str):
                    problem = str(probe if isinstance(probe, str) else x)
                    table += ri.control_rows(fixed, problem)
                    continue
                taken = probe.transfer[state].ranks != 1
                shares = {
                    role: float(np.mean(taken[marked])) if marked.any() else f"no {role} facts"
                    for role, marked in of_role.items()
                }
                control = {"falsehoods about untouched": shares["untouched"]}
                table += ri.control_rows(fixed, shares["direct"], control)
    return table
