"""Gradient boosting of trees (scikit-learn's): what a table is worth without any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction

HELD_OUT = 0.2
"""Share of the training examples that the trees do not see: a fifth, as for the base."""


@dataclass(frozen=True)
class Boosting:
    """Boosted trees on features (B, D): their mean (B, 1) for regression, log probabilities (B, C) for
    classes. `residuals` (M, 1): of the examples that they have not seen; None for classes."""

    model: Any
    residuals: Tensor | None

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = _answer(self.model, inputs)
        return Prediction(outputs[None], outputs)


def fit_boosting(training: Examples, seed: int = 0) -> Boosting:
    """Trees on four fifths of the training examples, as many as help on a tenth of these.

    Raises OCDError for inputs that are no table, targets of several numbers, or where scikit-learn is
    not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    except ImportError as error:
        raise OCDError("boosting needs scikit-learn: pip install scikit-learn") from error
    inputs, targets = training.inputs, training.targets
    if not isinstance(inputs, Tensor) or inputs.dim() != 2:
        raise OCDError("boosting is for tables: one tensor of features (B, D)")
    is_class = not targets.is_floating_point()
    if not is_class and targets.numel() != len(targets):
        raise OCDError("boosting answers with one number, or with a class")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    held_out, seen = order.split([int(HELD_OUT * len(order)), len(order) - int(HELD_OUT * len(order))])
    kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    model = kind(
        max_iter=1000, learning_rate=0.05, early_stopping=True, n_iter_no_change=20, random_state=seed
    )
    model.fit(inputs[seen].cpu().numpy(), targets[seen].flatten().cpu().numpy())
    if is_class:
        return Boosting(model, None)
    return Boosting(model, targets[held_out].cpu() - _answer(model, inputs[held_out]))


def _answer(model: Any, inputs: Inputs) -> Tensor:
    assert isinstance(inputs, Tensor)
    features = inputs.cpu().numpy()
    if hasattr(model, "predict_proba"):
        return torch.from_numpy(model.predict_proba(features)).clamp_min(1e-12).log().float()
    return torch.from_numpy(model.predict(features)).float()[:, None]
