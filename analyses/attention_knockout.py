"""Which tokens must the last one see, and in which layers, for the fact to be recalled?

Attention knockout (Geva et al. 2023, Dissecting recall of factual associations in auto-regressive
language models, §4): the attention edges from the subject's tokens, and from the question's other
tokens, to the last one are taken out in a window of layers around each layer. `effect` is the
change of the log-odds of the true against the false object; below 0, the answer needed the edge
there. In a model that recalls a fact, relation and then subject are needed, in middle layers; in
an unlearned state that no longer reads the subject, taking its edges out should change little.

What would falsify a reading of it: the control (as many other tokens, drawn at random) costs as
much; the curve moves with another context or another width of the window; the untouched facts of
the same state change as much. Two tokens are cut off, not two pieces of knowledge: an edge may be
needed for the form of the answer, and a cut in one window may be bridged by another.
"""

import restor_interp as ri


@ri.analysis
def attention_knockout(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    edges=("subject->last", "relation->last"),
    window=None,
    seed=1,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    for state in states:
        with model.at(state):
            found = ri.knock_out(
                model, prompt, true, false, edges=edges, window=window, metric="logodds", seed=seed
            )
        rows += found.rows(fact_id=fact.fact_id, state=state)
        tensors[f"{fact.fact_id}/{prompt.context_id}/{state}/logprobs"] = found.cut_logprobs
    return ri.AnalysisResult(table="knockouts", rows=rows, tensors=tensors)
