"""Does the last token still look at the subject, and with which heads?

A model recalls a fact when the last token attends to the subject's tokens (Geva et al. 2023,
Dissecting recall of factual associations in auto-regressive language models). `value` is the share
of a head's attention that goes to the subject, in every layer; `control_value` what the subject of
the prompt's last example gets, or somebody else in the subject's place. Heads that look in the
clean model and no longer in a state are a broken route.

What would falsify a reading of it: the control fell as much (then attention changed in general);
heads that stopped looking carried nothing (`attention_knockout` in the clean model). Attention
kept says nothing about what is fetched, and much of it goes to wherever a name stands.
"""

import restor_interp as ri


@ri.analysis
def subject_attention(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    substitute=None,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    for state in states:
        with model.at(state):
            found = ri.subject_attention(model, prompt, true, false, substitute=substitute)
        rows += found.rows(fact_id=fact.fact_id, state=state)
        tensors[f"{fact.fact_id}/{prompt.context_id}/{state}/attention"] = found.weights
    return ri.AnalysisResult(table="attention", rows=rows, tensors=tensors)
