"""Metrics of a classifier: logits (N, C) and classes (N,)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.errors import OCDError
from ocd.evaluation.metric import Metric, import_torchmetrics

NUM_BINS = 15
"""Bins of the calibration error."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    """Mean negative log probability of the right class, in nats."""
    return cross_entropy_per_example(outputs, targets).mean().item()


def cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log probability of the right class of each example, (N,), in nats."""
    logits, classes = _check(outputs, targets)
    return F.cross_entropy(logits, classes, reduction="none")


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Per cent of examples whose largest logit is the right class's."""
    return accuracy_per_example(outputs, targets).mean().item()


def accuracy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """100 where an example is right, else 0: (N,)."""
    logits, classes = _check(outputs, targets)
    return 100.0 * (logits.argmax(dim=1) == classes).double()


def calibration_error(outputs: Tensor, targets: Tensor) -> float:
    """Expected calibration error in per cent: the mean gap between confidence and accuracy.

    The examples are put into 15 bins of equal width by their largest probability. The gaps are weighted
    by the bins' counts (Guo et al. 2017). NaN if a logit is NaN.
    """
    logits, classes = _check(outputs, targets)
    probabilities = logits.softmax(dim=1)
    if not probabilities.isfinite().all():
        return math.nan  # torchmetrics would count a NaN as a confidence of zero
    # torchmetrics puts a confidence of exactly 1 into a sixteenth bin. The largest float32 below 1 (the
    # precision that it works in) keeps such examples in the fifteenth.
    probabilities = probabilities.clamp_max(1 - 2**-24)
    error: Tensor = import_torchmetrics("classification").multiclass_calibration_error(
        probabilities, classes, num_classes=logits.shape[1], n_bins=NUM_BINS, norm="l1"
    )
    return 100 * error.item()


def brier(outputs: Tensor, targets: Tensor) -> float:
    """Brier score: squared error of the probabilities, summed over the classes; 0 to 2 (Brier 1950)."""
    return brier_per_example(outputs, targets).mean().item()


def brier_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Brier score of each example, (N,)."""
    logits, classes = _check(outputs, targets)
    return (logits.softmax(dim=1) - F.one_hot(classes, logits.shape[1])).square().sum(dim=1)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    """Mean over examples and classes of each softmax probability's binary cross-entropy, in nats.

    -(y log p + (1 - y) log(1 - p)) with one-hot y: the column of the paper's table on CIFAR.
    """
    return binary_cross_entropy_per_example(outputs, targets).mean().item()


def binary_cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each example, the mean over its C probabilities: (N,), in nats."""
    logits, classes = _check(outputs, targets)
    log_p = logits.log_softmax(dim=1)
    is_top = F.one_hot(log_p.argmax(dim=1), logits.shape[1]).bool()
    # 1 - p loses its digits only where p is the largest probability. There it is the sum of the others.
    others = log_p.masked_fill(is_top, -math.inf).logsumexp(dim=1, keepdim=True)
    log_not_p = torch.where(is_top, others, torch.log1p(-log_p.exp()))
    is_target = F.one_hot(classes, logits.shape[1]).bool()
    return -torch.where(is_target, log_p, log_not_p).mean(dim=1)


def matthews(outputs: Tensor, targets: Tensor) -> float:
    """Matthews correlation of answers and classes, in per cent (Gorodkin 2004); 0 where all answers, or
    all classes, are one."""
    logits, classes = _check(outputs, targets)
    answers = F.one_hot(logits.argmax(dim=1), logits.shape[1]).double()
    right = F.one_hot(classes, logits.shape[1]).double()
    answers, right = answers - answers.mean(dim=0), right - right.mean(dim=0)
    size = (answers.square().sum() * right.square().sum()).sqrt()
    return 100 * float((answers * right).sum() / size) if size > 0 else 0.0


MATTHEWS = Metric(matthews, higher_is_better=True, unit="%", of_answers=True)
"""Of classes of unequal size, such as AmazonCF's."""

CLASSIFIER_METRICS: dict[str, Metric] = {
    "cross_entropy": Metric(
        cross_entropy, higher_is_better=False, per_example=cross_entropy_per_example
    ),
    "accuracy": Metric(accuracy, higher_is_better=True, unit="%", per_example=accuracy_per_example),
    "calibration_error": Metric(
        calibration_error, higher_is_better=False, unit="%", needs="torchmetrics"
    ),
    "brier": Metric(brier, higher_is_better=False, per_example=brier_per_example),
    "binary_cross_entropy": Metric(
        binary_cross_entropy, higher_is_better=False, per_example=binary_cross_entropy_per_example
    ),
}


def _check(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in double precision, and classes. Raises OCDError where they do not fit together."""
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
