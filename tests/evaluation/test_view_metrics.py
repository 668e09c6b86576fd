"""Metrics of views against NumPy and SciPy."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation import VIEW_METRICS
from ocd.evaluation import view_metrics as metrics

SEEDS = st.integers(0, 2**31)


def views(seed: int, num: int = 3, size: tuple[int, int] = (9, 12)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(num, 3, *size, generator=generator)
    return images, (images + 0.1 * torch.rand(images.shape, generator=generator)).clamp_max(1)


def slow_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al. 2004 with SciPy's Gaussian window, averaged over channels and all pixels."""

    def blur(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, 1.5, mode="mirror", radius=5)

    values = []
    for x, y in zip(one, other, strict=True):
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        values.append(luminance * (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2))
    return float(np.mean(values))


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(6, 14), st.integers(6, 14))
def test_view_metrics_agree_with_numpy_and_scipy(seed, num, height, width):
    outputs, targets = views(seed, num, (height, width))
    mse = [(a - b).double().square().mean().item() for a, b in zip(outputs, targets, strict=True)]
    expected = {
        "mse": mse,
        "psnr": [-10 * math.log10(value) for value in mse],
        "ssim": [
            slow_ssim(a.double().numpy(), b.double().numpy())
            for a, b in zip(outputs, targets, strict=True)
        ],
    }
    assert list(expected) == list(VIEW_METRICS)
    for name, metric in VIEW_METRICS.items():
        assert metric.per_example is not None
        assert metric.per_example(outputs, targets).tolist() == pytest.approx(expected[name], rel=1e-5)
        assert metric.fn(outputs, targets) == pytest.approx(np.mean(expected[name]), rel=1e-5)


def test_equal_views_are_finite_and_best():
    images, _ = views(0)
    assert metrics.psnr(images, images) == 100
    assert metrics.ssim(images, images) == pytest.approx(1)
    assert metrics.mse(images, images) == 0
    black = torch.zeros(2, 1, 8, 8)
    assert metrics.ssim(black, black) == pytest.approx(1)
    assert metrics.psnr(black, black + 1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
@pytest.mark.parametrize("shapes", [((3, 8, 8), (3, 8, 8)), ((2, 3, 8, 8), (2, 1, 8, 8))])
def test_what_is_no_batch_of_views_is_refused(metric, shapes):
    with pytest.raises(OCDError, match="images"):
        metric(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_ssim_of_tiny_views_is_refused():
    with pytest.raises(OCDError, match="5x9"):
        metrics.ssim(torch.zeros(1, 3, 5, 9), torch.zeros(1, 3, 5, 9))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_missing_torchmetrics_is_named(metric, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(OCDError, match="pip install torchmetrics"):
        metric(*views(0))
