"""Full fine-tuning: matrices of a model trained themselves, and put back without a trace.

    with model.at(start), attach_dense(model, modules=("down_proj",)) as dense:
        optimiser = torch.optim.AdamW(dense.parameters())
        with dense.disabled(), torch.no_grad():
            ...                       # the reference: the same model with the delta off
    delta = dense.to_delta("npo")     # a whole matrix per module: trained − start

What an `Adapter` is for low-rank factors, this is for whole matrices, with the same methods. The
matrices that the model came with are set aside and never written to: the reference is exact, and
so is what the model gets back. Memory beside the model: a second copy of the trained matrices.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from restor_interp.errors import ConfigError
from restor_interp.models.adapters import chosen_modules
from restor_interp.models.deltas import Delta
from restor_interp.models.hooked import HookedModel


class Dense:
    """The trained matrices; the delta is still readable after they were taken off."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, base: str) -> None:
        self._parameters = dict(parameters)
        self._start = {name: parameter.data for name, parameter in parameters.items()}
        self._trained = {name: start.clone() for name, start in self._start.items()}
        self.base = base

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose matrices are trained, by their names in the model."""
        return tuple(self._parameters)

    def tensors(self) -> dict[str, nn.Parameter]:
        """`<module>.weight` in its own shape, in the model's order; only while attached."""
        return {f"{name}.weight": parameter for name, parameter in self._parameters.items()}

    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser trains."""
        return list(self._parameters.values())

    @torch.no_grad()
    def copy_(self, values: Mapping[str, Tensor]) -> None:
        """Take over the values of `tensors()` from another time."""
        for name, trained in self._trained.items():
            trained.copy_(values[f"{name}.weight"])

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """The model with the matrices that it came with: the state that training started from."""
        self._show(self._start)
        try:
            yield
        finally:
            self._show(self._trained)

    def to_delta(self, name: str) -> Delta:
        """What was trained less what it started from, on the CPU in fp32."""
        updates = {
            module: (trained - self._start[module]).float().cpu()
            for module, trained in self._trained.items()
        }
        return Delta(name, updates, base_model=self.base)

    def _show(self, matrices: Mapping[str, Tensor]) -> None:
        """Let the parameters have these numbers; nothing is copied."""
        for name, parameter in self._parameters.items():
            parameter.data = matrices[name]


@contextlib.contextmanager
def attach_dense(
    model: HookedModel,
    *,
    modules: str | Sequence[str] = "all",
    layers: Sequence[int] | str | None = None,
) -> Iterator[Dense]:
    """Make the matrices of linear modules of the decoder layers trainable, and nothing else.

    `modules` and `layers` as in `attach_adapter`. Biases, norms and embeddings stay as they are.

    Raises `ConfigError` for a model whose weights have less than 32 bits: steps of a usual
    learning rate are smaller than what rounding takes from them.
    """
    targets = chosen_modules(model, modules, layers)
    parameters = {name: module.get_parameter("weight") for name, module in targets.items()}
    dtype = next(iter(parameters.values())).dtype
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"full fine-tuning needs weights in float32, and {model.name} has {dtype}: load it "
            "with dtype=float32 (bf16=True still computes in bfloat16), or set full=False"
        )
    flags = {parameter: parameter.requires_grad for parameter in model.hf_model.parameters()}
    trained = set(parameters.values())
    dense = Dense(parameters, base=model.name)
    try:
        for parameter in flags:
            parameter.requires_grad_(parameter in trained)
        dense._show(dense._trained)
        yield dense
    finally:
        dense._show(dense._start)
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
            # A gradient belongs to the trained numbers, which are gone.
            parameter.grad = None if parameter in trained or not flag else parameter.grad
