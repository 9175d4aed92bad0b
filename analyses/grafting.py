"""Which layers' weights, put back, bring the fact back?

Grafting: one layer after another of an unlearned state gets its weights from the clean model, and
the answer is read. Panigrahi et al. 2023, "Task-specific skill localization in fine-tuned language
models", graft few fine-tuned parameters into the pretrained model and find that they carry the
skill; here one fact takes the skill's place. A score is the log-odds of the true against the false
object; `effect` is the share of the gap between the two states that a layer closes, blank where
the gap is below 1 nat.

Beside every layer stands its control, random modules of other layers whose weights move by the
same norm. What several late layers did no single one of them undoes: with `late`, all layers from
one on are put back at once, against what lies before them. The best single layers are judged again
where they were not chosen, on other contexts of the fact and on other facts, as far as the run
offers them.

What would falsify a reading of it: random modules of equal norm that bring as much; layers that
bring this prompt's answer and not that of another context; layers that bring other facts just as
much, which speaks of general damage and not of this fact; a sham whose curve is the same. Where
weights bring an answer is not where it is best edited (Hase et al. 2023, "Does localization inform
editing?").
"""

import restor_interp as ri


@ri.analysis
def grafting(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    donor="clean",
    by="layer",
    controls=1,
    judged_layers=1,
    late=True,
    greedy_limit=0,
    share=0.8,
    seed=1,
    other_contexts=(),
    other_facts=(),
) -> ri.AnalysisResult:
    rows, tensors = [], {}
    questions = [
        (prompt, true, false, "fact"),
        *((other, true, false, "other_context") for other in other_contexts),
        *((*other, "other_facts") for other in other_facts),
    ]
    prompts, trues, falses, judged_on = zip(*questions, strict=True)
    for state in states:
        if model.resolve_state(state) == model.resolve_state(donor):
            continue  # nothing to graft
        asked = {"donor": donor, "host": state, "seed": seed}
        grafts = ri.graft(model, [prompt], [true], [false], by=by, controls=controls, **asked)
        rows += grafts.rows(fact_id=fact.fact_id)
        tensors[f"{fact.fact_id}/{prompt.context_id}/{donor}/{state}/{by}"] = grafts.scores
        if late:
            deep = ri.graft(model, [prompt], [true], [false], by="late", controls=controls, **asked)
            rows += deep.rows(fact_id=fact.fact_id)
        best = grafts.best(judged_layers)
        if best:
            judged = ri.graft(model, prompts, trues, falses, by=best, judged_on=judged_on, **asked)
            rows += judged.rows(fact_id=fact.fact_id)
        if greedy_limit:
            asked |= {"judged_on": judged_on, "share": share, "limit": greedy_limit}
            smallest = ri.smallest_graft(model, prompts, trues, falses, **asked)
            rows += smallest.rows(fact_id=fact.fact_id)
    return ri.AnalysisResult(table="grafts", rows=rows, tensors=tensors)
