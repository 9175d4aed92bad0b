"""Are the memories that write the true object, or the false one, still what they were?

ConceptVectors (Hong et al. 2024, Intrinsic evaluation of unlearning using parametric knowledge
traces): single value vectors of MLPs whose most promoted words hold a concept. Here, those of the
clean model that promote an object's token most are compared with what stands in their place in the
state: cosine, relative distance, and the shared part of the words that they promote (Jaccard). The
paper finds that unlearning hardly touches them. `concept` says whether the object is among these
words at all: where it is false, the row shows the nearest vectors, and not a concept.

What would falsify "this memory was rewritten": random vectors of the same layers (`kind` random)
moved as much, or the untouched facts' vectors did. A vector that promotes a token need not be where
this fact is kept: `mlp_changes` asks whether the fact depends on it.
"""

import restor_interp as ri


@ri.analysis
def value_vectors(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    number=8,
    top_k=200,
    seed=1,
) -> ri.AnalysisResult:
    rows = []
    for state in states:
        found = ri.compare_value_vectors(
            model, prompt, true, false, state=state, number=number, top_k=top_k, seed=seed
        )
        rows += found.rows(fact_id=fact.fact_id)
    return ri.AnalysisResult(table="value_vectors", rows=rows)
