"""Which values of the clean model, put into another state, would bring the fact back: a screen.

Attribution patching (Nanda 2023; Syed et al. 2023, Attribution patching outperforms automated
circuit discovery; Kramár et al. 2024, AtP): the effect of patching a donor's value into the host,
at every token and layer, is estimated by (donor value − host value) · the gradient of the log-odds
of the true against the false object at the host's value. All places cost one backward pass.
With `steps` the gradient is averaged on the way from host to donor, a layer at a time
(integrated gradients, as in Marks et al. 2024, Sparse feature circuits).

What would falsify a reading of it is in the table: a sample of the cells is patched exactly, and
`rank_correlation` (Spearman) says how far the order of the estimates is that of the effects. Where
it is low, or the largest estimates are not among the largest effects, use the exact grid
(`cross_state_patching`). A state has nothing to receive from itself: there are no rows for it.
"""

import restor_interp as ri


@ri.analysis
def attribution(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    donor="clean",
    kinds=("resid", "mlp", "attn"),
    steps=0,
    sample=64,
    seed=1,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    for state in states:
        if state == donor:
            continue
        for kind in kinds:
            found = ri.attribute_patches(
                model,
                prompt,
                true,
                false,
                donor=donor,
                host=state,
                kind=kind,
                steps=steps,
                metric="logodds",
                sample=sample,
                seed=seed,
            )
            rows += found.rows(fact_id=fact.fact_id)
            tensors[f"{fact.fact_id}/{prompt.context_id}/{donor}/{state}/{kind}"] = found.approx
    return ri.AnalysisResult(table="attributions", rows=rows, tensors=tensors)
