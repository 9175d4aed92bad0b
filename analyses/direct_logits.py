"""Which heads and MLPs write the true object into the last position, and which the false one?

Direct logit attribution (Elhage et al. 2021, A mathematical framework for transformer circuits;
nostalgebraist 2020 for the view of the stream as a sum): with the norms' scales held, the logit of
the true minus that of the false object is a sum over the embeddings, every head, every MLP and the
biases. The parts sum to the model's own difference (`total`), which is checked.

A method that restored a fact should leave the parts as they are in the clean state; one that
covers a falsehood may leave parts that still write it and add others against them.

What would falsify a reading of it: the same parts differ as much for untouched facts, or between
two contexts of this fact; the method's sham changes the same parts. Large parts may cancel, and a
part that writes nothing here may decide everything by way of later layers: this is what is written
last, not why.
"""

import restor_interp as ri


@ri.analysis
def direct_logits(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    for state in states:
        with model.at(state):
            found = ri.direct_logits(model, prompt, true, false)
        rows += found.rows(fact_id=fact.fact_id, state=state)
        tensors[f"{fact.fact_id}/{prompt.context_id}/{state}/heads"] = found.heads
        tensors[f"{fact.fact_id}/{prompt.context_id}/{state}/mlps"] = found.mlps
    return ri.AnalysisResult(table="contributions", rows=rows, tensors=tensors)
