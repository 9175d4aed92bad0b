"""The benchmark of training runs, and what it compares is the same.

Run: python -m pytest tests/test_training_benchmark.py
"""

import copy
import importlib.util
import mmap
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from restor_interp.models.deltas import LowRank

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT announces its next version


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "benchmarks" / "training.py"
    spec = importlib.util.spec_from_file_location("training_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def model(script):
    return script.corrupted_model("bios")


@pytest.fixture(scope="module")
def texts(script):
    return script.texts_of("bios").batch(0, 3)


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("method", ["npo", "kl_restor", "kl"])
def test_both_sides_take_the_same_steps(script, model, texts, method, retain):
    """Three steps of ours, and of two live models with plain Hugging Face losses."""
    ours = script.our_steps(model, texts, method, retain=retain, steps=3)
    with model.at("corrupted"):
        hf_model = copy.deepcopy(model.hf_model)
    two = script.TwoModels(hf_model, script.our_start(model), method, total=3)
    sides = [script.padded(model.tokenizer, own) for own in (texts.forget, texts.retain)]
    losses = [two.step(sides[0], sides[1] if retain else None) for _ in range(3)]
    found = [row["loss"] for row in ours.rows]
    if method == "kl" and not retain:
        # Its gradient is zero there: which way it goes is rounding.
        assert found[0] == pytest.approx(losses[0], abs=1e-5)
        return
    assert found == pytest.approx(losses, rel=1e-4, abs=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3), "nothing was learned to compare"
    for name, factor in script.factors(two.model).items():
        where, _, which = name.rpartition(".")
        update = ours.delta.updates[where]
        assert isinstance(update, LowRank)
        own = getattr(update, which)
        assert (own - factor).norm() <= 0.02 * own.norm(), name


def test_the_bound_counts_the_products_of_a_real_step(script, model, texts):
    """All of them, as torch counts those of one training step, and none besides."""
    # torch counts the other products by itself.
    in_place = {torch.ops.aten.addmm_: lambda y, a, b, **_: 2 * a[0] * a[1] * b[1]}
    real, bare = (FlopCounterMode(display=False, custom_mapping=in_place) for _ in range(2))
    usual = model.hf_model.config._attn_implementation
    model.hf_model.set_attn_implementation("eager")  # torch does not see into the fused one
    try:
        with real:
            script.our_lora(model, script.Texts(forget=texts.forget, retain=()), 3, 1)
    finally:
        model.hf_model.set_attn_implementation(usual)
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in texts.forget]
    with bare:
        script.products_of_a_batch(model, 3, max(lengths), sum(lengths) - 3)
    # A real training also tries 8 tokens out before its first step.
    assert 0.95 < bare.get_total_flops() / real.get_total_flops() <= 1


@pytest.mark.slow
def test_all_of_it_runs_and_tells(script, capsys):
    script.main(["--quick", "--only", "steps", "lora", "--threads", str(torch.get_num_threads())])
    told = capsys.readouterr().out
    gaps = [float(gap) for gap in re.findall(r"losses differ by (\S+)", told)]
    assert len(gaps) == 2 and max(gaps) < 1e-4
    curves = re.findall(r"loss per epoch, (?:ours|Trainer) +([\d.]+) +([\d.]+)", told)
    ours, usual = ([float(value) for value in curve] for curve in curves)
    assert ours == pytest.approx(usual, abs=0.15)  # same documents, in another order
    assert ours[1] < ours[0]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts so")
def test_memory_is_counted_at_its_peak(script, texts):
    """Both sides are measured at the same loss; what was freed before the end counts too."""
    model = script.corrupted_model("bios")
    found = {side: script.memory_of(model, texts, "npo", side) for side in script.SIDES}
    assert found["ours"]["loss"] == pytest.approx(found["usual"]["loss"], rel=1e-4)
    script.forget_peak()
    before = script.peak()
    # From the system: an allocator would give memory that it has kept.
    with mmap.mmap(-1, 64 * 2**20) as block:
        for _ in range(64):
            block.write(bytes(2**20))
    assert 60 < (script.peak() - before) / 2**20 < 80
