"""From which layer on does the last token hold the pet that is asked for?

A linear read-out of the activation, scored on people it was not fitted on: with shuffled labels
(what the frequencies of answers give), and on the same question about another person (what the
question gives). Falsified if a control reads as much. That it can be read does not mean that the
model uses it.
"""

import restor_interp as ri


@ri.probe
def pet_readout(
    activations: ri.StateActivations, facts: ri.FactSet, *, layers=(0, 6, 9, 10, 11, 12)
):
    clean = activations["clean"]
    prompts = clean.rows(relations=["pet"])
    labels = [facts[prompt.fact_id].true_objects[0] for prompt in prompts]
    rows = []
    for layer in layers:
        read = {
            state: activations[state].select(
                site="resid", layer=layer, position="last", relations=["pet"]
            )
            for state in activations
        }
        fitted = ri.fit_probe(
            read["clean"],
            labels,
            entities=[prompt.entity for prompt in prompts],
            transfer=read,
            permutations=5,
        )
        shuffled = [score.accuracy for score in fitted.shuffled]
        rows += [
            {
                "state": state,
                "fitted_on": "clean",
                "layer": layer,
                "position": "last",
                "metric": "accuracy",
                "value": score.accuracy,
                "control": "labels shuffled",
                "control_value": sum(shuffled) / len(shuffled),
                "n": len(prompts),
                "chance": fitted.chance,
            }
            for state, score in fitted.transfer.items()
        ]
    return ri.ProbeResult(rows=rows)
