"""Where is a fact stored? One fact traced, with what it takes to believe the map.

python trace_a_fact.py                  the calibration model, some seconds
python trace_a_fact.py smollm2-135m     the embedded model and the Eiffel Tower
"""

import sys

import numpy as np

import restor_interp as ri


def ask(name):
    """For a model: a prompt, its true object, a false one, and a name for the subject's place."""
    if name == "smollm2-135m":
        text = "They say that the Eiffel Tower is located in the city of"
        start = text.index("Eiffel Tower")
        span = (start, start + len("Eiffel Tower"))
        prompt = ri.Prompt(prefix="", question=text, subject="Eiffel Tower", subject_span=span)
        return prompt, "Paris", "London", "Empire State"
    facts = ri.load_facts("bios")
    fact = facts["Alba Delmonte/pet"]
    other = next(
        one for one in facts if one.relation == "pet" and one.true_objects != fact.true_objects
    )
    prompt = ri.build_prompt(facts, fact, avoid_entities=frozenset({other.entity}))
    return prompt, fact.true_objects[0], other.true_objects[0], other.entity


def by_token(trace, tokens=None):
    """Per token: the largest share of the lost answer that one restored state brings back."""
    for position in range(trace.subject[0], len(trace.tokens)):
        shares = trace.effects[position]
        layer = int(np.nanargmax(shares))
        print(f"  {trace.tokens[position]!r:14} {shares[layer]:5.2f}   layer {layer}")


model = ri.load_model(sys.argv[1] if len(sys.argv) > 1 else "bios")
prompt, true, false, other = ask(model.name)
answer, *_ = ri.generate_answers(model, [prompt])
print(f"{prompt.question} -> {answer} (true: {true}, false: {false})")

# 1. Noise on the subject takes the answer away; which value, put back alone, returns it?
trace = ri.trace(model, prompt, true, foil=false, metric="logodds")
print(f"\n1. log-odds {trace.high:.1f}, with noise on the subject {trace.low:.1f}")
by_token(trace)

# 2. The same with another name instead of noise: no value in the run is an unusual one.
swapped = ri.trace(model, prompt, true, foil=false, metric="logodds", substitute=other)
print(f"\n2. log-odds {swapped.high:.1f}, asked about {other} {swapped.low:.1f}")
by_token(swapped)

# 3. Which component writes it? Windows of three layers of MLPs and of attention.
print("\n3. largest share of a window of three layers")
for kind in ("mlp", "attn"):
    window = ri.trace(
        model, prompt, true, foil=false, metric="logodds", kind=kind, window=3, substitute=other
    )
    position, layer = np.unravel_index(np.nanargmax(window.effects), window.effects.shape)
    print(
        f"  {kind:4} {window.effects[position, layer]:5.2f}   {window.tokens[position]!r}, "
        f"around layer {layer}"
    )

# 4. Does the last token need to look at the subject, or at anything as much?
cut = ri.knock_out(model, prompt, true, false, edges=["subject->last"])
for cutting, effects in zip(cut.cuttings, cut.effects, strict=True):
    what = "as many other tokens" if cutting.control else "the subject"
    layer = int(np.argmin(effects))
    print(
        f"{'4.' if not cutting.control else '  '} without {what}: {effects[layer]:+.1f} nats"
        f" around layer {layer}"
    )

# 5. A map of nothing: a fact that this name does not have.
absent = ri.trace(model, prompt, false, foil=true, metric="logodds", substitute=other)
blank = bool(np.isnan(absent.effects).all())
print(f"\n5. of the false object: total effect {absent.total_effect:+.1f} nats, map blank: {blank}")
