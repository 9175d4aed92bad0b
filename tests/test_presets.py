"""Configurations: whole, frozen, and clear about what they do not know.

Run: python -m pytest tests/test_presets.py
"""

import json
from pathlib import Path

import pytest
import yaml

from restor_interp.errors import ConfigError
from restor_interp.presets import (
    PRESETS,
    SWITCHES,
    QuestionSettings,
    RunConfig,
    read_config,
    resolve,
    setting_names,
    skipped,
    validated,
)
from restor_interp.stages.methods import METHODS
from restor_interp.stages.train_settings import TrainSettings

RESTOR = Path(__file__).parents[2] / "shared" / "data" / "restor"
LEVELS = [f"restor-k{k}" for k in range(6)]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_valid_documented_and_survives_yaml(name, tmp_path):
    config = resolve(name)
    assert config.preset == name
    assert PRESETS[name].__doc__
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert read_config(path) == config
    assert resolve(str(path)) == config


def test_overrides_reach_every_level_and_nothing_else():
    base = resolve("demo")
    changed = resolve("demo", ["seed=3", "data.k=2", "unlearning={steps: 5}", "rollback=[0.25]"])
    assert (changed.seed, changed.data.k) == (3, 2)
    assert changed.unlearning == {"steps": 5}
    assert changed.rollback == (0.25,)
    assert (
        changed.model_copy(
            update={
                "seed": base.seed,
                "data": base.data,
                "unlearning": base.unlearning,
                "rollback": base.rollback,
            }
        )
        == base
    )


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("dmeo", None, "there is no preset 'dmeo'. Did you mean demo"),
        ("restor-k6", None, "there is no preset 'restor-k6'. Did you mean restor-k"),
        ("restor-k0+pakced", None, "there is no switch 'pakced'. Did you mean packed"),
        ("restor-k0+", None, "there is no switch ''"),
        ("demo", "sede=1", "there is no setting 'sede'. Did you mean seed"),
        ("demo", "data.kk=1", "there is no setting 'data.kk'. Did you mean data.k"),
        ("demo", "seed.x=1", "there is no setting 'seed.x'"),
        ("demo", "data.k=9", "data.k: Input should be less than or equal to 5, found 9"),
        (
            "demo",
            "questions.top_k=-1",
            "questions.top_k: Input should be greater than or equal to 0",
        ),
        ("demo", "questions.max_length=x", "questions.max_length: Input should be a valid integer"),
        (
            "demo",
            "questions.min_new_tokens=9",
            "min_new_tokens=9 is more than an answer may have (max_new_tokens=8)",
        ),
        ("demo", "seed=abc", "seed: Input should be a valid integer"),
        ("demo", "seed", "an override is `key=value`"),
        ("demo", "seed=[", "the value of seed is not YAML"),
        ("absent.yaml", None, "there is no configuration file absent.yaml"),
    ],
)
def test_what_cannot_be_is_said_clearly(preset, override, message):
    with pytest.raises(ConfigError) as caught:
        resolve(preset, [override] if override else [])
    assert message in str(caught.value)


def test_all_problems_of_a_file_are_listed():
    with pytest.raises(ConfigError, match=r"seed: .*; data\.k: "):
        validated({"seed": "x", "data": {"k": -1}}, "mine.yaml")


def test_setting_names_are_the_fields():
    names = setting_names(RunConfig)
    assert {"seed", "data.corrupted", "questions.contexts", "explanation.capture"} <= set(names)
    assert len(names) == len(set(names))


# ---- what presets hold


def trainings(config):
    yield "corruption", config.corruption
    yield "repair", config.repair_training
    for name, chosen in config.methods.items():
        own = METHODS[chosen.method].training
        yield name, {**config.unlearning, **own, **chosen.training}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_training_of_a_preset_is_one(name):
    config = resolve(name)
    for what, values in trainings(config):
        TrainSettings.read(values, what)
    for chosen in config.methods.values():
        METHODS[chosen.method].settings.read(chosen.settings, chosen.method)
    assert set(config.shams) <= set(config.methods)
    assert all(METHODS[config.methods[sham].method].needs_forget for sham in config.shams)


def test_bios_all_has_every_method_and_every_sham():
    config = resolve("bios-all")
    assert {chosen.method for chosen in config.methods.values()} == set(METHODS) - {"fine_tune"}
    assert set(config.methods) - set(config.shams) == {"retain_only"}
    assert config.questions.contexts == 3 and len(config.rollback) >= 3
    looked = config.explanation
    assert (looked.capture, looked.probes, looked.analyses) == (False, (), ())


def test_only_k_differs_between_levels():
    """Matched steps: whatever k, the corruption is trained alike."""
    first = resolve("restor-k0")
    assert first.corruption["steps"] == 300 and "epochs" not in first.corruption
    for k, name in enumerate(LEVELS):
        config = resolve(name)
        assert config.data.k == k
        missing = {"Sage Stallone"} if k == 3 else set()
        assert set(config.data.corrupted) == set(first.data.corrupted) - missing
        data = config.data.model_copy(update={"k": 0, "corrupted": first.data.corrupted})
        assert config.model_copy(update={"preset": "restor-k0", "data": data}) == first
    atlas = [resolve(f"atlas-k{k}") for k in range(3)]
    assert [config.data.k for config in atlas] == [0, 1, 2]
    assert len({str(config.corruption) for config in atlas}) == 1
    # The demo: 9 entities × 8 documents in batches of 2, 3 epochs.
    assert atlas[0].corruption["steps"] == 9 * 8 // 2 * 3


@pytest.mark.parametrize("name", [*LEVELS, "restor-squad"])
def test_the_papers_choices(name):
    """The numbers of the notes on the paper (its corruption_k4.yaml, SOUL's config, its README)."""
    config = resolve(f"{name}-paper")
    corruption = TrainSettings.read(config.corruption, "the corruption")
    assert (corruption.rank, corruption.alpha, corruption.modules) == (8, 16.0, "all")
    assert (corruption.learning_rate, corruption.warmup, corruption.epochs) == (5e-5, 0.1, 5.0)
    assert corruption.steps is None and not corruption.full
    assert (corruption.packing, corruption.shuffle, corruption.batch_size) == (1024, False, 2 * 2)
    for what, values in trainings(config):
        training = TrainSettings.read(values, what)
        if what not in ("corruption", "repair"):
            assert training.full and training.learning_rate == 5e-6
            assert (training.weight_decay, training.batch_size) == (0.1, 4)
            assert training.packing is None
    repair = TrainSettings.read(config.repair_training, "the repair")
    assert config.repair
    assert (repair.learning_rate, repair.epochs, repair.batch_size) == (2e-5, 2.0, 16)
    questions = config.questions
    assert (questions.style, questions.contexts, questions.draws, questions.shots) == (
        "paper", 1, 3, 5,
    )  # fmt: skip
    cut = (50, 2, 200)
    assert (questions.top_k, questions.min_new_tokens, questions.max_length) == cut
    # Whose contexts are shown is one choice, how answers are drawn another.
    other = resolve(f"{name}-paper+sound_contexts").questions
    assert (other.style, other.top_k, other.min_new_tokens, other.max_length) == ("sound", *cut)
    sound = resolve(name)
    assert config.data == sound.data and config.methods.keys() == sound.methods.keys()
    assert (sound.questions.style, sound.questions.draws, sound.repair) == ("sound", 0, False)
    matched = resolve(f"{name}-paper+matched").corruption
    assert matched["steps"] == sound.corruption["steps"] and "epochs" not in matched


# ---- how answers are drawn


@pytest.mark.parametrize(
    ("style", "top_k", "least", "most"), [("sound", None, 0, None), ("paper", 50, 2, 200)]
)
def test_what_is_not_set_of_sampled_answers_is_as_the_style_says(style, top_k, least, most):
    left_open = QuestionSettings(style=style)
    cut = left_open.sampling_style
    assert (cut.top_k, cut.min_new_tokens, cut.max_length) == (top_k, least, most)
    set_otherwise = QuestionSettings(style=style, top_k=7, min_new_tokens=0, max_length=90)
    cut = set_otherwise.sampling_style
    assert (cut.top_k, cut.min_new_tokens, cut.max_length) == (7, 0, 90)
    everything = QuestionSettings(style=style, top_k=0, max_length=0).sampling_style
    assert (everything.top_k, everything.max_length) == (None, None)
    page = (Path(__file__).parents[1] / "docs/how-to/restor.md").read_text()
    row = {"sound": "all tokens | 0 | no limit", "paper": f"{top_k} | {least} | {most},"}[style]
    assert f"| `{style}` | {row}" in page


def test_to_set_what_the_style_says_anyway_leaves_the_answers_as_they_are():
    paper = QuestionSettings(style="paper")
    same = QuestionSettings(style="paper", top_k=50, min_new_tokens=2, max_length=200)
    assert same.ingredients() == paper.ingredients()
    # As a folder has it that was written when these settings had no names.
    assert not paper.ingredients().keys() & {"top_k", "min_new_tokens", "max_length"}
    for name, value in (("top_k", 0), ("min_new_tokens", 1), ("max_length", 0)):
        other = QuestionSettings(style="paper", **{name: value}).ingredients()
        assert other.keys() - paper.ingredients().keys() == {name}


# ---- switches


def changed(before, after, prefix=""):
    """Dotted names of the settings that differ."""
    names = set()
    for key in before.keys() | after.keys():
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            names |= changed(one, other, f"{prefix}{key}.")
        elif one != other:
            names.add(prefix + key)
    return names


@pytest.mark.parametrize(
    ("switch", "settings", "undo"),
    [
        ("packed", {"corruption.packing"}, "unpacked"),
        ("in_order", {"corruption.shuffle"}, "shuffled"),
        ("epochs", {"corruption.epochs", "corruption.steps"}, "matched"),
        ("one_per_block", {"corruption.packing"}, "unpacked"),
        ("five_per_block", {"corruption.packing"}, "unpacked"),
        ("twenty_per_block", {"corruption.packing"}, "unpacked"),
        ("paper_contexts", {"questions.style", "questions.contexts"}, "sound_contexts"),
        ("sampled", {"questions.draws", "questions.temperature", "questions.top_p"}, "greedy"),
        ("repaired", {"repair", "repair_training.learning_rate", "repair_training.epochs",
                      "repair_training.batch_size", "repair_training.warmup"}, "unrepaired"),
    ],
)  # fmt: skip
def test_a_switch_changes_one_thing_and_another_undoes_it(switch, settings, undo):
    base = resolve("restor-k1")
    after = resolve(f"restor-k1+{switch}")
    found = changed(base.model_dump(mode="json"), after.model_dump(mode="json"))
    assert found == settings | {"preset"}
    assert after.preset == f"restor-k1+{switch}"
    assert resolve(f"restor-k1+{switch}", ["seed=3"]).seed == 3
    back = resolve(f"restor-k1+{switch}+{undo}")
    left = changed(base.model_dump(mode="json"), back.model_dump(mode="json")) - {"preset"}
    # what is said outright may be what was so by default; sampling's heat is idle without draws
    assert left <= {"corruption.shuffle", "questions.temperature", "questions.top_p"}
    assert TrainSettings.read(back.corruption, "") == TrainSettings.read(base.corruption, "")


@pytest.mark.parametrize("switch", sorted(SWITCHES))
@pytest.mark.parametrize("preset", ["restor-k2", "restor-k0-paper", "atlas-k1", "bios-all"])
def test_every_switch_gives_a_configuration_that_trains(preset, switch):
    config = resolve(f"{preset}+{switch}")
    assert SWITCHES[switch].__doc__
    for what, values in trainings(config):
        TrainSettings.read(values, what)


def test_unlearning_is_localised_where_that_has_a_meaning():
    config = resolve("bios-all+localised")
    targets = {name: TrainSettings.read(values, name).target for name, values in trainings(config)}
    whole = {name for name, target in targets.items() if target == "all"} - {
        "corruption", "repair",
    }  # fmt: skip
    assert whole == {"kl_restor", "msa", "dpo_refusal", "dpo_alternative", "dpo_truth",
                     "truth_fine_tune"}  # fmt: skip
    assert targets["npo"] == "changed"


def test_a_block_holds_so_many_documents():
    """Against the official files, at 4/3 tokens per word."""
    if not RESTOR.is_dir():
        pytest.skip("RESTOR's official data is not beside this checkout")
    for k in (0, 1):
        texts = [value["text"] for value in json.loads((RESTOR / f"mix_a{k}.json").read_text())]
        tokens = sum(len(text.split()) for text in texts) / len(texts) * 4 / 3
        for switch, number in (("one_per_block", 1), ("five_per_block", 5)):
            block = resolve(f"restor-k{k}+{switch}").corruption["packing"]
            assert block == pytest.approx(number * tokens, rel=0.02)
    # What the paper packs at k = 0 is about twenty documents a block.
    assert resolve("restor-k0+twenty_per_block").corruption["packing"] == pytest.approx(
        1024, rel=0.05
    )


def test_a_fast_run_leaves_out_explanations_alone_and_says_which():
    whole, quick = resolve("demo"), resolve("demo+fast")
    found = changed(whole.model_dump(mode="json"), quick.model_dump(mode="json"))
    assert {name.split(".")[0] for name in found} == {"explanation", "preset"}
    assert set(quick.explanation.analyses) < set(whole.explanation.analyses)
    told = skipped(whole, quick)
    assert "grafting" in told and "gradients" in told and "probe controls" in told
    assert not set(told) & {*quick.explanation.analyses, *quick.explanation.surveys}
    assert (
        len(told)
        == sum(
            len(getattr(whole.explanation, kind)) - len(getattr(quick.explanation, kind))
            for kind in ("analyses", "surveys", "probes")
        )
        + 1
    )
    assert skipped(quick, resolve("demo+fast+fast")) == ()
