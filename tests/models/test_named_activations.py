"""Named axes, several states side by side, other prompts and controls.

Run: python -m pytest tests/models/test_named_activations.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.activations import (
    Activations,
    ActivationWriter,
    CapturedPrompt,
    NamedArray,
    StateActivations,
    reading,
)

LAYERS, WIDTH = 2, 4
NAMES = ("Alice", "Bruno", "Clara")


def written(folder, seed, *, names=NAMES, width=WIDTH, digest="", layers=LAYERS):
    """One prompt a name, spread over several files."""
    rng = np.random.default_rng(seed)
    prompts = [
        CapturedPrompt(
            fact_id=f"{name}/P19",
            context_id=0,
            entity=name,
            relation="P19",
            num_tokens=3,
            role="direct" if name == "Alice" else "untouched",
            label=label,
        )
        for name in names
        for label in ("true", "false")
    ]
    truth = rng.standard_normal((len(prompts), layers + 1, 2, width), dtype=np.float32)
    with ActivationWriter(
        folder,
        prompts=prompts,
        sites=("resid",),
        positions=("subject_last", "last"),
        num_layers=layers,
        num_heads=1,
        width=width,
        model_digest=digest,
        shard_bytes=200,
    ) as out:
        for row, own in enumerate(truth):
            out.add(row, {"resid": own})
    return Activations.open(folder), truth


@pytest.fixture
def states(tmp_path):
    pairs = {name: written(tmp_path / name, seed) for seed, name in enumerate(("clean", "npo"))}
    return {name: one for name, (one, _) in pairs.items()}, [own for _, own in pairs.values()]


def test_several_layers_and_positions_are_read_with_named_axes(states):
    found, (truth, _) = states[0]["clean"], states[1]
    read = found.read(site="resid")
    assert read.axes == ("row", "layer", "position", "width")
    np.testing.assert_array_equal(read.values, truth)
    assert read.coordinates["row"] == found.prompts
    assert read.coordinates["position"] == ("subject_last", "last")
    some = found.read(site="resid", layers=[2, 0], positions="last", labels=["false"])
    np.testing.assert_array_equal(some.values, truth[1::2][:, [2, 0], 1:])
    one = some.at(layer=0, position="last")
    assert one.axes == ("row", "width")
    np.testing.assert_array_equal(
        one.numpy(),
        found.select(site="resid", layer=0, labels=["false"]),
    )
    turned = read.torch("layer", "position", "row", "width")
    assert isinstance(turned, torch.Tensor)
    np.testing.assert_array_equal(turned.numpy(), truth.transpose(1, 2, 0, 3))


def test_states_are_read_at_once(states):
    found, truth = StateActivations(states[0]), np.stack(states[1])
    read = found.read(site="resid", layers=[1], roles=["untouched"])
    assert read.axes == ("state", "row", "layer", "position", "width")
    assert read.shape == {"state": 2, "row": 4, "layer": 1, "position": 2, "width": WIDTH}
    np.testing.assert_array_equal(read.values, truth[:, 2:, [1]])
    np.testing.assert_array_equal(
        found.read(site="resid", states=["npo"]).at(state="npo").numpy(), truth[1]
    )
    with pytest.raises(ConfigError, match=r"captured state 'ga'"):
        found.read(site="resid", states=["ga"])
    with pytest.raises(ConfigError, match="no state was asked for"):
        found.read(site="resid", states=[])


def test_states_of_other_prompts_are_not_read_at_once(states, tmp_path):
    few, _ = written(tmp_path / "few", 3, names=("Alice",))
    found = StateActivations({**states[0], "few": few})
    with pytest.raises(ConfigError, match="'few' was captured of other prompts"):
        found.read(site="resid")
    assert len(found.read(site="resid", entities="Alice").coordinates["state"]) == 3


def test_other_prompts_and_controls_stand_beside_the_states(states, tmp_path):
    statements, truth = written(tmp_path / "statements", 5, names=("Alice",))
    control, _ = written(tmp_path / "control", 6, digest="of random weights")
    found = StateActivations(
        states[0],
        others={"statements": StateActivations({"clean": statements})},
        controls={"random_weights": control},
    )
    assert found.others == ("statements",)
    got = found.of("statements")["clean"].select(site="resid", layer=1, labels="true")
    np.testing.assert_array_equal(got, truth[:1, 1, 1])
    assert found.controls["random_weights"] is control
    with pytest.raises(
        ConfigError,
        match=r"named 'wrong_entity'.*captured are: statements.*explanation\.capture=true",
    ):
        found.of("wrong_entity")
    with pytest.raises(ConfigError, match="captured are: none"):
        StateActivations(states[0]).of("statements")


def test_activations_of_another_model_are_refused(tmp_path):
    clean, _ = written(tmp_path / "clean", 0, digest="a" * 64)
    same, _ = written(tmp_path / "same", 1, digest="a" * 64)
    other, _ = written(tmp_path / "other", 2, digest="b" * 64)
    wide, _ = written(tmp_path / "wide", 3, width=8)
    deep, _ = written(tmp_path / "deep", 4, layers=5)
    clean.require_same_model(same)
    assert len(StateActivations({"clean": clean, "npo": same})) == 2
    message = r"other holds activations of an unnamed model \(2 layers, width 4, digest bbbb.*aaaa"
    with pytest.raises(ConfigError, match=message):
        clean.require_same_model(other)
    with pytest.raises(ConfigError, match="width 8"):
        StateActivations({"clean": clean, "npo": wide})
    with pytest.raises(ConfigError, match="5 layers"):
        StateActivations({"clean": clean}, others={"statements": StateActivations({"clean": deep})})
    with pytest.raises(ConfigError, match="control 'random_weights' has 2 layers of width 8"):
        StateActivations({"clean": clean}, controls={"random_weights": wide})


def test_a_file_is_checked_when_it_is_first_read_and_never_again(states, monkeypatch):
    checked = []

    def counted(path):
        checked.append(path.name)
        return original(path)

    original = reading.sha256_of
    monkeypatch.setattr(reading, "sha256_of", counted)
    found = Activations.open(states[0]["clean"].folder)
    assert checked == []
    found.select(site="resid", layer=0, entities="Alice")
    first = len(checked)
    assert 0 < first < len(list(found.folder.glob("resid-*")))
    for layer in range(LAYERS + 1):
        found.read(site="resid", layers=layer)
    assert len(checked) == len(set(checked)) == len(list(found.folder.glob("resid-*")))
    Activations.open(found.folder).select(site="resid", layer=0)
    assert len(checked) == 2 * len(set(checked))


def small(**changes):
    keywords = {
        "values": np.arange(6).reshape(2, 3),
        "axes": ("layer", "width"),
        "coordinates": {"layer": (4, 8), "width": (0, 1, 2)},
    }
    return NamedArray(**{**keywords, **changes})


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: small(axes=("layer",)), "one name each"),
        (lambda: small(coordinates={"layer": (4,), "width": (0, 1, 2)}), r"\(1, 3\)"),
        (lambda: small().at(layers=4), "axis 'layers'.*Did you mean layer"),
        (lambda: small().at(layer=5), "on the axis layer '5'.*Known: 4, 8"),
        (lambda: small().numpy("layer"), "once, found"),
        (lambda: small().torch("layer", "layer"), "once, found"),
    ],
)
def test_axes_that_do_not_fit_are_told(ask, message):
    with pytest.raises(ConfigError, match=message):
        ask()


def test_an_array_with_names_gives_views_of_its_values():
    one = small()
    assert one.at(layer=8).values.tolist() == [3, 4, 5]
    assert one.at(width=1, layer=4).values.tolist() == 1
    assert one.numpy("width", "layer").shape == (3, 2)
    assert np.shares_memory(one.torch("width", "layer").numpy(), one.values)
