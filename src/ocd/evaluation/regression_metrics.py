"""Metrics of a regression: outputs and targets of one shape, (N,) or (N, ...).

The outputs of an example are averaged.
"""

from __future__ import annotations

import math

from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation.metric import Metric


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error, in the targets' unit."""
    return math.sqrt(mse(outputs, targets))


def mse(outputs: Tensor, targets: Tensor) -> float:
    """Mean squared error, in the targets' unit squared."""
    return mse_per_example(outputs, targets).mean().item()


def mse_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each example, (N,)."""
    return _differences(outputs, targets).square().mean(dim=1)


def mae(outputs: Tensor, targets: Tensor) -> float:
    """Mean absolute error, in the targets' unit."""
    return mae_per_example(outputs, targets).mean().item()


def mae_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Absolute error of each example, (N,)."""
    return _differences(outputs, targets).abs().mean(dim=1)


REGRESSION_METRICS: dict[str, Metric] = {
    "rmse": Metric(rmse, higher_is_better=False),
    "mse": Metric(mse, higher_is_better=False, per_example=mse_per_example),
    "mae": Metric(mae, higher_is_better=False, per_example=mae_per_example),
}


def _differences(outputs: Tensor, targets: Tensor) -> Tensor:
    """outputs - targets in double precision, (N, outputs of an example).

    Raises OCDError for two shapes: (N, 1) - (N,) would be (N, N).
    """
    if outputs.shape != targets.shape or outputs.ndim < 1 or not outputs.numel():
        raise OCDError(
            "outputs and targets have one shape (N, ...) and one example or more: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return (outputs.double() - targets.double()).reshape(len(outputs), -1)
