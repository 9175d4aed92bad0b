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
"""

from restor_interp.measure.probing.estimators import TorchProbe
from restor_interp.measure.probing.fitting import fit_direction, fit_probe
from restor_interp.measure.probing.folds import Folds
from restor_interp.measure.probing.learners import LOGISTIC_RIDGES, RIDGES
from restor_interp.measure.probing.scores import Linear, Probe, Score

__all__ = [
    "LOGISTIC_RIDGES",
    "RIDGES",
    "Folds",
    "Linear",
    "Probe",
    "Score",
    "TorchProbe",
    "fit_direction",
    "fit_probe",
]
