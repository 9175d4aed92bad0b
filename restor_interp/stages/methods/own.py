"""A user's own method: one decorated function, which is the loss on the documents.

    import restor_interp as ri

    @ri.method(reference="logprobs", citation="…", hints="…")
    def my_npo(logits, targets, *, reference_logprobs, beta: float = 0.1):
        \"\"\"What it does, in one line.\"\"\"
        …
        return ri.LossOut(loss=loss, parts={})

`logits` are those at the targets' positions, row after row; positions that are not
`targets.counted` count for nothing. What the function returns is *minimised*. Its keywords with
defaults are the method's settings, of the type of their annotation or default.
`restor_interp.testing.check_method` tries it out.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from pydantic import create_model
from pydantic.errors import PydanticSchemaGenerationError

from restor_interp.errors import ConfigError
from restor_interp.signatures import check_default, doc_of, keywords_of, source_hash, source_of
from restor_interp.stages.losses import LossOut, Reference, Targets, nll
from restor_interp.stages.methods.method import Counterpart, Method, OwnLoss
from restor_interp.stages.settings import Settings

LossFunction = Callable[..., LossOut]


@typing.overload
def method(function: LossFunction, /) -> Method: ...


@typing.overload
def method(
    *,
    reference: Reference | None = None,
    retain: bool = True,
    counterpart: Counterpart | None = None,
    paired: bool = False,
    citation: str = "",
    hints: str = "",
) -> Callable[[LossFunction], Method]: ...


def method(
    function: LossFunction | None = None,
    /,
    *,
    reference: Reference | None = None,
    retain: bool = True,
    counterpart: Counterpart | None = None,
    paired: bool = False,
    citation: str = "",
    hints: str = "",
) -> Method | Callable[[LossFunction], Method]:
    """Define an unlearning method: `f(logits, targets, *, …settings with defaults) -> LossOut`.

    Args:
        reference: what the function asks of the start state, as a keyword without default:
            `reference_logprobs` [token], `reference_logits` [token vocab], or `reference_states`
            [token d_model]. With "states" the function reads the residual stream after one decoder
            layer in place of logits, `f(states, targets, *, reference_states, …)`; the method then
            has the setting `layer` (none: a third of the depth), and the function may take
            `direction`, a fixed random unit vector.
        retain: has a retain term, as the training says.
        counterpart: another version of each document, "truth", "alternative" or "refusal": what is
            trained on in its place, or with `paired` the other side of the comparison.
        paired: the function also takes `chosen_logits` and `chosen_targets` of the counterparts
            (row i belongs to row i) and, with a reference, `chosen_reference_logprobs` or
            `chosen_reference_logits`.

    Raises:
        ConfigError: a function of another signature (when it is decorated), or one that returns
            something else than a `LossOut` with one number (when it is called).
    """

    def define(function: LossFunction) -> Method:
        on_states = reference == "states"
        given = _given(reference, paired)
        settings = _settings_of(function, given, on_states)
        doc = doc_of(function)
        own = OwnLoss(
            function=_checked(function, on_states),
            reference=reference,
            paired=paired,
            on_states=on_states,
        )
        return Method(
            name=function.__name__,
            summary=doc.partition("\n")[0],
            citation=citation,
            hints=hints,
            loss=own,
            settings=_settings_model(function, settings, on_states),
            loss_settings=tuple(settings),
            needs_retain=retain,
            counterpart=counterpart,
            ceiling=counterpart == "truth",
            on_layer="layer" if on_states else None,
            source_hash=source_hash(source_of(function)[1]),
        )

    for what, value, known in (
        ("reference", reference, get_args(Reference)),
        ("counterpart", counterpart, get_args(Counterpart)),
    ):
        if value is not None and value not in known:
            raise ConfigError(f"{what} is one of {', '.join(known)} or None, found {value!r}")
    if paired and reference == "states":
        raise ConfigError("a paired loss compares logits: reference='states' and paired=True clash")
    return define if function is None else define(function)


def _given(reference: Reference | None, paired: bool) -> tuple[str, ...]:
    """Keywords that the training fills in."""
    names = [f"reference_{reference}"] if reference else []
    if paired:
        names += ["chosen_logits", "chosen_targets"]
        names += [f"chosen_reference_{reference}"] if reference else []
    return tuple(names)


def _settings_of(
    function: LossFunction, given: tuple[str, ...], on_states: bool
) -> dict[str, inspect.Parameter]:
    """The keywords that are settings, after the signature was checked."""
    positional = ("states" if on_states else "logits", "targets")
    signature = inspect.signature(function)
    expected = f"{function.__name__}({', '.join([*positional, '*', *given])}, …settings=default)"

    def refuse(reason: str) -> ConfigError:
        return ConfigError(
            f"the method {function.__name__}{signature} {reason}; with these arguments of "
            f"@method it is {expected}"
        )

    keywords = keywords_of(function, positional=positional, given=given, refuse=refuse)
    direction = ("direction",) if on_states else ()
    settings = {name: p for name, p in keywords.items() if name not in (*given, *direction)}
    for name, parameter in settings.items():
        check_default(parameter, refuse)
        if name.startswith("_"):
            raise refuse(f"has the setting {name!r}: a setting's name starts with a letter")
    return settings


def _settings_model(
    function: LossFunction, parameters: Mapping[str, inspect.Parameter], on_states: bool
) -> type[Settings]:
    """The keywords as a pydantic model: annotations are types, and defaults give the others."""
    try:
        annotations = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation may be any expression at all
        raise ConfigError(
            f"the annotations of the method {function.__name__} cannot be read: "
            f"{type(error).__name__}: {error}"
        ) from None
    fields: dict[str, Any] = {
        name: (annotations.get(name, _type_of(parameter.default)), parameter.default)
        for name, parameter in parameters.items()
    }
    if on_states:
        fields.setdefault("layer", (int | None, None))
    try:
        made = create_model(
            f"{function.__name__}_settings",
            __base__=Settings,
            __module__=function.__module__,
            **fields,
        )
        made.read({name: default for name, (_, default) in fields.items()}, "its defaults")
    except (PydanticSchemaGenerationError, NameError, ConfigError) as error:
        message = str(error).partition("\n")[0]
        raise ConfigError(
            f"the settings of the method {function.__name__} make no sense: {message}"
        ) from None
    return made


def _type_of(default: Any) -> Any:
    """The type of a setting without annotation. An integer says nothing against fractions."""
    if default is None:
        return Any
    return int | float if type(default) is int else type(default)


def _checked(function: LossFunction, on_states: bool) -> LossFunction:
    """The function with its result checked, and the part `nll` added where it left it out."""

    @functools.wraps(function)
    def loss(x: torch.Tensor, targets: Targets, **keywords: Any) -> LossOut:
        out = function(x, targets, **keywords)
        if not isinstance(out, LossOut):
            raise ConfigError(
                f"the method {function.__name__} returned a {type(out).__name__}; return "
                "restor_interp.LossOut(loss=…, parts={})"
            )
        if not isinstance(out.loss, torch.Tensor) or out.loss.numel() != 1:
            found = tuple(out.loss.shape) if isinstance(out.loss, torch.Tensor) else out.loss
            raise ConfigError(
                f"the loss of the method {function.__name__} is one number in a tensor, found "
                f"{found!r}: take its mean or sum"
            )
        if on_states or "nll" in out.parts:
            return out
        with torch.no_grad():
            return replace(out, parts={**out.parts, **nll(x, targets).parts})

    return loss
