"""Which values, put from one state into another, bring the fact back, or take it away?

Cross-model activation patching (Prakash et al. 2024, "Fine-tuning enhances existing mechanisms",
between states of one model; within one model Vig et al. 2020 and Meng et al. 2022). Forth: the
clean model's value at one layer is put into an unlearned state. Back: the state's value is put into
the clean model. Values are the residual stream at one token (`resid`), at all tokens of the subject
at once (`subject`: does the state lack what the subject carries?), and attention output of `window`
neighbouring layers at the last token (`attn`: does it lack what attention brings there?). A score
is the log-odds of the true against the false object; `effect` is the share of the gap between the
two states, blank where that is below 1 nat.

The null: the same values from a donor that is asked about another entity. What they bring as well
is no knowledge of this one (rows with `null` = "wrong_entity", on the scale of the real ones).

What would falsify a reading of it: a null that brings as much; a map that is the same for the
method's sham; values of late layers at the last token alone, which only say that the answer is
different there. A value that restores says what is missing, not where it was taken away.
"""

import restor_interp as ri


@ri.analysis
def cross_state_patching(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    substitute,
    donor="clean",
    kinds=("resid", "subject", "attn"),
    window=3,
    back=True,
    null=True,
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    other = None
    if null and substitute and prompt.subject_span:
        start, end = prompt.subject_span
        other = prompt.text[:start] + substitute + prompt.text[end:]
    for state in states:
        if model.resolve_state(state) == model.resolve_state(donor):
            continue  # a state has nothing to give to itself
        for giver, host in [(donor, state), (state, donor)][: 1 + back]:
            for kind in kinds:
                asked = {"donor": giver, "host": host, "kind": kind, "window": window}
                if kind == "attn":
                    asked["positions"] = ["last"]
                grid = ri.patch_states(model, prompt, true, false, **asked)
                rows += grid.rows(fact_id=fact.fact_id)
                name = f"{fact.fact_id}/{prompt.context_id}/{giver}/{host}/{kind}"
                tensors[name] = grid.scores
                if other is not None:
                    wrong = ri.patch_states(model, prompt, true, false, donor_prompt=other, **asked)
                    rows += wrong.rows(fact_id=fact.fact_id, null_of=grid)
                    tensors[f"{name}/wrong_entity"] = wrong.scores
    return ri.AnalysisResult(table="patches", rows=rows, tensors=tensors)
