"""How well a score of uncertainty ranks the examples: are errors where the score is large?

Scores (N,) are arrays or tensors; larger means less certain. Where scores are equal, a value is the
mean over all orders of these examples, so that it does not depend on the order that they come in.
NumPy alone, so that a report can be made without torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ocd.errors import OCDError

Array = NDArray[np.float64]
"""Double precision, of any shape."""


def auroc(scores: Any, errors: Any) -> float | None:
    """Probability that an example with an error has a larger score than one without; a tie counts half.

    `scores` (N,); `errors` (N,), 1 for an error, else 0. 0.5 is chance, 1 perfect. None if all examples
    are errors or none is, and if a score is NaN. This area under the ROC curve is the Mann-Whitney
    statistic (Hanley & McNeil 1982). Raises OCDError for other shapes, or other values of `errors`.
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
    """Mean risk of the most certain examples, for every number of them (Geifman & El-Yaniv 2017).

    `scores` (N,) and `risks` (N,), any loss of each example. Returns the coverage (N,), which is the
    share of the examples, 1/N to 1, and the mean risk (N,) of that share, in the risks' unit. The last
    is the mean of all risks.
    """
    scores, risks = _pair(scores, risks, "risks")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    expected = np.repeat(np.bincount(group, weights=risks) / sizes, sizes)
    answered = np.arange(1, len(scores) + 1)
    return answered / len(scores), np.cumsum(expected) / answered


def area_under_risk_coverage(scores: Any, risks: Any) -> float:
    """Mean of `risk_coverage` over the coverages, in the risks' unit; lower is better.

    AURC (Geifman, Uziel & El-Yaniv 2019). A score without information has about the mean risk.
    """
    return float(risk_coverage(scores, risks)[1].mean())


def _pair(scores: Any, values: Any, name: str) -> tuple[Array, Array]:
    """Both as arrays (N,). Raises OCDError for other shapes."""
    scores, values = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != values.shape or not len(scores):
        raise OCDError(
            f"scores and {name} are one number an example, (N,): got {scores.shape} and {values.shape}"
        )
    return scores, values
