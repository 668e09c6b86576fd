"""How well a score of uncertainty ranks the examples. NumPy alone, so that a report needs no torch.

Scores (N,): larger means less certain. Tensors are taken too. Where scores are equal, each value
is the one to expect of a random order among them, so that no value depends on the examples' order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ocd.errors import OCDError

Array = NDArray[np.float64]


def auroc(scores: Any, errors: Any) -> float | None:
    """Chance that an example that errs has a larger score than one that does not, half for a tie.

    Scores (N,) and errors (N,), 1 where the example errs, else 0. 0.5 is chance, 1 perfect. None
    where there is nothing to tell apart, because all examples err or none does, and where a score
    is NaN. The area under the ROC curve is the Mann-Whitney statistic (Hanley & McNeil 1982).
    """
    scores, errors = _pair(scores, errors, "errors")
    if not np.isin(errors, (0, 1)).all():
        raise OCDError("errors are 1 where an example errs, else 0: got other values")
    num_errors = errors.sum()
    num_pairs = num_errors * (len(errors) - num_errors)
    if num_pairs == 0 or np.isnan(scores).any():
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # from 1, the middle one for ties
    return float((ranks[errors == 1].sum() - num_errors * (num_errors + 1) / 2) / num_pairs)


def risk_coverage(scores: Any, risks: Any) -> tuple[Array, Array]:
    """Mean risk of the most certain examples, by how many of them are answered.

    Scores (N,) and risks (N,), any loss of each example -> coverage (N,), the shares 1/N to 1, and
    the mean risk (N,) of that share. The last is the mean of all (Geifman & El-Yaniv 2017).
    """
    scores, risks = _pair(scores, risks, "risks")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    expected = np.repeat(np.bincount(group, weights=risks) / sizes, sizes)
    answered = np.arange(1, len(scores) + 1)
    return answered / len(scores), np.cumsum(expected) / answered


def area_under_risk_coverage(scores: Any, risks: Any) -> float:
    """Mean of `risk_coverage` over the coverages, in the risks' unit; lower is better.

    A score that says nothing has about the mean risk (AURC; Geifman, Uziel & El-Yaniv 2019).
    """
    return float(risk_coverage(scores, risks)[1].mean())


def _pair(scores: Any, values: Any, name: str) -> tuple[Array, Array]:
    scores, values = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != values.shape or not len(scores):
        raise OCDError(
            f"scores and {name} are one number an example, (N,): got {scores.shape} and {values.shape}"
        )
    return scores, values
