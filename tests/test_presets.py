"""Configurations: whole, frozen, and clear about what they do not know.

Run: python -m pytest tests/test_presets.py
"""

import pytest
import yaml

from restor_interp.errors import ConfigError
from restor_interp.presets import PRESETS, RunConfig, read_config, resolve, setting_names, validated


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
        ("demo", "sede=1", "there is no setting 'sede'. Did you mean seed"),
        ("demo", "data.kk=1", "there is no setting 'data.kk'. Did you mean data.k"),
        ("demo", "seed.x=1", "there is no setting 'seed.x'"),
        ("demo", "data.k=9", "data.k: Input should be less than or equal to 5, found 9"),
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
