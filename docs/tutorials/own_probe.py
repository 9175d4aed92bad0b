"""A probe of your own: what can be read from a run's states, and would anything be read as well?

python own_probe.py RUN     the folder of a run on the calibration model (runs/bios, runs/own/run)
"""

import sys
import tempfile
from pathlib import Path

import restor_interp as ri

run = ri.open_run(sys.argv[1] if len(sys.argv) > 1 else "runs/bios")
model, facts = run.model(), ri.load_facts("bios")
states, layers = ("clean", "corrupted", "npo"), [0, 6, 9, 10, 11, 12]

# 1. One question about every person, in the same five-shot form, and where its subject stands.
asked = [fact for fact in facts if fact.relation == "pet"]
prompts = [ri.build_prompt(facts, fact) for fact in asked]
print(f"1. {len(prompts)} questions such as: {prompts[0].question}")

# 2. Their activations in three states, streamed to disk.
folder = Path(tempfile.mkdtemp())
activations = ri.StateActivations(
    {
        state: ri.capture(
            model,
            prompts,
            folder / state,
            state=state,
            facts=facts,
            sites=["resid"],
            positions=["last"],
            layers=layers,
        )
        for state in states
    }
)
kept = activations["clean"]
print(f"2. {len(kept)} prompts kept per state, layers {list(kept.layers('resid'))}")

# 3. The probe is a file of its own, so that a run can be given it as well.
(probe,) = ri.load_definitions(Path(__file__).with_name("pet_readout.py"))
rows = probe.run(activations, facts, layers=layers).rows
print(f"3. {probe.name}: accuracy on people it was not fitted on, chance {rows[0]['chance']:.2f}")
print(f"   {'layer':>5} {'shuffled':>9} " + " ".join(f"{state:>10}" for state in states))
for layer in layers:
    own = {row["state"]: row for row in rows if row["layer"] == layer}
    values = " ".join(f"{own[state]['value']:10.2f}" for state in states)
    print(f"   {layer:5} {own['clean']['control_value']:9.2f} {values}")
