"""At which depth does a state hold the true object, once each layer is read in its own terms?

Tuned lens (Belrose et al. 2023, Eliciting latent predictions from transformers with the tuned
lens): the residual stream after every layer is carried to the end by an affine map, then read
through the final norm and unembedding. The maps were fitted in the clean model, on neutral text,
and stay the same for every state. Where the true object leads in middle layers and the false one at
the end, the fact was overridden late; where it never leads, it is not to be found this way. With
decoder="clean" the reading end is the clean model's too.

What would falsify a reading of it: the logit lens shows the same (then the map adds nothing); the
clean model's own curve does not rise before its last layers; the same prompt about another entity
shows the true object as well, so that the map brings it in, and not the state. A map fitted in
the clean model can misread a state that says the same in other terms: an absence is weak evidence.
"""

from typing import Literal

import restor_interp as ri


@ri.analysis
def tuned_lens(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    tuned_lens=None,
    positions=("last", "subject_last"),
    decoder: Literal["own", "clean"] = "own",
    top=5,
) -> ri.AnalysisResult:
    found = ri.tuned_lens(
        model,
        prompt,
        [true, false],
        states=states,
        lens=tuned_lens,
        positions=positions,
        decoder=decoder,
        top=top,
    )
    own = {"fact_id": fact.fact_id}
    return ri.AnalysisResult(
        table="lens",
        rows=[row | own for row in found.rows()],
        further={"lens_top": [row | own for row in found.top_rows()]},
        tensors={f"{fact.fact_id}/{prompt.context_id}/logprob": found.logprobs},
    )
