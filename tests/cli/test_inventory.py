"""What `restor-interp list` shows of methods, attacks, presets and their switches.

Run: python -m pytest tests/cli/test_inventory.py
"""

import subprocess
import sys

import pytest
import yaml

from restor_interp.cli.inventory import KINDS, inventory
from restor_interp.presets import PRESETS, resolve
from restor_interp.stages.attacks import ATTACKS
from restor_interp.stages.methods import METHODS


def test_every_method_says_its_kind_its_needs_and_how_it_is_tuned():
    rows = {row["name"]: row for row in inventory("methods")}
    assert rows.keys() == METHODS.keys()
    kinds = {
        kind: {name for name, row in rows.items() if row["kind"] == kind}
        for kind in ("ceiling", "control", "corruption")
    }
    assert kinds == {
        "ceiling": {"truth_fine_tune", "dpo_truth"},
        "control": {"retain_only"},
        "corruption": {"fine_tune"},
    }
    needs = {name: row["what"].partition("; needs ")[2] for name, row in rows.items()}
    assert needs["ga"] == "nothing else"
    assert needs["msa"] == "the clean model"
    assert needs["npo"] == "the start state's logprobs, retain text"
    assert needs["dpo_refusal"] == (
        "the refusal for each document, the start state's logprobs, retain text"
    )
    assert all(row["tuning"] and row["source"] for row in rows.values())


def test_settings_are_written_as_an_override_would_be():
    for kind, things in (("methods", METHODS), ("attacks", ATTACKS)):
        for row in inventory(kind):
            read = yaml.safe_load("{" + row["settings"].replace("=", ": ") + "}")
            settings = things[row["name"]].settings
            assert settings.read(read or {}, row["name"]) == settings()


def test_attacks_are_listed_beside_methods():
    assert {"methods", "attacks"} <= set(KINDS)
    rows = {row["name"]: row for row in inventory("attacks")}
    assert rows.keys() == ATTACKS.keys()
    assert "Needs the false documents." in rows["relearn_false"]["what"]


def test_a_preset_with_any_listed_switch_is_a_configuration():
    assert {"presets", "switches"} <= set(KINDS)
    plain = resolve("restor-k0")
    changed = {
        row["name"]: resolve(f"restor-k0{row['name']}") != plain for row in inventory("switches")
    }
    # Those that are the sound run's own choice, and change the paper's.
    own = {name for name, has in changed.items() if not has}
    assert "+packed" in changed and len(changed) > len(own)
    paper = resolve("restor-k0-paper")
    assert all(resolve(f"restor-k0-paper{name}") != paper for name in own)


def test_what_is_told_of_a_preset_or_a_switch_is_whole_sentences():
    for kind in ("presets", "switches"):
        rows = inventory(kind)
        assert all(row["what"].endswith((".", ")")) and "\n" not in row["what"] for row in rows)
    assert [row["name"] for row in inventory("presets")] == list(PRESETS)


@pytest.mark.parametrize("kind", ["presets", "switches", "facts"])
def test_what_needs_no_torch_is_told_at_once(kind):
    program = (
        "import sys; from restor_interp.cli.inventory import inventory; "
        f"assert inventory({kind!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
