"""Repair: a little supervised tuning on neutral questions, to make a distorted model readable.

RESTOR tunes every unlearned model on LIMA before it asks for facts (LoRA on all modules, learning
rate 2e-5, 2 epochs, batches of 16, cosine with warm-up; arXiv 2411.00204), and the clean and the
corrupted model without. What tuning as such brings back is only seen when these two are repaired
as well. The loss ranges over the answers; instructions are read only.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from restor_interp.data.neutral import Example, repair_texts
from restor_interp.errors import ConfigError, DataError
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages.batches import Row, checked_rows
from restor_interp.stages.inputs import Rows
from restor_interp.stages.methods import METHODS
from restor_interp.stages.methods.method import NoSettings
from restor_interp.stages.training import Trained, TrainSettings, train_rows


def repair(
    model: HookedModel,
    *,
    name: str,
    start: State,
    training: TrainSettings,
    seed: int,
    work: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
    examples: Sequence[Example] | None = None,
) -> Trained:
    """Train the delta `name` on questions and answers (default: ours) on top of any state.

    Arguments and resuming as in `train`; `forget_nll` of the rows is that of the answers.

    Raises `ConfigError` for settings of documents (`packing`, `target`), `DataError` for examples
    in which nothing is predicted.
    """
    examples = repair_texts() if examples is None else examples
    if training.packing is not None or training.target != "all":
        raise ConfigError(
            f"a repair predicts the answers of its examples, one per row: packing="
            f"{training.packing} and target={training.target} are for documents, leave them out"
        )
    if not examples:
        raise DataError("a repair needs examples, found none: leave `examples` out for our own")
    rows, notes = checked_rows(
        [example_row(model.tokenizer, example) for example in examples],
        max_length=training.max_length,
        what="repair examples",
    )
    return train_rows(
        model,
        name=name,
        start=start,
        method=METHODS["fine_tune"],
        settings=NoSettings(),
        training=training.model_copy(update={"retain_weight": 0.0}),
        rows=Rows(forget=rows, notes=tuple(notes)),
        seed=seed,
        work=work,
        on_step=on_step,
        on_checkpoint=on_checkpoint,
    )


def example_row(tokenizer: PreTrainedTokenizerBase, example: Example) -> Row:
    """A question, a space, and its answer with the line end; only the last two are predicted.

    Question and answer are tokenised apart, so that no token holds a piece of both.
    """
    question = tokenizer(example.question, add_special_tokens=False)["input_ids"]
    answer = tokenizer(f" {example.answer}\n", add_special_tokens=False)["input_ids"]
    counted = (*[False] * len(question), *[True] * len(answer))
    return Row(ids=(*question, *answer), counted=counted)
