"""Is the subject's own vector, taken from a state, enough to name the object?

Patchscopes (Ghandeharioun et al. 2024): the residual stream at the subject's last token is put in
the place of a placeholder ("… born in x?") in another run, and what that run says is read:
log-probabilities of the true and the false object. With the clean model as host (`host="clean"`)
the reading half is sound, and the vector is on trial; with the state as its own host
(`host="self"`), whether the state can still read what it wrote. `into` puts the vectors of all
layers in at an early layer as well, so that the host can work on what was written late.

A value far above `control_value` (other entities' vectors from the same state) says that this one
vector carries the object. A value at the control says little: the object may lie in the subject's
other tokens, or the host may not look there; where the clean model's own row shows nothing, nothing
can be said of other states. What would falsify a reading of it: the control is as high; another
placeholder or another context gives another order of the states.
"""

import restor_interp as ri


@ri.analysis
def subject_description(
    model: ri.HookedModel,
    prompt: ri.Prompt,
    fact: ri.Fact,
    *,
    states,
    true,
    false,
    others=(),
    hosts=("clean", "self"),
    into=("same", 1),
    controls=2,
    placeholder="x",
) -> ri.AnalysisResult:
    rows = []
    for state in states:
        for host in dict.fromkeys(state if name == "self" else name for name in hosts):
            found = ri.describe_subject(
                model,
                prompt,
                true,
                false,
                state=state,
                host=host,
                wrong_entities=others[:controls],
                into=into,
                placeholder=placeholder,
            )
            rows += found.rows(fact_id=fact.fact_id)
    return ri.AnalysisResult(table="descriptions", rows=rows)
