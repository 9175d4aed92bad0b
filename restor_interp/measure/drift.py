"""Drift: how far did a state's activations move from the clean ones, in every layer?

Row by row (cosine, relative distance) and in the geometry of all rows (CKA, Procrustes, principal
components), over the rows that were captured of the same prompts. Two reference values come with
each number: the floor, which rows that have nothing to do with each other reach, and the clean
state against itself after other few-shot examples, which is a change that loses nothing. CKA
alone tells unlearned from retrained models poorly (AUC 0.648 in arXiv 2605.24614).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure import similarity
from restor_interp.measure.similarity import Cloud
from restor_interp.models.activations import Activations, StateActivations

ALL = "all"
"""The role under which all rows are counted together."""

OF_ROWS: Mapping[str, Callable[..., float]] = {
    "cosine": similarity.mean_cosine,
    "relative_distance": similarity.mean_distance,
}
"""Metrics of pairs of rows: names, and functions of two arrays [row width]."""

OF_CLOUDS: Mapping[str, Callable[[Cloud, Cloud], float]] = {
    "cka": similarity.cka,
    "cka_debiased": similarity.debiased_cka,
    "procrustes": similarity.procrustes,
    "pc1_cosine": similarity.pc1_cosine,
    "pca_shift": similarity.pca_shift,
    "pca_distance": similarity.pca_distance,
}
METRICS = (*OF_ROWS, *OF_CLOUDS)

UNPAIRED = ("pc1_cosine", "pca_shift", "pca_distance")
"""Metrics that do not ask which rows belong together, and so have no floor."""

NO_FLOOR = "no floor: it does not ask which rows belong together"
NO_CONTEXT = "no other context was captured"


def representation_drift(
    activations: StateActivations | Mapping[str, Activations],
    *,
    roles: Mapping[str, str],
    base: str = "clean",
    states: Sequence[str] | None = None,
    other_context: Activations | None = None,
    site: str = "resid",
    layers: Sequence[int] | None = None,
    positions: Sequence[str] | None = None,
    permutations: int = 4,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of the table `drift`: one per state, layer, position, role and metric.

    `value` is the metric of the state against `base`; `floor` its mean over `permutations` of the
    base against its own rows in a random order; `other_context` the base against itself on other
    few-shot examples of the same facts. `n` counts the rows compared. A number that cannot be had
    is None, and `reason` says why.

    Args:
        activations: what was captured of each state, on the same prompts.
        roles: fact_id -> role of the fact; rows are compared in each role, and all together.
        states: default: all but `base`.
        other_context: the base captured on other few-shot examples; default: other contexts among
            its own rows, where it was captured on several.
        layers, positions: default: all captured ones.

    Raises:
        ConfigError: a state, site, layer or position that was not captured; no permutations.
    """
    if permutations < 1:
        raise ConfigError(f"permutations={permutations}: a floor needs at least 1")
    known = list(activations)
    for name in (base, *(states or ())):
        if name not in known:
            raise unknown_name("captured state", name, known)
    own = activations[base]
    wanted = [name for name in known if name != base] if states is None else states
    compared = _Compared(
        base=own, other=other_context or own, roles=roles, permutations=permutations, seed=seed
    )
    rows = []
    for layer in own.layers(site) if layers is None else layers:
        for position in own.positions if positions is None else positions:
            place = {"site": site, "layer": layer, "position": position}
            groups = list(compared.groups(place))
            for state in wanted:
                fixed = {"state": state, "base": base, **place}
                x = _rows_of(activations[state], own, place)
                rows += [row for group in groups for row in _group_rows(fixed, group, x)]
    return rows


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The base's rows of one role, at one place."""

    role: str
    chosen: Int[np.ndarray, " row"]
    x: Float[np.ndarray, "row width"]
    cloud: Cloud | None
    floors: dict[str, float | None]
    contexts: dict[str, float | None]
    problem: str | None
    """Why nothing can be compared."""


@dataclass(frozen=True, kw_only=True)
class _Compared:
    base: Activations
    other: Activations
    roles: Mapping[str, str]
    permutations: int
    seed: int

    def groups(self, place: Mapping[str, Any]) -> Iterator[_Group]:
        prompts = self.base.prompts
        x = self.base.select(**place).astype(np.float64)
        pairs = _other_contexts(self.base, self.other)
        again = self.other.select(**place).astype(np.float64) if pairs else x
        of_rows = [self.roles.get(prompt.fact_id) for prompt in prompts]
        for role in (ALL, *dict.fromkeys(role for role in of_rows if role is not None)):
            chosen = np.array([r for r, own in enumerate(of_rows) if role in (ALL, own)], dtype=int)
            cloud, problem = _cloud(x[chosen])
            paired = [row for row in chosen.tolist() if row in pairs]
            yield _Group(
                role=role,
                chosen=chosen,
                x=x[chosen],
                cloud=cloud,
                floors=_none() if cloud is None else self._floors(x[chosen], cloud),
                contexts=_contexts(x[paired], again[[pairs[row] for row in paired]]),
                problem=problem,
            )

    def _floors(self, x: Float[np.ndarray, "row width"], cloud: Cloud) -> dict[str, float | None]:
        draw = np.random.default_rng(self.seed)
        orders = [draw.permutation(len(x)) for _ in range(self.permutations)]
        found = _none()
        for name, of_rows in OF_ROWS.items():
            found[name] = float(np.mean([of_rows(x, x[order]) for order in orders]))
        for name, of_clouds in OF_CLOUDS.items():
            if name not in UNPAIRED:
                values = [of_clouds(cloud, cloud.permuted(order)) for order in orders]
                found[name] = float(np.mean(values))
        return found


def _none() -> dict[str, float | None]:
    return dict.fromkeys(METRICS)


def _cloud(x: Float[np.ndarray, "row width"]) -> tuple[Cloud | None, str | None]:
    """The rows' geometry, or why they have none."""
    if not np.isfinite(x).all():
        return None, "activations are not finite"
    try:
        return Cloud.of(x), None
    except ValueError as problem:
        return None, str(problem)


def _contexts(
    x: Float[np.ndarray, "row width"], y: Float[np.ndarray, "row width"]
) -> dict[str, float | None]:
    """Every metric of the base against itself in other contexts."""
    one, _ = _cloud(x)
    other, _ = _cloud(y)
    if one is None or other is None:
        return _none()
    found = {name: of_rows(x, y) for name, of_rows in OF_ROWS.items()}
    return {**found, **{name: metric(one, other) for name, metric in OF_CLOUDS.items()}}


def _other_contexts(base: Activations, other: Activations) -> dict[int, int]:
    """Row of the base -> the row of the same fact in the next other context."""
    of_fact: dict[str, list[tuple[int, int]]] = {}
    for row, prompt in enumerate(other.prompts):
        of_fact.setdefault(prompt.fact_id, []).append((prompt.context_id, row))
    pairs: dict[int, int] = {}
    for row, prompt in enumerate(base.prompts):
        found = sorted(of_fact.get(prompt.fact_id, ()))
        later = [at for context, at in found if context > prompt.context_id]
        earlier = [at for context, at in found if context < prompt.context_id]
        if later or earlier:
            pairs[row] = (later or earlier)[0]
    return pairs


def _rows_of(
    activations: Activations, base: Activations, place: Mapping[str, Any]
) -> Float[np.ndarray, "row width"] | str:
    """A state's activations, or why they cannot be compared."""
    if activations.prompts != base.prompts:
        return "other prompts were captured than of the base"
    return activations.select(**place).astype(np.float64)


def _group_rows(
    fixed: Mapping[str, Any], group: _Group, x: Float[np.ndarray, "row width"] | str
) -> list[dict[str, Any]]:
    values: dict[str, float | None] = _none()
    problem = group.problem
    if isinstance(x, str):
        problem = x
    elif group.cloud is not None:
        own = x[group.chosen]
        cloud, problem = _cloud(own)
        if cloud is not None:
            values |= {name: metric(group.x, own) for name, metric in OF_ROWS.items()}
            values |= {name: metric(group.cloud, cloud) for name, metric in OF_CLOUDS.items()}
    rows = []
    for name in METRICS:
        reasons = [] if problem is None else [problem]
        if group.floors[name] is None and group.problem is None:
            reasons.append(NO_FLOOR)
        if group.contexts[name] is None and group.problem is None:
            reasons.append(NO_CONTEXT)
        rows.append(
            {
                **fixed,
                "role": group.role,
                "metric": name,
                "value": values[name],
                "floor": group.floors[name],
                "other_context": group.contexts[name],
                "n": len(group.chosen),
                "reason": "; ".join(reasons) or None,
            }
        )
    return rows
