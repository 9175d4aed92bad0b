"""Probes: what can be read from activations about entities that the probe has not seen?

A probe ranks labels on each row of activations, among the row's own candidates. By default it is a
ridge regression onto one target vector per label: its one-hot vector (a classifier), or a vector
of its own such as the object's unembedding row (a read-out, which can name labels that it was
never trained on). `fit_direction` separates two labels; `fit_probe(estimator=…)` takes any
scikit-learn estimator or torch module.

Rows are split by entity, because a probe that has seen the entity can simply remember it, and
settings are chosen inside the training rows on entities left out. `Folds` holds the one
eigendecomposition per fold that serves every strength, label, kind, shuffled control and set of
other activations.

    folds        rows split by entity, each fold decomposed once
    labels       labels, candidates, and how they are shuffled
    learners     ridge, difference of means, discriminant, logistic regression
    estimators   scikit-learn estimators and torch modules
    fitting      fit_probe, fit_direction
    scores       Probe, Score
    objects      labels and candidates of an object read-out
    alignment    one state carried over to another by what untouched entities show
    transferring  compare_states: loss and rotation
    places       every state at one layer and position
    survey       every layer, position and state with all controls: rows of a table
"""

from restor_interp.measure.probing.alignment import Carried, carry_over
from restor_interp.measure.probing.estimators import TorchProbe
from restor_interp.measure.probing.fitting import fit_direction, fit_probe
from restor_interp.measure.probing.folds import Folds
from restor_interp.measure.probing.learners import LOGISTIC_RIDGES, RIDGES
from restor_interp.measure.probing.objects import ObjectLabels, object_labels
from restor_interp.measure.probing.places import chosen_layers, control_rows, read_states
from restor_interp.measure.probing.scores import Linear, Probe, Score
from restor_interp.measure.probing.survey import survey_states, survey_transfer
from restor_interp.measure.probing.transferring import (
    StateTransfer,
    Transferred,
    compare_states,
    fit_or_reason,
)

__all__ = [
    "LOGISTIC_RIDGES",
    "RIDGES",
    "Carried",
    "Folds",
    "Linear",
    "ObjectLabels",
    "Probe",
    "Score",
    "StateTransfer",
    "TorchProbe",
    "Transferred",
    "carry_over",
    "chosen_layers",
    "compare_states",
    "control_rows",
    "fit_direction",
    "fit_or_reason",
    "fit_probe",
    "object_labels",
    "read_states",
    "survey_states",
    "survey_transfer",
]
