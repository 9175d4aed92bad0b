"""At which depth does the true object overtake the false one, in every state?

Logit lens (nostalgebraist 2020): the residual stream after each layer is read through the final
norm and the unembedding, as if the model stopped there; layer 0 is the embeddings, the last layer
is the model's own answer. Both objects are read at the first token at which they differ. Beside
them stand the `top` tokens that a layer would say first (table `lens_top`); of facts that other
analyses trace, at every token from the subject on.

What would falsify a reading of it: middle layers of the clean model are often not in the basis of
the unembedding, so a low log-probability there does not say that the fact is absent (a tuned lens
or a probe may find it); a late fall of the true object counts as an override only if it is absent
from the clean state and from the method's sham.
"""

import restor_interp as ri


@ri.analysis
def logit_lens(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    traced=False,
    positions=("last",),
    top=5,
) -> ri.AnalysisResult:
    lens = ri.logit_lens(
        model,
        prompt,
        [true, false],
        states=states,
        positions=positions,
        top=top,
        from_subject=traced and top > 0,
    )
    own = {"fact_id": fact.fact_id}
    return ri.AnalysisResult(
        table="lens",
        rows=[row | own for row in lens.rows()],
        further={"lens_top": [row | own for row in lens.top_rows()]},
        tensors={f"{fact.fact_id}/{prompt.context_id}/logprob": lens.logprobs},
    )
