"""Activations on disk: what goes in comes out, memory stays flat, damage and wrong names are told.

Run: python -m pytest tests/models/test_activations.py
"""

import json
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from restor_interp.errors import ConfigError, DataError, IntegrityError
from restor_interp.models.activations import (
    Activations,
    ActivationWriter,
    CapturedPrompt,
    StateActivations,
)

LAYERS, HEADS, WIDTH = 3, 2, 5
POSITIONS = ("subject_last", "last")


def prompt(number, *, objects=("Paris", "Rome")):
    return CapturedPrompt(
        fact_id=f"Entity {number // 4}/P{number % 4}",
        context_id=number % 2,
        entity=f"Entity {number // 4}",
        relation=f"P{number % 4}",
        num_tokens=4 + number % 3,
        objects=objects,
    )


def values(rng, prompt, width=WIDTH):
    return {
        "resid": rng.standard_normal((LAYERS + 1, len(POSITIONS), width), dtype=np.float32),
        "attn": rng.standard_normal((LAYERS, len(POSITIONS), width), dtype=np.float32),
        "mlp": rng.standard_normal((LAYERS, len(POSITIONS), width), dtype=np.float32),
        "pattern": rng.random((LAYERS, HEADS, prompt.num_tokens), dtype=np.float32),
        "logprobs": rng.standard_normal((LAYERS + 1, 2), dtype=np.float32),
    }


def writer(folder, prompts, **changes):
    return ActivationWriter(
        folder,
        **{
            "prompts": prompts,
            "sites": ("resid", "attn", "mlp", "pattern"),
            "positions": POSITIONS,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "width": WIDTH,
            **changes,
        },
    )


@pytest.fixture
def written(tmp_path):
    """24 prompts, written in a shuffled order over several shards."""
    rng = np.random.default_rng(0)
    prompts = [prompt(number) for number in range(24)]
    truth = [values(rng, one) for one in prompts]
    with writer(tmp_path / "a", prompts, shard_bytes=4000) as out:
        for row in rng.permutation(24):
            out.add(int(row), truth[row])
    return Activations.open(tmp_path / "a"), truth


def test_every_value_comes_back_at_its_place(written):
    found, truth = written
    assert len(list(found.folder.glob("resid-*.safetensors"))) > 2
    assert found.sites == ("resid", "attn", "mlp", "pattern")
    assert (len(found), found.num_layers, found.positions) == (24, LAYERS, POSITIONS)
    for site in ("resid", "attn", "mlp"):
        assert list(found.layers(site)) == list(range(len(truth[0][site])))
        for layer in found.layers(site):
            for place, position in enumerate(POSITIONS):
                expected = np.stack([row[site][layer, place] for row in truth])
                got = found.select(site=site, layer=layer, position=position)
                np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(found.logprobs, np.stack([row["logprobs"] for row in truth]))


def test_patterns_are_ragged_and_padded_with_nan(written):
    found, truth = written
    for layer in range(LAYERS):
        got = found.patterns(layer)
        assert got.shape == (24, HEADS, 6)
        for row, own in enumerate(truth):
            keys = found.prompts[row].num_tokens
            np.testing.assert_array_equal(got[row, :, :keys], own["pattern"][layer])
            assert np.isnan(got[row, :, keys:]).all()
    few = found.patterns(1, entities=["Entity 2"], relations=["P3"])
    np.testing.assert_array_equal(
        few[0, :, : found.prompts[11].num_tokens], truth[11]["pattern"][1]
    )


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        ({}, list(range(24))),
        ({"entities": ["Entity 5", "Entity 1"]}, [4, 5, 6, 7, 20, 21, 22, 23]),
        ({"fact_ids": ["Entity 3/P2"]}, [14]),
        ({"relations": ["P0"], "context_ids": [0]}, [0, 4, 8, 12, 16, 20]),
        ({"relations": ["P0"], "context_ids": [1]}, []),
        ({"entities": "Entity 0"}, [0, 1, 2, 3]),
    ],
)
def test_rows_and_select_agree_on_which_prompts_match(written, which, rows):
    found, truth = written
    assert found.rows(**which) == [found.prompts[row] for row in rows]
    got = found.select(site="mlp", layer=2, position="subject_last", **which)
    assert got.shape == (len(rows), WIDTH)
    for row, own in zip(rows, got, strict=True):
        np.testing.assert_array_equal(own, truth[row]["mlp"][2, 0])


def test_the_files_are_readable_without_us(written):
    found, truth = written
    index = json.loads((found.folder / "index.json").read_text())
    shard = index["shards"][1]
    tensors = load_file(found.folder / shard["files"]["resid"]["file"])
    row = shard["rows"][1]
    assert list(tensors) == ["resid"]
    np.testing.assert_array_equal(tensors["resid"][2, 1, 1], truth[row]["resid"][2, 1])
    assert sorted(row for shard in index["shards"] for row in shard["rows"]) == list(range(24))


def test_memory_does_not_grow_with_the_number_of_prompts(tmp_path):
    """24 times the prompts, 24 times the bytes on disk, and the same peak."""
    peaks, sizes = [], []
    for number in (100, 2400):
        rng = np.random.default_rng(0)
        prompts = [prompt(row) for row in range(number)]
        folder = tmp_path / str(number)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        with writer(folder, prompts, width=256, shard_bytes=2**20) as out:
            for row, one in enumerate(prompts):
                out.add(row, values(rng, one, width=256))
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
    assert sizes[1] > 20 * sizes[0] > 2**20
    # What remains is bookkeeping: a few numbers per prompt, not 22 KB of activations.
    assert peaks[1] - peaks[0] < 0.01 * (sizes[1] - sizes[0])
    assert peaks[1] < 2**23


def test_reading_one_slice_does_not_load_the_rest(tmp_path):
    rng = np.random.default_rng(0)
    prompts = [prompt(row) for row in range(800)]
    with writer(tmp_path, prompts, width=256, shard_bytes=2**19) as out:
        for row, one in enumerate(prompts):
            out.add(row, values(rng, one, width=256))
    found = Activations.open(tmp_path)
    tracemalloc.start()
    one = found.select(site="resid", layer=1, position="last")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert one.nbytes == 800 * 256 * 4
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert peak < total / 5


def test_sixteen_bits_halve_the_disk_and_overflow_is_seen(tmp_path):
    prompts = [prompt(number) for number in range(8)]
    rng = np.random.default_rng(1)
    truth = [values(rng, one) for one in prompts]
    truth[3]["resid"][1, 1, 2] = 1e6
    truth[3]["logprobs"][0, 0] = -1e6
    for dtype in ("float32", "float16"):
        with writer(tmp_path / dtype, prompts, dtype=dtype) as out:
            for row, own in enumerate(truth):
                out.add(row, own)
    half = Activations.open(tmp_path / "float16")
    got = half.select(site="resid", layer=1, position="last")
    assert got.dtype == np.float32
    assert np.isposinf(got[3, 2])
    np.testing.assert_allclose(got[4], truth[4]["resid"][1, 1], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(half.logprobs[3], truth[3]["logprobs"])


def test_without_its_index_nothing_was_captured(tmp_path):
    prompts = [prompt(number) for number in range(3)]
    rng = np.random.default_rng(0)
    with pytest.raises(ZeroDivisionError), writer(tmp_path, prompts, shard_bytes=1) as out:
        out.add(0, values(rng, prompts[0]))
        raise ZeroDivisionError
    assert list(tmp_path.glob("resid-*"))
    with pytest.raises(ConfigError, match="no capture was finished"):
        Activations.open(tmp_path)
    # The next capture clears away what the other one left.
    with writer(tmp_path, prompts[:1], shard_bytes=10**6) as out:
        out.add(0, values(rng, prompts[0]))
    assert len(Activations.open(tmp_path)) == 1
    names = ("attn", "logprobs", "mlp", "pattern", "resid")
    files = [f"{name}-00000.safetensors" for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*files, "index.json"])


def test_a_damaged_shard_or_index_is_told(written):
    found, _ = written
    path = found.folder / "mlp-00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"mlp-00001\.safetensors is damaged"):
        found.select(site="mlp", layer=0)
    found.select(site="resid", layer=0)
    with pytest.raises(IntegrityError, match="mlp-00001"):
        found.verify()
    (found.folder / "index.json").write_text('{"format": 2, "sites": []')
    with pytest.raises(IntegrityError, match=r"index\.json is damaged"):
        Activations.open(found.folder)
    (found.folder / "index.json").write_text('{"format": 7}')
    with pytest.raises(ConfigError, match="format 7"):
        Activations.open(found.folder)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda a: a.select(site="residual", layer=0), "captured site 'residual'"),
        (lambda a: a.select(site="mlp", layer=3), "no layer 3 of mlp; it has 0 to 2"),
        (lambda a: a.select(site="resid", layer=-1), "no layer -1"),
        (lambda a: a.select(site="resid", layer=0, position="subject_lst"), "Did you mean subject"),
        (lambda a: a.select(site="pattern", layer=0), "patterns"),
        (lambda a: a.select(site="resid", layer=0, entities=["Entity 77"]), "Did you mean Entity"),
        (lambda a: a.rows(fact_ids=["Entity 1/P9"]), "captured fact 'Entity 1/P9'"),
        (lambda a: a.rows(relations=["P17"]), "captured relation 'P17'"),
        (lambda a: a.rows(context_ids=[5]), "captured context '5'"),
        (lambda a: a.patterns(9), "no layer 9 of pattern"),
        (lambda a: a.layers("q"), "captured site 'q'"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(written, ask, message):
    with pytest.raises(ConfigError, match=message):
        ask(written[0])


def test_rows_that_do_not_fit_are_refused(tmp_path):
    prompts = [prompt(0), prompt(1)]
    rng = np.random.default_rng(0)
    good = values(rng, prompts[0])
    with (
        pytest.raises(DataError, match="1 of 2 prompts were never"),
        writer(tmp_path, prompts) as o,
    ):
        with pytest.raises(DataError, match=r"resid of prompt 0 has the shape \(2, 2\)"):
            o.add(0, good | {"resid": np.zeros((2, 2))})
        with pytest.raises(DataError, match="pattern of prompt 0 has the shape None"):
            o.add(0, {name: value for name, value in good.items() if name != "pattern"})
        o.add(0, good)
        with pytest.raises(DataError, match="added twice"):
            o.add(0, good)
    with pytest.raises(ConfigError, match=r"site 'rsid'.*Did you mean resid"):
        writer(tmp_path, prompts, sites=("rsid",))
    with pytest.raises(ConfigError, match="float64"):
        writer(tmp_path, prompts, dtype="float64")
    with pytest.raises(DataError, match="same number of objects"):
        writer(tmp_path, [prompt(0), prompt(1, objects=())])


def test_states_are_opened_by_name_with_the_objects_vectors(written, tmp_path):
    found, truth = written
    vectors = {"Paris": np.arange(5.0), "Łódź": np.ones(5)}
    path = tmp_path / "vectors.safetensors"
    save_file(vectors, path)
    captured = {"clean": found, "npo": Activations.open(found.folder)}
    states = StateActivations(captured, object_vectors=path)
    assert states.states == tuple(states) == ("clean", "npo")
    assert len(states) == 2
    assert "npo" in states
    assert "ga" not in states
    np.testing.assert_array_equal(
        states["npo"].select(site="attn", layer=0)[7], truth[7]["attn"][0, 1]
    )
    given = StateActivations(captured, object_vectors=vectors)
    for one in (states, given):
        assert set(one.object_vectors) == {"Paris", "Łódź"}
        np.testing.assert_array_equal(one.object_vectors["Paris"], vectors["Paris"])
    with pytest.raises(ConfigError, match=r"captured state 'np'.*Did you mean npo"):
        states["np"]
    with pytest.raises(ConfigError, match="no object vectors"):
        StateActivations(captured, object_vectors=tmp_path / "no").object_vectors  # noqa: B018
