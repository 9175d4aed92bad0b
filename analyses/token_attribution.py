"""Which words of the question does a state still listen to?

unPact (arXiv 2509.24675) reports that unlearned models have lost their focus on the keywords of a
question. `value` is what log-odds of true against false lose (nats) when a token is replaced by a
neutral word: exactly (`occlusion`), to first order (`gradient`), and along the straight way from
the neutral words to the question (`integrated`, Sundararajan et al. 2017). Compare the tokens of
the subject between states.

What would falsify a reading of it: estimates that rank tokens unlike occlusion does
(`rank_correlation`), integrated contributions that do not sum to the whole effect
(`completeness_error`), another neutral word that gives another order, and a sham that listens as
little. A token can matter by its place alone: that the subject's tokens matter does not say that
the state knows whom they name.
"""

from typing import Literal

import restor_interp as ri


@ri.analysis
def token_attribution(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    kinds=("gradient", "integrated", "occlusion"),
    steps=16,
    sample=32,
    replacement="the",
    scope: Literal["question", "all"] = "question",
    seed=1,
) -> ri.AnalysisResult:
    found = ri.attribute_tokens(
        model,
        prompt,
        true,
        false,
        states=states,
        kinds=kinds,
        steps=steps,
        sample=sample,
        replacement=replacement,
        scope=scope,
        seed=seed,
    )
    rows = [row | {"context_id": prompt.context_id} for row in found.rows(fact_id=fact.fact_id)]
    return ri.AnalysisResult(table="token_attributions", rows=rows)
