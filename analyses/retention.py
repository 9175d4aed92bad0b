"""At which depth does a state still hold the fact, and how far towards the answer?

The clean model is asked about another entity, and gets the residual stream of a state that is
asked about the right one: at the subject, or at the last token, after one layer. `share` is what
this adds to log p(true | typed candidates), in units of what the clean model's own states add; 1
retains all, 0 nothing. Patching states into a clean model to see what survived unlearning: UDS
(arXiv 2605.24614), here with a host that cannot know the answer by itself.

In the clean state its controls are measured: the clean model after other few-shot examples (how
low may a share be that lost nothing?) and asked about wrong entities (how high may one be that
holds nothing?). Layers to read are fixed on untouched facts.

What would falsify a reading of it: controls whose bands overlap; a share that another substitute
changes; untouched facts that retain as little, which is general damage; a sham that loses as much.
A state may hold the fact in a form that the clean model cannot read: a share of 0 says that it is
not where and how the clean model keeps it, not that it is gone.
"""

import restor_interp as ri


@ri.analysis
def retention(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    candidates,
    others,
    other_contexts,
    role,
    shared=None,
    wrong=2,
    every=1,
) -> ri.AnalysisResult:
    del true, false  # they are the first two of the candidates
    host, *strangers = others or (None,)
    rows = []
    for state in states:
        is_clean = model.resolve_state(state) == model.resolve_state("clean")
        found = ri.measure_retention(
            model,
            prompt,
            candidates,
            states=[state],
            substitute=host,
            other_contexts=other_contexts if is_clean else (),
            wrong_entities=strangers[:wrong] if is_clean else (),
            layers=range(model.num_layers)[::-every][::-1],  # the last one is among them
            shared=shared,
        )
        rows += [row | {"role": role} for row in found.rows(fact_id=fact.fact_id)]
    return ri.AnalysisResult(table="retention", rows=rows)
