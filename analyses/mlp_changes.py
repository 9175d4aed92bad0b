"""Did a state change which memories its MLPs open, or what is written in them?

An MLP writes a sum of value vectors, each times a coefficient (Geva et al. 2021, Transformer
feed-forward layers are key-value memories). `direct` rows split what a state's MLPs write otherwise
than the clean model's, layer by layer, into changed coefficients, changed vectors and their
interaction, in log-odds of the true against the false object; the parts sum to `total` exactly.
`swap` rows test it in the model: with the clean model's coefficients, or its vectors, put into a
window of layers of the state, does the true object come back (Hong et al. 2024, Dissecting
fine-tuning unlearning in large language models)? Coefficients also change because earlier layers
did; only the swap of all layers' vectors says what the vectors alone are worth.

What would falsify "suppressed by its coefficients": coefficients of the clean model asked about
another entity (`wrong_coefficients`) bring back as much; clean vectors bring back as much; clean
coefficients in every layer do not. The clean model is not compared with itself: no rows for it.
"""

import restor_interp as ri


@ri.analysis
def mlp_changes(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    substitute=None,
    window=None,
) -> ri.AnalysisResult:
    rows = []
    for state in states:
        if state == "clean":
            continue
        changes = ri.mlp_changes(model, prompt, true, false, state=state)
        swaps = ri.swap_mlps(
            model, prompt, true, false, state=state, wrong_entity=substitute, window=window
        )
        rows += changes.rows(fact_id=fact.fact_id) + swaps.rows(fact_id=fact.fact_id)
    return ri.AnalysisResult(table="mlp_changes", rows=rows)
