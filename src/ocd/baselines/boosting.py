"""Gradient-boosted trees (scikit-learn): the usual baseline for tables, without any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction

HELD_OUT = 0.2
"""Share of the training examples that the trees are not fitted on: a fifth, as for the base."""


@dataclass(frozen=True)
class Boosting:
    """Boosted trees on features (B, D).

    Outputs are means (B, 1) for regression, and log probabilities (B, C) for classes. `residuals`:
    target minus output on the M held-out examples (M, 1), in the target's unit; None for classes.
    """

    model: Any
    residuals: Tensor | None

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = _outputs(self.model, inputs)
        return Prediction(outputs[None], outputs)


def fit_boosting(training: Examples, seed: int = 0) -> Boosting:
    """Fit trees on four fifths of the training examples.

    Trees are added until 20 of them do not help on a tenth of these (scikit-learn's early stopping), at
    most 1,000. Raises OCDError for inputs that are not one tensor (B, D), for targets of several
    numbers, and where scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    except ImportError as error:
        raise OCDError("boosting needs scikit-learn: pip install scikit-learn") from error
    inputs, targets = training.inputs, training.targets
    if not isinstance(inputs, Tensor) or inputs.dim() != 2:
        raise OCDError("boosting is for tables: inputs must be one tensor of features (B, D)")
    is_class = not targets.is_floating_point()
    if not is_class and targets.numel() != len(targets):
        raise OCDError("boosting predicts one number or a class: targets must be (N,) or (N, 1)")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    held_out, seen = order.split([int(HELD_OUT * len(order)), len(order) - int(HELD_OUT * len(order))])
    kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    model = kind(
        max_iter=1000, learning_rate=0.05, early_stopping=True, n_iter_no_change=20, random_state=seed
    )
    model.fit(inputs[seen].cpu().numpy(), targets[seen].flatten().cpu().numpy())
    if is_class:
        return Boosting(model, None)
    return Boosting(model, targets[held_out].cpu() - _outputs(model, inputs[held_out]))


def _outputs(model: Any, inputs: Inputs) -> Tensor:
    """Log probabilities (B, C) or means (B, 1)."""
    assert isinstance(inputs, Tensor)
    features = inputs.cpu().numpy()
    if hasattr(model, "predict_proba"):
        return torch.from_numpy(model.predict_proba(features)).clamp_min(1e-12).log().float()
    return torch.from_numpy(model.predict(features)).float()[:, None]
