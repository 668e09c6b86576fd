"""Regression of tables, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from ocd.errors import OCDError
from ocd.estimators.table_model import Array, TableModel

LEAST_STEPS = 100
"""Of a number of 64 bits, that the standard deviation of y must span."""


@dataclass(frozen=True)
class Unit:
    """The unit of y: its `mean` and standard deviation `std`. The fit sees standard deviations from the
    mean, so that neither counts; all of it is in double precision, which a year in seconds needs."""

    mean: float
    std: float

    @classmethod
    def of(cls, y: Array) -> Unit:
        """Of finite numbers (n,). Raises OCDError where they do not vary, or not enough for 64 bits."""
        least, most = float(y.min()), float(y.max())
        if least == most:
            raise OCDError(f"y is {least:g} in all {len(y)} rows: there is nothing to learn")
        with np.errstate(over="ignore", under="ignore"):
            mean, std = float(y.mean()), float(y.std())
        step = float(np.spacing(max(abs(least), abs(most))))
        if not LEAST_STEPS * step <= std < np.inf:
            raise OCDError(
                f"y goes from {least:g} to {most:g}, with a deviation of {std:.2g} that numbers "
                "of 64 bits do not hold: subtract its mean, or scale it"
            )
        return cls(mean, std)

    def standardised(self, y: Array) -> Array:
        """Numbers (n,) in standard deviations from the mean."""
        found: Array = (y - self.mean) / self.std
        return found

    def __call__(self, values: Tensor) -> Tensor:
        """Back in y's own unit, in double precision."""
        return values.double() * self.std + self.mean


class InOwnUnit(nn.Module):
    """A base of standardised targets, answering in the unit of y: features (B, D) -> (B, 1) double."""

    def __init__(self, network: nn.Module, unit: Unit) -> None:
        super().__init__()
        self.network, self.unit = network, unit

    def forward(self, features: Tensor) -> Tensor:
        return self.unit(self.network(features))


class OCDRegressor(RegressorMixin, TableModel):
    """A network for a table's numbers, whose last layer moves for each row (see TableModel).

    `predict` is the mean of the draws; `predict_quantiles` are theirs, whose spread was chosen to cover
    nine tenths of held-out targets (`sampling.coverage`); with `config={"goal": "distribution"}` it has
    the best score instead, whatever it covers. `notes_` says which, and where residuals of the base are
    better. Usable in Pipeline and GridSearchCV.

    Answers scale with y: the fit is of its standard deviations from its mean, in which `ocd_` answers
    and `notes_` give losses. `base_` answers in y's own unit, as everything else here.
    """

    _kind = "regression"

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """`X` (n, features) and `y` (n,) of finite numbers. `groups` (n,): labels of rows that belong
        together, which are never on both sides of a split. Raises ValueError for anything else, and
        where y does not vary."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._check(len(X))
        numbers = np.asarray(y, dtype=np.float64).reshape(-1)
        self._unit = Unit.of(numbers)
        standardised = self._unit.standardised(numbers).astype(np.float32)
        self._fit(X, torch.from_numpy(standardised)[:, None], 0, groups)
        self.base_ = InOwnUnit(self.base_, self._unit).eval()
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the draws, (n,); with `return_std` their standard deviation too, (n,)."""
        draws = self._drawn(X)
        mean = draws.mean(axis=1)
        return (mean, draws.std(axis=1)) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Quantiles of the draws, (n, len(quantiles)). Few draws have no far quantiles: `draws`."""
        asked = np.asarray(list(quantiles), dtype=np.float64)
        if not asked.size or ((asked < 0) | (asked > 1)).any():
            raise OCDError(f"quantiles are {list(quantiles)}: each must be from 0 to 1")
        found: Array = np.quantile(self._drawn(X), asked, axis=1).T
        return found

    def _drawn(self, X: Any) -> Array:
        """Each row's draws in y's own unit, (n, K). A row's lie side by side in memory, so that their
        mean is summed alike whatever else is asked for."""
        outputs = self._predict(X).outputs[..., 0].T.contiguous()
        return np.asarray(self._unit(outputs).cpu().numpy())
