"""What a training reads, as rows: documents or their counterparts, and retain text.

Here a method and its settings meet the texts, so that what makes no sense together is refused
here, before anything is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages.batches import Row, checked_rows, tokenize_texts, whole_rows
from restor_interp.stages.localising import Span, changed_counted, spans_counted
from restor_interp.stages.methods import Method
from restor_interp.stages.packing import end_of_text, packed, shuffled
from restor_interp.stages.train_settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts to train on."""

    forget: Sequence[str]
    """The documents that a method is about."""
    retain: Sequence[str] = ()
    spans: Sequence[Sequence[Span]] | None = None
    """Of each document: characters of the false objects that it states."""
    counterparts: Sequence[str] | None = None
    """Another version of each document."""
    counterpart_spans: Sequence[Sequence[Span]] | None = None
    """Of each counterpart: characters of what it states in the false objects' place. One without
    any, such as a refusal, counts as a whole."""

    def check_lengths(self) -> None:
        """Raises `ConfigError` where something does not belong to the documents one by one."""
        for name in ("spans", "counterparts", "counterpart_spans"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.forget):
                raise ConfigError(
                    f"{len(self.forget)} documents and {len(given)} {name}: give one per document"
                )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokens to train on."""

    forget: Sequence[Row]
    retain: Sequence[Row] = ()
    chosen: Sequence[Row] = ()
    """Of a paired method: row i is the counterpart of row i of `forget`."""
    notes: tuple[str, ...] = field(default=())
    """What is to be told of them."""


def without_unused(method: Method, training: TrainSettings) -> TrainSettings:
    """Methods without a retain term take the same settings as the others and leave it out."""
    return training if method.needs_retain else training.model_copy(update={"retain_weight": 0.0})


def check_settings(method: Method, training: TrainSettings) -> None:
    """Raises `ConfigError` for settings that make no sense with a method, whatever the texts."""
    if not method.needs_forget:
        if training.retain_weight == 0:
            raise ConfigError(
                f"{method.name} trains on retain text alone: retain_weight must not be 0, nor "
                "retain_loss none"
            )
        return
    if method.paired and training.packing is not None:
        raise ConfigError(
            f"{method.name} compares each document with its counterpart, and packing="
            f"{training.packing} cuts documents into blocks: leave packing out for it"
        )
    if training.target == "all":
        return
    if method.every_position:
        raise ConfigError(
            f"{method.name} averages over every position, padding included, and target="
            f"{training.target} asks for some of them: set target=all for it"
        )
    if training.target == "changed" and method.counterpart is not None:
        raise ConfigError(
            "target=changed looks for what corruption changed in the documents, and "
            f"{method.name} is trained on their counterparts: set target=all or target=claims"
        )
    if training.target == "changed" and method.start == "clean":
        raise ConfigError(
            f"target=changed compares the start state with the clean one, and {method.name} "
            "starts from the clean one: set target=all or target=claims"
        )


def read_texts(
    model: HookedModel,
    method: Method,
    training: TrainSettings,
    texts: Texts,
    *,
    start: State,
    seed: int,
) -> Rows:
    """The rows that a method is trained on.

    Raises `ConfigError` for text that the method needs and did not get and for settings that make
    no sense, `DataError` for texts in which nothing is predicted.
    """
    check_settings(method, training)
    _check_texts(method, training, texts)
    retain, notes = tokenize_texts(
        model.tokenizer,
        texts.retain if training.retain_weight > 0 else (),
        max_length=training.max_length,
        what="retain texts",
    )
    if not method.needs_forget:
        return Rows(forget=(), retain=retain, notes=tuple(notes))
    instead = method.counterpart is not None and not method.paired
    forget, told = _document_rows(model, training, texts, counterparts=instead, seed=seed)
    chosen: list[Row] = []
    if method.paired:
        chosen, more = _document_rows(model, training, texts, counterparts=True, seed=seed)
        told += more
    if training.target == "changed":
        if not any(start.coefficients.values()):
            raise ConfigError(
                "target=changed compares the start state with the clean one, and training starts "
                "from the clean one: set target=all or target=claims"
            )
        forget = changed_counted(
            model,
            forget,
            start=start,
            above=training.changed_above,
            batch_size=training.batch_size,
            seed=seed,
            bf16=training.bf16,
        )
    forget, chosen, more = _with_something_counted(forget, chosen, training)
    return Rows(forget=forget, retain=retain, chosen=chosen, notes=(*told, *more, *notes))


def _check_texts(method: Method, training: TrainSettings, texts: Texts) -> None:
    texts.check_lengths()
    if method.needs_forget and not texts.forget:
        raise ConfigError(f"the method {method.name} needs documents (`forget`), found none")
    if training.retain_weight > 0 and not texts.retain:
        raise ConfigError(
            f"{method.name} has retain_weight {training.retain_weight:g} and no retain text: give "
            "`retain`, or set retain_weight=0"
        )
    if not method.needs_forget:
        return
    if method.counterpart is not None and texts.counterparts is None:
        raise ConfigError(
            f"{method.name} needs another version of each document ({method.counterpart}), found "
            "none: give `counterparts`, one per document"
        )
    if training.target != "claims":
        return
    spans = [()] * len(texts.forget) if texts.spans is None else texts.spans
    without = [f"documents[{number}]" for number, own in enumerate(spans) if not own]
    if without:
        more = ", …" if len(without) > 5 else ""
        raise ConfigError(
            "target=claims ranges over the false objects that documents state, and "
            f"{len(without)} of {len(texts.forget)} do not say where ({', '.join(without[:5])}"
            f"{more}): give their `spans`, leave these documents out, or set target=changed or "
            "target=all"
        )
    if method.counterpart is not None and texts.counterpart_spans is None:
        raise ConfigError(
            f"target=claims with {method.name} needs to know where the counterparts state what: "
            "give `counterpart_spans`, or set target=all"
        )


def _document_rows(
    model: HookedModel, training: TrainSettings, texts: Texts, *, counterparts: bool, seed: int
) -> tuple[list[Row], list[str]]:
    """Rows of the documents, or of their counterparts: localised to claims, packed or cut."""
    given = texts.counterparts if counterparts else texts.forget
    spans = texts.counterpart_spans if counterparts else texts.spans
    what = "counterparts" if counterparts else "documents"
    assert given is not None, "checked before"
    tokenizer = model.tokenizer
    whole = whole_rows(tokenizer, given)
    if training.packing is None:
        rows, notes = checked_rows(whole, max_length=training.max_length, what=what)
    else:
        rows, notes = whole, []
    if training.target == "claims":
        assert spans is not None, "checked before"
        localised = spans_counted(tokenizer, whole, given, spans)
        rows = [
            row if counterparts and not own else found.cut(len(row.ids))
            for row, found, own in zip(rows, localised, spans, strict=True)
        ]
    if training.packing is not None:
        _check_block(model, training.packing)
        rows = shuffled(rows, seed=seed) if training.shuffle else rows
        rows, notes = packed(rows, length=training.packing, end=end_of_text(tokenizer))
    return rows, notes


def _check_block(model: HookedModel, length: int) -> None:
    longest = getattr(model.hf_model.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise ConfigError(
            f"packing makes blocks of {length} tokens, and {model.name} reads at most {longest}: "
            "set packing to that or less"
        )


def _with_something_counted(
    forget: Sequence[Row], chosen: Sequence[Row], training: TrainSettings
) -> tuple[list[Row], list[Row], list[str]]:
    """Rows in which a localised target left something, with their counterparts."""
    kept = [
        number
        for number, row in enumerate(forget)
        if row.num_predicted and (not chosen or chosen[number].num_predicted)
    ]
    if len(kept) == len(forget):
        return list(forget), list(chosen), []
    what = "documents" if training.packing is None else "blocks"
    if not kept:
        hint = (
            f"lower changed_above (it is {training.changed_above:g})"
            if training.target == "changed"
            else f"raise max_length (it is {training.max_length})"
        )
        raise ConfigError(
            f"target={training.target} leaves no token of {len(forget)} {what} to train on: "
            f"{hint}, or set target=all"
        )
    note = (
        f"{len(forget) - len(kept)} of {len(forget)} {what} left out: target={training.target} "
        "leaves no token of them"
    )
    return [forget[n] for n in kept], [chosen[n] for n in kept] if chosen else [], [note]
