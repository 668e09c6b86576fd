"""Regression of tables, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from ocd.errors import OCDError
from ocd.estimators.table_model import Array, TableModel


class OCDRegressor(RegressorMixin, TableModel):
    """A network for a table's numbers, whose last layer moves for each row (see TableModel).

    `predict` is the mean of the draws; `predict_quantiles` are theirs, whose spread was chosen to cover
    nine tenths of held-out targets (`sampling.coverage`). Usable in Pipeline and GridSearchCV.
    """

    _kind = "regression"

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """`X` (n, features) and `y` (n,) of finite numbers. `groups` (n,): labels of rows that belong
        together, which are never on both sides of a split. Raises ValueError for anything else."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        targets = torch.from_numpy(np.asarray(y, dtype=np.float32)).reshape(-1, 1)
        return self._fit(X, targets, 0, groups)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The mean of the draws, (n,); with `return_std` their standard deviation too, (n,)."""
        found = self._predict(X)
        mean = _column(found.mean)
        return (mean, _column(found.std)) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Quantiles of the draws, (n, len(quantiles)). Few draws have no far quantiles: `draws`."""
        asked = np.asarray(list(quantiles), dtype=np.float64)
        if not asked.size or ((asked < 0) | (asked > 1)).any():
            raise OCDError(f"quantiles are {list(quantiles)}: each must be from 0 to 1")
        draws = self._predict(X).outputs[..., 0].double().cpu().numpy()
        found: Array = np.quantile(draws, asked, axis=0).T
        return found


def _column(values: torch.Tensor) -> Array:
    found: Array = values[:, 0].double().cpu().numpy()
    return found
