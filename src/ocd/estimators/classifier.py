"""Classification of tables."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ocd.errors import OCDError
from ocd.estimators.table_model import Array, TableModel


class OCDClassifier(ClassifierMixin, TableModel):
    """A network for a table's classes, whose last layer moves for each row (see TableModel).

    `predict_proba` is the mean of the draws' probabilities. Usable in Pipeline and GridSearchCV.
    """

    _kind = "classification"
    classes_: Array

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """`X` (n, features) of finite numbers and `y` (n,) of class labels, of any type. `groups` (n,):
        labels of rows that belong together, which are never on both sides of a split. Raises
        ValueError for anything else."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise OCDError(f"y has 1 class, {self.classes_[0]!r}: two are needed to tell them apart")
        return self._fit(X, torch.from_numpy(numbers.astype(np.int64)), len(self.classes_), groups)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, classes), in the order of `classes_`."""
        found = self._predict(X)
        logits = self._join(found.outputs)
        return np.asarray(logits.double().softmax(dim=1).cpu().numpy())

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, (n,)."""
        check_is_fitted(self, "ocd_")
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])
