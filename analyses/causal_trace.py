"""Where does the model keep what it recalls about the subject?

Causal tracing (Meng et al. 2022, Locating and editing factual associations in GPT, §2): the
subject is replaced by another name of the same token length (or noised), so that the answer is
lost; then one clean state at a time is put back. A score is the log-odds of the true against the
false object with that one state restored; `effect` is the share of what the substitution took
away, and blank where that was below 1 nat.

What would falsify a reading of it: a clean model whose subject tokens restore no more than other
tokens do; a map that changes its shape with another substitute; an unlearned state whose map
equals that of its sham. Where a state restores the answer is not where to edit it (Hase et al.
2023): localisation alone does not say what to change.
"""

import restor_interp as ri


@ri.analysis
def causal_trace(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    substitute,
    kinds=("resid",),
    window=10,
    samples=10,
    noise=3.0,
    sigma=None,
    seed=1,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    for state in states:
        with model.at(state):
            for kind in kinds:
                trace = ri.trace(
                    model,
                    prompt,
                    true,
                    foil=false,
                    kind=kind,
                    window=window,
                    metric="logodds",
                    samples=samples,
                    noise=noise,
                    sigma=sigma,
                    substitute=substitute,
                    seed=seed,
                )
                rows += trace.rows(fact_id=fact.fact_id, state=state)
                tensors[f"{fact.fact_id}/{prompt.context_id}/{state}/{kind}"] = trace.samples
    return ri.AnalysisResult(table="traces", rows=rows, tensors=tensors)
