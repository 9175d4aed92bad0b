"""One probe at every layer, position and state, with its controls: rows of the table `probes`.

Each value stands in one row per control:

    labels shuffled          the same probe on labels exchanged within their stratum; `p` is the
                             permutation p-value of the value
    commonest label          what always giving the commonest label of the row's stratum (its
                             relation) in the training rows would score
    subject embedding only   the same probe on layer 0 at the subject's last token: its spelling
    random weights           the same probe on a model of the same shape that has learnt nothing
    wrong entity             the same fits reading the same question about another entity, for
                             which the label is kept

A control that was not captured is a row with a reason, and so is a value that cannot be measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from restor_interp.errors import RestorError, unknown_name
from restor_interp.measure.probing.folds import Folds
from restor_interp.measure.probing.places import (
    Found,
    RowPlaces,
    base_state,
    chosen_layers,
    control_rows,
    read_matching,
    read_states,
    read_wrong_entity,
)
from restor_interp.measure.probing.scores import Probe, mean_accuracy, permutation_p
from restor_interp.measure.probing.transferring import Fit, compare_states, fit_or_reason
from restor_interp.models.activations import StateActivations

EACH = "each state"
"""`fitted_on` of a probe that is fitted on the state that it reads."""

SHUFFLED, PRIOR, EMBEDDING = "labels shuffled", "commonest label", "subject embedding only"
RANDOM, WRONG = "random weights", "wrong entity"
CONTROLS = (SHUFFLED, PRIOR, EMBEDDING, RANDOM, WRONG)

RANDOM_WEIGHTS = "random_weights"
"""Under which name the model with random weights is captured."""


def survey_states(
    activations: StateActivations,
    fits: Mapping[str, Fit],
    *,
    rows: RowPlaces | None = None,
    site: str = "resid",
    layers: int | Sequence[int] = 3,
    positions: Sequence[str | int] = ("subject_last", "last"),
    controls: Sequence[str] = CONTROLS,
    only_base: Sequence[str] = (),
    split_by: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit probes on the base state and on each state, and read every state with them.

    Args:
        fits: metric -> how its probe is fitted, `lambda folds, others: fit_probe(folds, labels,
            transfer=others)`. All metrics of one place share its folds.
        rows: places of the captured prompts that have labels, in their order (default: all).
        layers: every so many of them and the last, or a list of layers.
        controls: of `CONTROLS`, those that mean something for these rows.
        only_base: metrics that are fitted on the base state alone, because that takes long.
        split_by: as in `Folds`, of the rows.

    Returns rows with the columns of the table, `chance`, `reciprocal_rank`, `p` and `reason`. The
    base state is `clean`, or the first where it was not captured. One probe that fails is a
    reason in its rows and does not stop the others.
    """
    survey = _Survey(
        activations=activations,
        rows=rows,
        site=site,
        split_by=split_by,
        controls=controls,
        folds=folds,
        seed=seed,
    )
    for name in controls:
        if name not in CONTROLS:
            raise unknown_name("control of a probe", name, CONTROLS)
    base = survey.base
    prompts = activations[base].prompts
    spelt: Folds | str = ""
    if EMBEDDING in controls:
        spelt = survey.split(
            read_matching(activations[base], prompts, rows, "resid", 0, "subject_last")
        )
    of_spelling: dict[str, Probe | str] = {}
    table = []
    for layer in chosen_layers(activations[base].layers(site), layers):
        for position in positions:
            place = survey.read(layer, position)
            for metric, fit in fits.items():
                beside: dict[str, Probe | str] = {}
                if EMBEDDING in controls:
                    of_spelling.setdefault(metric, fit_or_reason(fit, spelt, {}))
                    beside[EMBEDDING] = of_spelling[metric]
                if RANDOM in controls:
                    beside[RANDOM] = fit_or_reason(fit, place.random, {})
                fixed = {"layer": layer, "position": position, "metric": metric}
                each = metric not in only_base
                table += _rows_at(fixed, place, fit, beside, survey, each=each)
    return table


def survey_transfer(
    activations: StateActivations,
    fit: Fit,
    *,
    untouched: Sequence[bool] | Bool[np.ndarray, " row"],
    rows: RowPlaces | None = None,
    site: str = "resid",
    layers: int | Sequence[int] = 3,
    positions: Sequence[str | int] = ("subject_last", "last"),
    folds: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """`compare_states` at every layer and position: loss and rotation, with untouched entities
    as their control. The arguments are those of `survey_states` and `compare_states`."""
    base = base_state(activations)
    prompts = activations[base].prompts
    kept = list(range(len(prompts)) if rows is None else rows)
    entities = [prompts[row].entity for row in kept]
    table = []
    for layer in chosen_layers(activations[base].layers(site), layers):
        for position in positions:
            found = read_states(activations, layer=layer, position=position, site=site, rows=kept)
            usable = {state: x for state, x in found.items() if not isinstance(x, str)}
            problem, compared = "", {}
            try:
                compared = compare_states(
                    usable,
                    fit,
                    entities=entities,
                    untouched=untouched,
                    base=base,
                    folds=folds,
                    seed=seed,
                )
            except RestorError as error:
                problem = str(error)
            for state, x in found.items():
                if state == base:
                    continue
                for metric in ("loss", "rotation", "rotation_recentred", "rotation_aligned"):
                    fixed = {"layer": layer, "position": position, "metric": metric}
                    fixed |= {"state": state, "fitted_on": base, "n": len(kept)}
                    if isinstance(x, str) or problem:
                        table += control_rows(fixed, x if isinstance(x, str) else problem)
                        continue
                    one = compared[state]
                    fixed |= {"n": one.touched.n}
                    control = {"untouched entities": getattr(one.untouched, metric)}
                    table += control_rows(fixed, getattr(one.touched, metric), control)
    return table


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What was captured at one layer and position."""

    found: Mapping[str, Folds | str]
    """State -> its rows, split; or why there are none."""
    wrong: Mapping[str, Found]
    random: Folds | str
    n: int

    def states_to_read(self) -> dict[str, Float[np.ndarray, "row width"]]:
        """Every state's activations, under the name `own …`."""
        return {
            f"own {state}": folds.x
            for state, folds in self.found.items()
            if isinstance(folds, Folds)
        }

    def wrong_to_read(self, states: Sequence[str]) -> dict[str, Float[np.ndarray, "row width"]]:
        """The same questions about other entities, under the name `wrong …`."""
        read = {f"wrong {state}": self.wrong[state] for state in states}
        return {name: x for name, x in read.items() if not isinstance(x, str)}


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """What is read, and how it is split."""

    activations: StateActivations
    rows: RowPlaces | None
    site: str
    split_by: Sequence[str] | None
    controls: Sequence[str]
    folds: int
    seed: int

    @property
    def base(self) -> str:
        return base_state(self.activations)

    def split(self, x: Found) -> Folds | str:
        if isinstance(x, str):
            return x
        prompts = self.activations[self.base].prompts
        kept = range(len(prompts)) if self.rows is None else self.rows
        entities = [prompts[row].entity for row in kept]
        try:
            return Folds(
                x, entities=entities, split_by=self.split_by, folds=self.folds, seed=self.seed
            )
        except RestorError as problem:  # too few entities
            return str(problem)

    def read(self, layer: int, position: str | int) -> _Place:
        everything, rows = self.activations, self.rows
        prompts = everything[self.base].prompts
        random: Found = "it was not captured"
        if RANDOM in self.controls and RANDOM_WEIGHTS in everything.controls:
            captured = everything.controls[RANDOM_WEIGHTS]
            random = read_matching(captured, prompts, rows, self.site, layer, position)
        found = read_states(everything, layer=layer, position=position, site=self.site, rows=rows)
        return _Place(
            found={state: self.split(x) for state, x in found.items()},
            wrong={
                state: read_wrong_entity(everything, state, rows, self.site, layer, position)
                if WRONG in self.controls
                else "it was not asked for"
                for state in everything
            },
            random=self.split(random),
            n=len(prompts) if rows is None else len(rows),
        )


def _rows_at(
    fixed: Mapping[str, Any],
    place: _Place,
    fit: Fit,
    beside: Mapping[str, Probe | str],
    survey: _Survey,
    *,
    each: bool,
) -> list[dict[str, Any]]:
    """Rows of one metric at one place: every state, read by the base state's probe and its own."""
    base = survey.base
    of_base = fit_or_reason(
        fit, place.found[base], place.states_to_read() | place.wrong_to_read(list(place.found))
    )
    table = []
    for state, folds in place.found.items():
        read = {base: folds if isinstance(folds, str) else of_base}
        if each and state == base:
            read[EACH] = of_base
        elif each:
            read[EACH] = fit_or_reason(fit, folds, place.wrong_to_read([state]))
        for fitted_on, probe in read.items():
            about = {**fixed, "state": state, "fitted_on": fitted_on, "n": place.n}
            if isinstance(probe, str):
                table += control_rows(about, probe)
                continue
            score, shuffled = probe.score, probe.shuffled
            if fitted_on == base:
                score = probe.transfer[f"own {state}"]
                shuffled = probe.transfer_shuffled[f"own {state}"]
            about |= {"chance": probe.chance, "reciprocal_rank": score.reciprocal_rank}
            about |= {"p": permutation_p(score, shuffled)}
            wrong = place.wrong[state]
            if not isinstance(wrong, str):
                wrong = probe.transfer[f"wrong {state}"].accuracy
            values: dict[str, float | str] = {
                SHUFFLED: mean_accuracy(shuffled),
                PRIOR: probe.prior.accuracy,
                WRONG: wrong,
            }
            for name, control in beside.items():
                values[name] = control if isinstance(control, str) else control.score.accuracy
            asked = {name: values[name] for name in CONTROLS if name in survey.controls}
            table += control_rows(about, score.accuracy, asked)
    return table
