"""A transformers model that can be watched, changed from inside, and put into other states.

    with model.at("npo"):                                     # weights of a state, then back
        logits, cache = model.run_with_cache(prompt, names_filter="blocks.5.hook_resid_post")
        model.run_with_hooks(prompt, fwd_hooks=[("blocks.3.hook_mlp_out", fn)])

Hook names, shapes and the cache are TransformerLens' (`hook_points`). The model itself is not
rewritten: hooks are set on its own modules while they are needed, so `hf_model` stays a plain
transformers model, and an adapter attached inside it changes nothing here.

A hook is `fn(value, hook) -> new value or None`. Return what shall stand in the value's place; the
value itself must not be written to.
"""

import contextlib
import copy
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from restor_interp.errors import ConfigError, ModelError, unknown_name
from restor_interp.models.architectures import architecture_of
from restor_interp.models.deltas import Delta, State
from restor_interp.models.hook_points import READ_ONLY, Point, Sizes, norm_values, points
from restor_interp.models.tokens import Tokens, resolve_position, tokenize
from restor_interp.models.weights import Weights
from restor_interp.prompts import Prompt

HookFn = Callable[..., Any]
Input = Prompt | str | Sequence[Prompt | str] | Tensor
"""What a model runs on: prompts, texts, or token ids [row, pos]."""
Position = int | str
NamesFilter = str | Sequence[str] | Callable[[str], bool] | None

CLEAN = "clean"


@dataclass(frozen=True)
class Hook:
    """What a hook function is told about where it is called."""

    name: str

    def layer(self) -> int:
        """The layer in its name. Raises `ConfigError` where it has none."""
        found = re.match(r"blocks\.(\d+)\.", self.name)
        if found is None:
            raise ConfigError(f"{self.name} belongs to no layer")
        return int(found[1])


class HookedModel:
    """A causal language model with its tokenizer, hooks, and states."""

    def __init__(
        self, hf_model: PreTrainedModel, tokenizer: Any, *, name: str, digest: str
    ) -> None:
        """Raises `ModelError` for an architecture whose parts cannot be found."""
        self.hf_model: Any = hf_model
        self.tokenizer = tokenizer
        self.name = name
        self.digest = digest
        """Of the clean weights and what else decides what the model says."""
        self.architecture = architecture_of(hf_model)
        config = hf_model.config.get_text_config()
        self.num_layers: int = config.num_hidden_layers
        self.num_heads: int = config.num_attention_heads
        self.num_key_heads: int = getattr(config, "num_key_value_heads", None) or self.num_heads
        self.d_model: int = config.hidden_size
        self.d_head: int = getattr(config, "head_dim", None) or self.d_model // self.num_heads
        self.vocab_size: int = config.vocab_size
        # Handles, not names: an adapter renames the modules inside a block, and wraps them.
        self.layers: list[Any] = list(hf_model.get_submodule(self.architecture.blocks))  # pyright: ignore
        self._norm: Any = hf_model.get_submodule(self.architecture.final_norm)
        self._unembed: Any = hf_model.get_output_embeddings()
        self._embed: Any = hf_model.get_input_embeddings()
        self._softcap = getattr(config, "final_logit_softcapping", None)
        sizes = Sizes(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_key_heads=self.num_key_heads,
            d_head=self.d_head,
        )
        embedding = next(n for n, m in hf_model.named_modules() if m is self._embed)
        self._points = points(self.architecture, sizes, embedding)
        self._hooks: dict[str, list[HookFn]] = {}
        """Functions of every `hooks` that is open, in their order."""
        self._handles: list[RemovableHandle] = []
        self._watched: list[Any] = []
        """Attention modules whose inside is watched."""
        self._before: dict[int, Tensor] = {}
        """Layer -> the residual stream that entered it, where `hook_resid_mid` is watched."""
        self._weights = Weights(hf_model)
        self._state = State({})
        self.states: dict[str, State] = {CLEAN: self._state}
        """States by name."""
        if self.architecture.searched:
            _check_architecture(self)

    def __repr__(self) -> str:
        return (
            f"HookedModel({self.name!r}, {self.num_layers} layers, width {self.d_model}, "
            f"{self.dtype}, {self.device})"
        )

    @property
    def device(self) -> torch.device:
        return self._embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._embed.weight.dtype

    @property
    def hook_names(self) -> tuple[str, ...]:
        """Every hook name of this model, in the order of its computation."""
        return tuple(self._points)

    # ---- running

    def project(self, resid: Float[Tensor, "*row width"]) -> Float[Tensor, "*row vocab"]:
        """Residual stream after the last layer -> logits, in the current state: final norm,
        unembedding and, where the model has one, the soft cap."""
        logits = self._unembed(self._norm(resid))
        if self._softcap is not None:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits

    def run_with_hooks(
        self, input: Input, fwd_hooks: Sequence[tuple[str, HookFn]] = ()
    ) -> Float[Tensor, "row pos vocab"]:
        """Logits with values replaced on the way. Shorter prompts are padded on the right."""
        ids, _ = self._ids(input)
        with self.hooks(fwd_hooks):
            return self._forward(ids)

    @torch.no_grad()
    def run_with_cache(
        self,
        input: Input,
        names_filter: NamesFilter = None,
        positions: Position | Sequence[Position] | None = None,
    ) -> tuple[Float[Tensor, "row pos vocab"], Any]:
        """Logits, and the values of hooks as a TransformerLens `ActivationCache`.

        Args:
            input: one or several prompts, texts, or token ids [row, pos].
            names_filter: a hook name, several, or a test of names; default: all. Attention
                patterns switch the model to eager attention for this call.
            positions: keep these alone: indices (negative ones count from each prompt's own end)
                or `last`, `subject_last`, `subject_first`. The position axis remains. Of
                patterns it is the query's.

        Raises:
            ConfigError: an unknown hook name or position.
            PromptError: a position of a subject, and a prompt without one.
        """
        from transformer_lens import ActivationCache

        ids, tokens = self._ids(input)
        kept = None
        if positions is not None:
            wanted = [positions] if isinstance(positions, int | str) else list(positions)
            rows = range(len(ids))
            index = [[resolve_position(tokens, row, p) for p in wanted] for row in rows]
            kept = torch.tensor(index, device=ids.device)
        values: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: Hook) -> None:
            value = value.detach().expand(len(ids), *value.shape[1:])
            if kept is not None:
                rows = torch.arange(len(ids), device=value.device)[:, None]
                if value.ndim == 4 and hook.name.endswith(("hook_pattern", "hook_attn_scores")):
                    value = value[rows, :, kept].transpose(1, 2)
                else:
                    value = value[rows, kept]
            values[hook.name] = value

        with self.hooks([(name, keep) for name in self._names(names_filter)]):
            logits = self._forward(ids)
        return logits, ActivationCache(values, _CachedModel(self))

    @contextlib.contextmanager
    def hooks(self, fwd_hooks: Sequence[tuple[str, HookFn]]) -> Iterator[None]:
        """Within this, values are seen and replaced by these functions, in every forward pass of
        `hf_model` and of its layers. Raises `ConfigError` for an unknown hook name."""
        for name, _ in fwd_hooks:
            self._check_name(name)
        if not fwd_hooks:
            yield
            return
        config = self.hf_model.config
        attention = config._attn_implementation
        for name, function in fwd_hooks:
            self._hooks.setdefault(name, []).append(function)
        try:
            self._install()
            if any(self._points[name].side == "attention" for name, _ in fwd_hooks):
                config._attn_implementation = _WATCHED
            yield
        finally:
            config._attn_implementation = attention
            for name, function in reversed(fwd_hooks):
                functions = self._hooks[name]
                last = max(i for i, known in enumerate(functions) if known is function)
                del functions[last]
                if not functions:
                    del self._hooks[name]
            self._install()

    def _forward(self, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocab"]:
        return self.hf_model(input_ids=ids, use_cache=False).logits

    def _ids(self, input: Input) -> tuple[Int[Tensor, "row pos"], Tokens]:
        if isinstance(input, Tensor):
            if input.ndim != 2 or input.is_floating_point() or not input.numel():
                raise ConfigError(
                    f"token ids of shape {list(input.shape)} and type {input.dtype}; they must be "
                    "whole numbers [row, pos]"
                )
            rows = [row.cpu() for row in input]
            return input.to(self.device), Tokens(ids=rows, subject=[None] * len(rows))
        several = [input] if isinstance(input, Prompt | str) else input
        asked = [Prompt(prefix="", question=p) if isinstance(p, str) else p for p in several]
        tokens = tokenize(self.tokenizer, asked)
        return tokens.padded()[0].to(self.device), tokens

    def _names(self, names_filter: NamesFilter) -> list[str]:
        if names_filter is None:
            return list(self._points)
        if isinstance(names_filter, str):
            names_filter = [names_filter]
        if callable(names_filter):
            return [name for name in self._points if names_filter(name)]
        for name in names_filter:
            self._check_name(name)
        return list(dict.fromkeys(names_filter))

    def _check_name(self, name: str) -> None:
        if name in self._points:
            return
        layer = re.match(r"blocks\.(\d+)\.", name)
        if layer is not None and int(layer[1]) >= self.num_layers:
            raise ConfigError(
                f"there is no hook {name!r}: {self.name} has layers 0 to {self.num_layers - 1}"
            )
        shown = [n for n in self._points if (p := self._points[n]).layer is None or p.layer == 0]
        nearest = re.sub(r"^blocks\.\d+", "blocks.0", name)
        raise unknown_name("hook", nearest if layer else name, shown)

    # ---- hooks on modules

    def _install(self) -> None:
        """Set the module hooks that the open hook functions need, and no others."""
        for handle in self._handles:
            handle.remove()
        for module in self._watched:
            del _WATCHERS[module]
        self._handles, self._watched = [], []
        self._before.clear()
        places: dict[tuple[str, str], list[Point]] = {}
        for name, point in self._points.items():
            if name in self._hooks:
                places.setdefault((point.module, _END[point.side]), []).append(point)
                if point.side == "mid":
                    block = f"{self.architecture.blocks}.{point.layer}"
                    places.setdefault((block, "input"), [])
        for (path, end), watched in places.items():
            module = self._module(path)
            if end == "input":
                layer = self._layer_of(path) if self._mid_is_watched(path) else None
                handle = module.register_forward_pre_hook(
                    self._at_input(watched, layer), with_kwargs=True
                )
                self._handles.append(handle)
            elif end == "output":
                self._handles.append(module.register_forward_hook(self._at_output(watched)))
            else:
                _WATCHERS[module] = self._in_attention(watched)
                self._watched.append(module)

    def _module(self, path: str) -> Any:
        """A module as it is now: where an adapter wraps a linear layer, the wrapper."""
        found = re.match(rf"{re.escape(self.architecture.blocks)}\.(\d+)(?:\.(.+))?$", path)
        if found is None:
            known = {
                self.architecture.final_norm: self._norm,
                self._points["hook_embed"].module: self._embed,
            }
            return known.get(path) or self.hf_model.get_submodule(path)
        block = self.layers[int(found[1])]
        return block.get_submodule(found[2]) if found[2] else block

    def _layer_of(self, path: str) -> int:
        return int(path.rpartition(".")[2])

    def _mid_is_watched(self, path: str) -> bool:
        start = f"{self.architecture.blocks}."
        inner = path.removeprefix(start)
        return inner.isdigit() and f"blocks.{inner}.hook_resid_mid" in self._hooks

    def _call(self, point: Point, value: Tensor) -> Tensor | None:
        """What the functions of a point make of a value; none if they leave it."""
        changed = None
        hook = Hook(point.name)
        for function in self._hooks[point.name]:
            new = function(value, hook)
            if new is None:
                continue
            if new.shape != value.shape:
                raise ConfigError(
                    f"a hook at {point.name} returned {list(new.shape)} in place of "
                    f"{list(value.shape)}"
                )
            value = changed = new
        return changed

    def _changed(self, point: Point, whole: Tensor) -> Tensor:
        """A module's tensor after the functions of a point that lies in it."""
        if point.view is None:
            new = self._call(point, whole)
            return whole if new is None else new
        new = self._call(point, point.view(whole))
        if new is not None:
            whole = whole.clone()
            point.view(whole).copy_(new)
        return whole

    def _at_input(self, watched: Sequence[Point], layer: int | None) -> HookFn:
        def run(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            del module
            value = args[0] if args else kwargs["hidden_states"]
            for point in watched:
                value = self._changed(point, value)
            if layer is not None:
                self._before[layer] = value
            if args:
                return (value, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": value}

        return run

    def _at_output(self, watched: Sequence[Point]) -> HookFn:
        def run(module: Any, args: tuple[Any, ...], output: Any) -> Any:
            value = output[0] if isinstance(output, tuple) else output
            for point in watched:
                if point.side == "mid":
                    value = self._middle(point, value)
                elif point.side == "norm":
                    self._norm_seen(point, module, args[0])
                else:
                    value = self._changed(point, value)
            return (value, *output[1:]) if isinstance(output, tuple) else value

        return run

    def _middle(self, point: Point, added: Tensor) -> Tensor:
        """What attention must add for the residual stream to be what the functions want."""
        assert point.layer is not None
        before = self._before[point.layer]
        new = self._call(point, before + added)
        return added if new is None else new - before

    def _norm_seen(self, point: Point, module: Any, given: Tensor) -> None:
        value = norm_values(module, given)[point.name.rpartition(".")[2]]
        if self._call(point, value) is not None:
            raise ConfigError(
                f"{point.name} can be seen and not replaced (so can all {', '.join(READ_ONLY)}): "
                "replace the residual stream instead"
            )

    def _in_attention(self, watched: Sequence[Point]) -> Callable[[str, Tensor], Tensor]:
        by_end = {point.name.rpartition(".")[2]: point for point in watched}

        def run(name: str, value: Tensor) -> Tensor:
            point = by_end.get(name)
            return value if point is None else self._changed(point, value)

        return run

    # ---- states

    @property
    def deltas(self) -> Mapping[str, Delta]:
        """The deltas that states are made of, by name."""
        return self._weights.deltas

    @property
    def state(self) -> State:
        """The state that the weights are in now."""
        return self._state

    @property
    def rounding_error(self) -> float:
        """How much of the present change of weights was lost in rounding, as a share of its norm;
        0 in fp32. In bf16 a small delta can lose a fifth and more of itself."""
        return self._weights.rounding_error

    def add_delta(self, delta: Delta) -> None:
        """Make a delta known. The matrices that it touches are copied once, all deltas together.

        Raises `ModelError` where it does not fit this model, `ConfigError` for a name that
        another delta has.
        """
        self._weights.add(delta)

    def add_state(self, name: str, state: State) -> None:
        """Make a state known by a name. Raises `ConfigError` for deltas that are not known."""
        self._check_state(state)
        if name == CLEAN and state != self.states[CLEAN]:
            raise ConfigError(f"{CLEAN!r} is the state without deltas; choose another name")
        self.states[name] = state

    @contextlib.contextmanager
    def at(self, state: str | State) -> Iterator["HookedModel"]:
        """Within this, the weights are those of a state; afterwards those from before, also after
        an error. May be nested: the state is meant from the clean weights, not on top.

        Raises `ConfigError` for an unknown state or delta.
        """
        wanted = self.resolve_state(state)
        before = self._state
        try:
            self._weights.switch(wanted)
            self._state = wanted
            yield self
        finally:
            self._weights.switch(before)
            self._state = before

    @contextlib.contextmanager
    def grafted(self, weights: Mapping[str, str | State]) -> Iterator["HookedModel"]:
        """Within this, single modules have the weights that they have in other states; all other
        modules stay in the present one, which `state` still names. May be nested.

        Args:
            weights: module -> state. Modules are called as in `Delta.updates`.

        Raises `ConfigError` for an unknown state, or a module that no delta changes.
        """
        states = {path: self.resolve_state(state) for path, state in weights.items()}
        with self._weights.grafted(states):
            yield self

    def distances(self, one: str | State, other: str | State) -> dict[str, float]:
        """Module -> norm of the difference between its weights in two states, where there is one;
        in the model's order. Raises `ConfigError` for an unknown state."""
        return self._weights.distances(self.resolve_state(one), self.resolve_state(other))

    def resolve_state(self, state: str | State) -> State:
        """A state by its name. Raises `ConfigError` for an unknown one."""
        if isinstance(state, State):
            self._check_state(state)
            return state
        if state not in self.states:
            raise unknown_name("state", state, self.states)
        return self.states[state]

    def _check_state(self, state: State) -> None:
        for name in state.coefficients:
            if name not in self.deltas:
                raise unknown_name("delta", name, self.deltas)

    def clean_parameters(self) -> dict[str, Tensor]:
        """The clean weights by name, whatever state the model is in: not copies."""
        return {name: self._weights.clean(name) for name in self._weights.names}

    def tied_parameters(self) -> Mapping[str, str]:
        """Parameters that are the same numbers as another, and which."""
        return self._weights.tied

    def to_bridge(self) -> Any:
        """A TransformerLens `TransformerBridge` of the current state, on a copy of the model.

        No token is put before a text unless its scripts ask for one (`prepend_bos=True`).
        """
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        with self._without_hooks():
            hf_model = copy.deepcopy(self.hf_model)
        bridge = build_bridge_from_module(
            hf_model,
            type(hf_model).__name__,
            hf_config=hf_model.config,
            tokenizer=copy.deepcopy(self.tokenizer),
        )
        bridge.cfg.default_prepend_bos = False
        return bridge

    @contextlib.contextmanager
    def _without_hooks(self) -> Iterator[None]:
        hooks, self._hooks = self._hooks, {}
        self._install()
        try:
            yield
        finally:
            self._hooks = hooks
            self._install()


_END: Mapping[str, str] = {
    "input": "input",
    "output": "output",
    "norm": "output",
    "mid": "output",
    "attention": "attention",
}


# ---- attention that can be watched

_WATCHED = "restor_interp_watched"
_WATCHERS: weakref.WeakKeyDictionary[torch.nn.Module, Callable[[str, Tensor], Tensor]] = (
    weakref.WeakKeyDictionary()
)
"""Attention module -> what is done with its scores and its pattern."""


def _watched_attention(
    module: Any,
    query: Float[Tensor, "row head pos width"],
    key: Float[Tensor, "row key_head key width"],
    value: Float[Tensor, "row key_head key width"],
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, step by step as transformers' eager one."""
    watch = _WATCHERS.get(module, lambda name, value: value)
    shared = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = watch("hook_attn_scores", scores)
    pattern = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    pattern = watch("hook_pattern", pattern)
    dropped = torch.nn.functional.dropout(pattern, p=dropout, training=module.training)
    return (dropped @ value).transpose(1, 2).contiguous(), pattern


AttentionInterface.register(_WATCHED, _watched_attention)
AttentionMaskInterface.register(_WATCHED, eager_mask)


# ---- what TransformerLens' cache asks its model for


class _CachedModel:
    """The little that `ActivationCache` needs of a model: its sizes, and its final norm."""

    def __init__(self, model: HookedModel) -> None:
        layer_norm = isinstance(model._norm, torch.nn.LayerNorm)
        config = model.hf_model.config.get_text_config()
        self.cfg = SimpleNamespace(
            n_layers=model.num_layers,
            n_heads=model.num_heads,
            d_model=model.d_model,
            d_head=model.d_head,
            d_vocab=model.vocab_size,
            d_mlp=getattr(config, "intermediate_size", None) or 4 * model.d_model,
            attn_only=False,
            normalization_type="LN" if layer_norm else "RMS",
            final_rms=not layer_norm,
            model_name=model.name,
        )
        # A copy: the cache belongs to the state in which it was made.
        self.ln_final = copy.deepcopy(model._norm)


# ---- families that are not listed


@torch.no_grad()
def _check_architecture(model: HookedModel) -> None:
    """Whether the parts that were found add up to the model's own stream and logits."""
    ids = torch.arange(4, device=model.device)[None] % model.vocab_size
    part = r"hook_(resid_pre|attn_out|mlp_out|resid_post)"
    try:
        logits, cache = model.run_with_cache(ids, lambda name: re.search(part, name) is not None)
        gaps = [(logits - model.project(cache["resid_post", model.num_layers - 1])).abs().max()]
        for layer in range(model.num_layers):
            before, after = cache["resid_pre", layer], cache["resid_post", layer]
            added = cache["attn_out", layer] + cache["mlp_out", layer]
            gaps.append((before + added - after).abs().max() / after.abs().max())
        problem = None if max(map(float, gaps)) < 1e-2 else "do not add up to its residual stream"
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        problem = f"cannot be watched ({type(error).__name__}: {error})"
    if problem is not None:
        kind = model.hf_model.config.model_type
        raise ModelError(
            f"{model.name} is of a family that is not known here (model_type {kind!r}), and the "
            f"parts found under the usual names {problem}. Ask for it to be added to "
            "restor_interp/models/architectures.py"
        )
