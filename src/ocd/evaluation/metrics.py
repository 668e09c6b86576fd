"""Numbers that judge predictions, and scores that say how certain they are.

N examples, C classes, K draws. A metric X(outputs, targets) is one number of a whole test set; where
there is an X_per_example, (N,), X is its mean. Whatever comes in is computed in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.errors import OCDError

NUM_BINS = 15
LARGEST_PSNR = 100.0
SMALLEST_VIEW = 6
"""Pixels a side: the window of SSIM reaches five pixels beyond its middle, mirrored at the edge."""


@dataclass(frozen=True)
class Metric:
    """One number of a whole test set."""

    fn: Callable[[Tensor, Tensor], float]
    """(outputs (N, ...), targets (N, ...)) -> the value."""
    higher_is_better: bool
    unit: str = ""
    per_example: Callable[[Tensor, Tensor], Tensor] | None = None
    """(outputs, targets) -> (N,) whose mean is the value, where there is one."""


# Classification: logits (N, C) and classes (N,).


def cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    """Mean negative log probability of the right class, in nats."""
    return cross_entropy_per_example(outputs, targets).mean().item()


def cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, classes = _classification(outputs, targets)
    return F.cross_entropy(logits, classes, reduction="none")


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Per cent of examples whose largest logit is the right class's."""
    return accuracy_per_example(outputs, targets).mean().item()


def accuracy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """100 or 0."""
    logits, classes = _classification(outputs, targets)
    return 100.0 * (logits.argmax(dim=1) == classes).double()


def calibration_error(outputs: Tensor, targets: Tensor) -> float:
    """Expected calibration error in per cent: mean gap between confidence and accuracy.

    Fifteen bins of equal width by the largest probability; the gaps are weighted by the bins'
    counts (Guo et al. 2017). NaN where a logit is.
    """
    logits, classes = _classification(outputs, targets)
    probabilities = logits.softmax(dim=1)
    if not probabilities.isfinite().all():
        return math.nan  # torchmetrics would count a NaN as a confidence of zero
    # torchmetrics gives a confidence of exactly 1 a sixteenth bin. The largest float32 below 1,
    # its precision, keeps such examples in the fifteenth.
    probabilities = probabilities.clamp_max(1 - 2**-24)
    error: Tensor = _torchmetrics("classification").multiclass_calibration_error(
        probabilities, classes, num_classes=logits.shape[1], n_bins=NUM_BINS, norm="l1"
    )
    return 100 * error.item()


def brier(outputs: Tensor, targets: Tensor) -> float:
    """Brier score: squared error of the probabilities, summed over the classes; 0 to 2 (Brier 1950)."""
    return brier_per_example(outputs, targets).mean().item()


def brier_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, classes = _classification(outputs, targets)
    return (logits.softmax(dim=1) - F.one_hot(classes, logits.shape[1])).square().sum(dim=1)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    """Mean over examples and classes of the binary cross-entropy of each softmax probability, in nats.

    -(y log p + (1 - y) log(1 - p)) with y one-hot: the column of the paper's table on CIFAR.
    """
    return binary_cross_entropy_per_example(outputs, targets).mean().item()


def binary_cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, classes = _classification(outputs, targets)
    log_p = logits.log_softmax(dim=1)
    is_top = F.one_hot(log_p.argmax(dim=1), logits.shape[1]).bool()
    # 1 - p is the sum of the others. Only at the largest p does the difference lose its digits.
    others = log_p.masked_fill(is_top, -math.inf).logsumexp(dim=1, keepdim=True)
    log_not_p = torch.where(is_top, others, torch.log1p(-log_p.exp()))
    is_target = F.one_hot(classes, logits.shape[1]).bool()
    return -torch.where(is_target, log_p, log_not_p).mean(dim=1)


# Regression: outputs and targets of one shape, (N,) or (N, ...), averaged over an example's outputs.


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error, in the targets' unit."""
    return math.sqrt(mse(outputs, targets))


def mse(outputs: Tensor, targets: Tensor) -> float:
    """Mean squared error."""
    return mse_per_example(outputs, targets).mean().item()


def mse_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    return _differences(outputs, targets).square().mean(dim=1)


def mae(outputs: Tensor, targets: Tensor) -> float:
    """Mean absolute error, in the targets' unit."""
    return mae_per_example(outputs, targets).mean().item()


def mae_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    return _differences(outputs, targets).abs().mean(dim=1)


# Views: images (N, C, H, W) of pixels in 0..1.


def psnr(outputs: Tensor, targets: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the mean over the images; at most 100 for an exact image."""
    return psnr_per_example(outputs, targets).mean().item()


def psnr_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs, targets = _views(outputs, targets)
    ratio: Tensor = _torchmetrics("image").peak_signal_noise_ratio(
        outputs, targets, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return ratio.clamp_max(LARGEST_PSNR)  # an exact image has infinitely many, which no mean survives


def ssim(outputs: Tensor, targets: Tensor) -> float:
    """Structural similarity, 1 for equal images: Gaussian window of 11 pixels (Wang et al. 2004)."""
    return ssim_per_example(outputs, targets).mean().item()


def ssim_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs, targets = _views(outputs, targets)
    if min(outputs.shape[2:]) < SMALLEST_VIEW:
        raise OCDError(
            f"SSIM needs images of {SMALLEST_VIEW}x{SMALLEST_VIEW} pixels or more: "
            f"got {'x'.join(map(str, outputs.shape[2:]))}"
        )
    similarity: Tensor = _torchmetrics("image").structural_similarity_index_measure(
        outputs, targets, data_range=1.0, reduction="none"
    )
    return similarity


# Uncertainty: scores (N,), larger where less certain. How well they rank: `auroc`, `risk_coverage`.


CLASSIFIER_METRICS: dict[str, Metric] = {
    "cross_entropy": Metric(
        cross_entropy, higher_is_better=False, per_example=cross_entropy_per_example
    ),
    "accuracy": Metric(accuracy, higher_is_better=True, unit="%", per_example=accuracy_per_example),
    "calibration_error": Metric(calibration_error, higher_is_better=False, unit="%"),
    "brier": Metric(brier, higher_is_better=False, per_example=brier_per_example),
    "binary_cross_entropy": Metric(
        binary_cross_entropy, higher_is_better=False, per_example=binary_cross_entropy_per_example
    ),
}

REGRESSION_METRICS: dict[str, Metric] = {
    "rmse": Metric(rmse, higher_is_better=False),
    "mse": Metric(mse, higher_is_better=False, per_example=mse_per_example),
    "mae": Metric(mae, higher_is_better=False, per_example=mae_per_example),
}

VIEW_METRICS: dict[str, Metric] = {
    "mse": Metric(mse, higher_is_better=False, per_example=mse_per_example),
    "psnr": Metric(psnr, higher_is_better=True, unit="dB", per_example=psnr_per_example),
    "ssim": Metric(ssim, higher_is_better=True, per_example=ssim_per_example),
}


def _classification(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in double precision and classes, where they fit."""
    shape = tuple(outputs.shape)
    if outputs.ndim != 2 or shape[0] < 1 or shape[1] < 2:
        raise OCDError(f"a classifier's outputs are logits (N, C), N from 1 and C from 2: got {shape}")
    if targets.shape != shape[:1] or targets.is_floating_point() or targets.dtype == torch.bool:
        raise OCDError(
            f"the targets of logits {shape} are classes {shape[:1]}, whole numbers: "
            f"got {tuple(targets.shape)}, {targets.dtype}"
        )
    smallest, largest = int(targets.min()), int(targets.max())
    if smallest < 0 or largest >= shape[1]:
        raise OCDError(
            f"the classes of logits {shape} are 0 to {shape[1] - 1}: got {smallest} to {largest}"
        )
    return outputs.double(), targets.long()


def _differences(outputs: Tensor, targets: Tensor) -> Tensor:
    """outputs - targets, (N, outputs of an example). Without the check (N, 1) - (N,) were (N, N)."""
    if outputs.shape != targets.shape or outputs.ndim < 1 or not outputs.numel():
        raise OCDError(
            "outputs and targets have one shape (N, ...) and one example or more: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return (outputs.double() - targets.double()).reshape(len(outputs), -1)


def _views(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if outputs.shape != targets.shape or outputs.ndim != 4 or not outputs.numel():
        raise OCDError(
            "views are images (N, C, H, W) like their targets: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return outputs.double(), targets.double()


def _torchmetrics(part: str) -> Any:
    """torchmetrics.functional.`part`, imported on demand: that takes seconds."""
    try:
        return import_module(f"torchmetrics.functional.{part}")
    except ImportError as error:
        raise OCDError("this metric needs torchmetrics: pip install torchmetrics") from error
