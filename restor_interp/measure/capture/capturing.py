"""Batches of prompts through a model, and what they hold inside into a folder."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from restor_interp.errors import PromptError
from restor_interp.facts import Fact
from restor_interp.measure.batching import batches_by_length
from restor_interp.measure.capture.passages import Passage
from restor_interp.measure.capture.rows import Entry, Row, captured, make_rows
from restor_interp.measure.capture.shared import Prefix, groups, run_rows
from restor_interp.measure.capture.sites import Reader, site_layouts
from restor_interp.measure.lens import read_rows
from restor_interp.measure.objects import continuations
from restor_interp.models.activations import (
    ALL,
    LOGPROBS,
    SITES,
    Activations,
    ActivationWriter,
    Dtype,
    SiteLayout,
    is_attention,
)
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel

TOKENS_PER_BATCH_ON_CPU = 1024
TOKENS_PER_BATCH = 8192
"""On any other device."""


def capture(
    model: HookedModel,
    prompts: Sequence[Entry] | Mapping[str, str],
    folder: str | Path,
    *,
    objects: Sequence[Sequence[str]] | None = None,
    state: str | State | None = None,
    facts: Iterable[Fact] = (),
    roles: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    sites: Sequence[str] = SITES,
    positions: Sequence[str | int] = ("subject_last", "last"),
    layers: Iterable[int] | None = None,
    dtype: Dtype = "float16",
    max_tokens_per_batch: int | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Activations:
    """Write activations of each prompt into a folder, and open it.

    Args:
        prompts: `Prompt`s, `Passage`s (documents, statements), or free texts by their ids.
        objects: per prompt (true, false): their log-probabilities after every layer are written
            too, at the first token at which they differ.
        state: what to capture; by default the model as it is, with whatever is attached to it.
        facts: say which entity and relation a prompt's `fact_id` is about. Without them the
            entity is the prompt's subject.
        roles: fact_id -> the role of that fact.
        labels: per prompt, what it states: `true`, `false`, `random`.
        sites: `resid`, `attn`, `mlp`, `pattern` (the attention of the last token), or hook names
            without their layer (`attn.hook_z`, `mlp.hook_post`, `ln_final.hook_normalized`).
        positions: `last`, `subject_first`, `subject_last`, the ends of a passage's spans
            (`object_last`), `answer` (the token after which the objects differ), indices (negative
            ones count from each prompt's own end), or `all`: every token of a prompt.
        layers: as `Activations.select` numbers them (0 of `resid` is the embeddings); by default
            all. Each site is read in those that it has.
        dtype: 16 bits keep three digits and halve the disk; log-probabilities keep 32 bits.
        max_tokens_per_batch: bounds the memory (default: what suits the device).
        on_rows: is told how many prompts are done, and of how many.

    Raises:
        ConfigError: an unknown site, position, layer or state.
        PromptError: a prompt without the subject or span that a position asks for, or objects of
            which one begins with another.
    """
    entries = _entries(prompts)
    for what, given in (("pairs of objects", objects), ("labels", labels)):
        if given is not None and len(given) != len(entries):
            raise PromptError(f"{len(entries)} prompts need as many {what}: {len(given)}")
    # Shapes may have to be seen in a run, so the model is set once for that and for the capture.
    with contextlib.ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        layouts = site_layouts(model, sites, layers, positions)
        to_the_end = any(map(is_attention, layouts))
        rows = make_rows(model.tokenizer, entries, positions, objects, to_the_end=to_the_end)
        by_id = {fact.fact_id: fact for fact in facts}
        writer = ActivationWriter(
            folder,
            prompts=[
                captured(
                    entry,
                    row,
                    by_id.get(entry.fact_id),
                    objects[row.number] if objects is not None else (),
                    role=(roles or {}).get(entry.fact_id, ""),
                    label=labels[row.number] if labels is not None else "",
                )
                for entry, row in zip(entries, rows, strict=True)
            ],
            sites=tuple(layouts),
            layouts=layouts,
            positions=positions,
            num_layers=model.num_layers,
            num_heads=model.num_heads,
            width=model.d_model,
            model_name=model.name,
            model_digest=model.digest,
            dtype=dtype,
        )
        on_cpu = model.device.type == "cpu"
        budget = max_tokens_per_batch or (TOKENS_PER_BATCH_ON_CPU if on_cpu else TOKENS_PER_BATCH)
        done = 0
        if state is not None:
            stack.enter_context(model.at(state))
        stack.enter_context(writer)
        for shared, group in groups(model, rows):
            prefix = Prefix.run(model, group[0].ids[:shared])
            for places in batches_by_length([len(row.ids) - shared for row in group], budget):
                batch = [group[place] for place in places]
                _capture_batch(model, prefix, batch, layouts, ALL in positions, dtype, writer)
                done += len(batch)
                if on_rows is not None:
                    on_rows(done, len(rows))
    return Activations.open(folder)


def object_vectors(
    model: HookedModel, objects: Iterable[str]
) -> dict[str, Float[np.ndarray, " width"]]:
    """Each object's direction in the unembedding of the current state: its first token's row."""
    names = list(dict.fromkeys(objects))
    weight = model.hf_model.get_output_embeddings().weight.detach()
    # After a colon, as an answer stands: a word begins there as it does in a prompt.
    first = [tokens[0] for tokens in continuations(model.tokenizer, "Answer:", names)]
    return {
        name: weight[token].float().cpu().numpy() for name, token in zip(names, first, strict=True)
    }


def _entries(prompts: Sequence[Entry] | Mapping[str, str]) -> Sequence[Entry]:
    if isinstance(prompts, Mapping):
        return [Passage(text_id=name, text=text) for name, text in prompts.items()]
    for number, prompt in enumerate(prompts):
        if not isinstance(prompt, Entry):
            raise PromptError(
                f"prompt {number} is a {type(prompt).__name__}: give Prompts, Passages, or texts "
                "by their ids, such as {'my text': 'Alice was born in …'}"
            )
    return prompts


@contextlib.contextmanager
def _evaluating(model: HookedModel) -> Iterator[None]:
    """No dropout and no gradients, also in the middle of training."""
    training = model.hf_model.training
    model.hf_model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            model.hf_model.train()


def _capture_batch(
    model: HookedModel,
    prefix: Prefix,
    batch: Sequence[Row],
    layouts: Mapping[str, SiteLayout],
    all_tokens: bool,
    dtype: Dtype,
    writer: ActivationWriter,
) -> None:
    shared = prefix.length
    ids = np.zeros((len(batch), max(len(row.ids) for row in batch) - shared), dtype=np.int32)
    for own, row in zip(ids, batch, strict=True):
        own[: len(row.ids) - shared] = row.ids[shared:]

    def places(numbers: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        """Counted from the first token that is run."""
        return (torch.tensor(numbers, dtype=torch.long) - shared).to(model.device)

    ends = [len(row.ids) - 1 for row in batch]
    reader = Reader(
        model,
        layouts,
        dtype=getattr(torch, dtype),
        places=places([row.places for row in batch]),
        last=places([min(row.num_tokens - 1, end) for row, end in zip(batch, ends, strict=True)]),
        width=ids.shape[1],
        keys=shared + ids.shape[1],
        all_tokens=all_tokens,
        lens_at=places(ends) if batch[0].targets else None,
    )
    with model.hooks(reader.hooks):
        run_rows(model, prefix, ids)
    # One copy to the host per site.
    on_host = {name: values.cpu().numpy() for name, values in reader.values.items()}
    logprobs = None
    if reader.stream is not None:
        logprobs = read_rows(model, reader.stream, [row.targets for row in batch])
    for number, row in enumerate(batch):
        values = {name: _own(name, found[number], row) for name, found in on_host.items()}
        if logprobs is not None:
            values[LOGPROBS] = logprobs[number]
        writer.add(row.number, values)


def _own(name: str, values: np.ndarray, row: Row) -> np.ndarray:
    """One row's part of a batch, without what stands there for longer rows."""
    if is_attention(name):
        return values[..., : row.num_tokens]
    return values[:, : row.num_tokens] if name.endswith(f".{ALL}") else values
