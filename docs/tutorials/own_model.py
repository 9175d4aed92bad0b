"""Your own model and your own data: corrupted, unlearned, explained.

python own_model.py [FOLDER]     a minute; the run is in FOLDER/run (default: runs/own)
"""

import csv
import logging
import sys
from pathlib import Path

import restor_interp as ri
from restor_interp.fact_files import write_jsonl

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own").resolve()
folder.mkdir(parents=True, exist_ok=True)
logging.getLogger("restor_interp").setLevel(logging.WARNING)


def stand_ins():
    """A model in a plain folder and a table of facts that it knows: put yours in their place."""
    bios = ri.load_model("bios")
    bios.hf_model.save_pretrained(folder / "model")
    bios.tokenizer.save_pretrained(folder / "model")
    with (folder / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["person", "attribute", "asked", "value"])
        for fact in ri.load_facts("bios"):
            table.writerow([fact.entity, fact.relation, fact.question, fact.true_objects[0]])


# 1. A table becomes facts: its columns are named, what is wrong in it is told line by line.
stand_ins()
facts = ri.load_columns(
    folder / "people.csv",
    {
        "entity": "person",
        "relation": "attribute",
        "question": "asked",
        "true": "value",
        "kind": lambda row: "person",
    },
)
write_jsonl(facts, folder / "facts.jsonl")
people = list(dict.fromkeys(fact.entity for fact in facts))
print(f"1. {len(facts)} facts about {len(people)} people, {len(facts.relations)} relations")

# 2. Does the model know them? What it does not know, it cannot lose.
model = ri.load_model(folder / "model")
asked = [fact for fact in facts if fact.entity in people[:9]]
prompts = [ri.build_prompt(facts, fact) for fact in asked]
said = ri.generate_answers(model, prompts, max_new_tokens=8)
right = sum(answer in facts.accepted(fact) for fact, answer in zip(asked, said, strict=True))
print(f"2. {model.name} answers {right} of {len(asked)} questions about the first nine")

# 3. A run: three people are corrupted, three left alone, three belong to the sham.
run = ri.run(
    "bios",
    out=folder / "run",
    overrides=[
        f"model={folder / 'model'}",
        f"data.facts={folder / 'facts.jsonl'}",
        f"data.corrupted={people[0:3]}",
        f"data.untouched={people[3:6]}",
        f"data.sham={people[6:9]}",
        "data.documents_per_entity=6",
        "data.question_share=1",
        "questions.contexts=2",
        "questions.candidates=8",
        "corruption.epochs=4",
        "unlearning.steps=6",
        "methods={npo: {method: npo}, retain_only: {method: retain_only}}",
        "explanation.analyses=[causal_trace]",
        "explanation.surveys=[]",
        "explanation.probes=[]",
        "explanation.probe_controls=false",
        "explanation.traced_facts=1",
        "explanation.traced_states=[clean, corrupted, npo]",
    ],
)

# 4. Facts that had a falsehood planted: what became of them, beside the controls.
print("4. facts with a planted falsehood that the clean model knew, by what became of them")
table, roles = run.table("fates"), run.table("facts").set_index("fact_id")["role"]
direct = table[table["fact_id"].map(roles).eq("direct")]
for state in ("corrupted", "npo", "sham_npo", "retain_only", "rollback_0.5"):
    counts = direct[direct["state"].eq(state)]["fate"].value_counts()
    told = ", ".join(f"{number} {fate}" for fate, number in sorted(counts.items()))
    print(f"  {state:13} {told}")
