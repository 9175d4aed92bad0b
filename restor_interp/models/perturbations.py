"""Weights made worse for a while: kept in few bits, or with noise on them.

    with model.at("npo"), quantised(model, bits=4, group=64):
        answers = generate_answers(model, prompts)

Both change every matrix inside the blocks, and neither embeddings nor norms. Quantisation is
simulated: the numbers are those that a kernel of few bits computes with, in the model's own
number type, so that nothing depends on a device's kernels. The untouched matrices are kept aside
and put back by reference: no rounding, also after an error, and no memory beyond one changed copy
of the matrices.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.models.architectures import is_transposed, linear_modules
from restor_interp.models.hooked import HookedModel

Levels = Literal["even", "nf4"]
"""Where the levels of few bits lie: evenly spaced, or at quantiles of a normal distribution."""

NF4: tuple[float, ...] = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The 16 levels of NormalFloat 4: means of neighbouring quantiles of a standard normal, scaled to
[-1, 1], with an exact zero (Dettmers et al. 2023, arXiv 2305.14314, appendix E)."""


@contextlib.contextmanager
def quantised(
    model: HookedModel, *, bits: int = 4, group: int | None = 64, levels: Levels = "even"
) -> Iterator[HookedModel]:
    """Within this, every matrix of the blocks has 2^bits levels per group; afterwards its own bits.

    To be used inside `model.at(state)`. `group` counts inputs that share a scale (none: all
    inputs of an output). `levels="nf4"` takes those of NormalFloat 4, without the second
    quantisation of the scales, and needs `bits=4`. Raises `ConfigError` for settings that make no
    sense, and after the block where a state was entered in it: that takes the change off.
    """
    _check_quantisation(bits, group, levels)

    def change(weight: Tensor) -> Tensor:
        if levels == "nf4":
            return nearest_nf4(weight, group=group)
        return round_to_nearest(weight, bits=bits, group=group)

    with _changed(model, change):
        yield model


@contextlib.contextmanager
def noised(model: HookedModel, *, scale: float = 0.05, seed: int = 0) -> Iterator[HookedModel]:
    """Within this, every matrix W of the blocks is W + scale · std(W) · ε, with ε ~ N(0, 1).

    To be used inside `model.at(state)`. std is over all entries of one matrix. The draw depends on
    the seed and the model's shapes alone: states and devices get the same ε. Errors as in
    `quantised`.
    """
    if not scale >= 0:
        raise ConfigError(f"noise has a relative standard deviation of at least 0, found {scale}")
    generator = torch.Generator().manual_seed(seed)

    def change(weight: Tensor) -> Tensor:
        drawn = torch.randn(weight.shape, generator=generator).to(weight.device)
        return weight + scale * weight.std(correction=0) * drawn

    with _changed(model, change):
        yield model


# ---- formulas


def round_to_nearest(
    weight: Float[Tensor, "out in"], *, bits: int, group: int | None = None
) -> Float[Tensor, "out in"]:
    """Every number at the nearest of 2^bits − 1 evenly spaced levels of its group.

    A group is `group` consecutive inputs of one output (none: all of them; the last may be
    shorter). With m its largest magnitude and n = 2^(bits − 1) − 1: w' = m/n · round(w · n/m), so
    that 0 and ±m stay and |w' − w| ≤ m/2n. The levels lie symmetrically, without a zero point.
    """
    grouped = _grouped(weight, group)
    step = grouped.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    rounded = torch.round(grouped / torch.where(step > 0, step, 1.0)) * step
    return _whole(rounded, weight)


def nearest_nf4(
    weight: Float[Tensor, "out in"], *, group: int | None = 64
) -> Float[Tensor, "out in"]:
    """Every number w at m · the nearest of `NF4` to w/m, m the largest magnitude of its group."""
    grouped = _grouped(weight, group)
    largest = grouped.abs().amax(dim=-1, keepdim=True)
    code = torch.tensor(NF4, dtype=weight.dtype, device=weight.device)
    between = (code[1:] + code[:-1]) / 2
    scaled = (grouped / torch.where(largest > 0, largest, 1.0)).contiguous()
    return _whole(code[torch.bucketize(scaled, between)] * largest, weight)


def _grouped(weight: Tensor, group: int | None) -> Float[Tensor, "out group within"]:
    """The inputs of every output in groups; the last filled up with zeros, which change none."""
    size = min(group or weight.shape[1], weight.shape[1])
    lacking = -weight.shape[1] % size
    padded = torch.nn.functional.pad(weight, (0, lacking))
    return padded.view(weight.shape[0], -1, size)


def _whole(grouped: Tensor, weight: Tensor) -> Tensor:
    return grouped.flatten(1)[:, : weight.shape[1]]


# ---- putting on, taking off


def _check_quantisation(bits: int, group: int | None, levels: Levels) -> None:
    if not 2 <= bits <= 16:
        raise ConfigError(f"quantisation is to 2 to 16 bits, found {bits}")
    if levels == "nf4" and bits != 4:
        raise ConfigError(f"NF4 has 4 bits, found bits={bits}: leave it at 4, or use levels=even")
    if group is not None and group < 1:
        raise ConfigError(
            f"a group has at least 1 input, found {group}; none makes a group of each output"
        )


@contextlib.contextmanager
def _changed(model: HookedModel, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within this, `change` of every matrix ([out, in], fp32) stands in its place."""
    before: dict[torch.nn.Parameter, Tensor] = {}
    marks: dict[torch.nn.Parameter, Tensor] = {}
    try:
        with torch.no_grad():
            for module in linear_modules(model.hf_model).values():
                weight: torch.nn.Parameter = module.weight  # pyright: ignore[reportAssignmentType]
                old, turned = weight.data, is_transposed(module)
                new = change((old.T if turned else old).float())
                before[weight] = old
                weight.data = (new.T if turned else new).to(old.dtype).contiguous()
                marks[weight] = weight.data[0].clone()
        yield
        if any(not torch.equal(weight.data[0], mark) for weight, mark in marks.items()):
            raise ConfigError(
                "a state was entered within `quantised` or `noised`, which took the change off "
                "some matrices: enter the state first, then change its weights"
            )
    finally:
        for weight, old in before.items():
            weight.data = old
