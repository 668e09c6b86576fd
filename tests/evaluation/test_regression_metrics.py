"""Metrics of a regression by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation import REGRESSION_METRICS
from ocd.evaluation import regression_metrics as metrics


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_regression_metrics_by_hand():
    outputs, targets = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 4.0, 2.0])
    expected = {"rmse": math.sqrt(13 / 3), "mse": 13 / 3, "mae": 5 / 3}
    assert list(expected) == list(REGRESSION_METRICS)
    for name, metric in REGRESSION_METRICS.items():
        assert metric.fn(outputs, targets) == pytest.approx(expected[name]), name
        assert metric.fn(targets, targets) == 0
    assert metrics.mse_per_example(outputs, targets).tolist() == [0, 4, 9]
    assert metrics.mae_per_example(outputs, targets).tolist() == [0, 2, 3]


def test_several_outputs_are_averaged_for_each_example():
    outputs, targets = normal(6, 2, 3, seed=1), normal(6, 2, 3, seed=2)
    difference = (outputs - targets).double()
    mean_squares = [row.square().mean().item() for row in difference]
    assert metrics.mse_per_example(outputs, targets).tolist() == pytest.approx(mean_squares)
    for name, metric in REGRESSION_METRICS.items():
        if metric.per_example is not None:
            per_example = metric.per_example(outputs, targets)
            assert per_example.shape == (6,)
            assert per_example.mean().item() == pytest.approx(metric.fn(outputs, targets)), name


@pytest.mark.parametrize("name", REGRESSION_METRICS)
@pytest.mark.parametrize(
    "shapes", [((4, 1), (4,)), ((4,), (4, 1)), ((4,), (3,)), ((0,), (0,)), ((), ())]
)
def test_outputs_of_another_shape_are_refused_and_not_broadcast(name, shapes):
    metric = REGRESSION_METRICS[name]
    for fn in [metric.fn, metric.per_example]:
        if fn is not None:
            with pytest.raises(OCDError, match="one shape"):
                fn(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
