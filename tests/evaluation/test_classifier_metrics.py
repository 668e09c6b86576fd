"""Metrics of a classifier against hand computation, SciPy and scikit-learn."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation import CLASSIFIER_METRICS, Metric
from ocd.evaluation import classifier_metrics as metrics
from ocd.tasks import task
from ocd.tasks.images.classification import cross_entropy_per_example

SEEDS = st.integers(0, 2**31)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classification(
    seed: int, num: int = 40, classes: int = 5, scale: float = 3.0
) -> tuple[Tensor, Tensor]:
    """Logits and classes that they predict better than chance, though not always."""
    logits = scale * normal(num, classes, seed=seed)
    targets = (logits + scale * normal(num, classes, seed=seed + 1)).argmax(dim=1)
    return logits, targets


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Guo et al. 2017, bin by bin, in per cent."""
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    total = 0.0
    for i in range(15):
        inside = (confidences >= i / 15) & ((confidences < (i + 1) / 15) | (i == 14))
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidences[inside].mean())
    return 100 * total / len(targets)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 30), st.integers(2, 6), st.sampled_from([0.3, 3.0, 20.0]))
def test_classifier_metrics_agree_with_scipy_and_a_loop(seed, num, classes, scale):
    logits, targets = classification(seed, num, classes, scale)
    p = special.softmax(logits.double().numpy(), axis=1)
    log_p = special.log_softmax(logits.double().numpy(), axis=1)
    expected: dict[str, list[float]] = {name: [] for name in CLASSIFIER_METRICS}
    for i, target in enumerate(targets.tolist()):
        binary = [
            -log_p[i, c] if c == target else -special.logsumexp(np.delete(log_p[i], c))
            for c in range(classes)
        ]
        expected["cross_entropy"].append(-log_p[i, target])
        expected["accuracy"].append(100.0 * (p[i, target] == p[i].max()))
        expected["brier"].append(sum((p[i, c] - (c == target)) ** 2 for c in range(classes)))
        expected["binary_cross_entropy"].append(np.mean(binary))
    for name, metric in CLASSIFIER_METRICS.items():
        if metric.per_example is not None:
            values = metric.per_example(logits, targets)
            assert values.numpy() == pytest.approx(np.array(expected[name]), abs=1e-9)
            assert metric.fn(logits, targets) == pytest.approx(np.mean(expected[name]), abs=1e-9)
    ece = expected_calibration_error(p, targets.numpy())
    assert metrics.calibration_error(logits, targets) == pytest.approx(ece, abs=1e-3)


def test_classifier_metrics_agree_with_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = classification(3, num=200)
    p = logits.double().softmax(1).numpy()
    classes = range(p.shape[1])
    one_hot = np.eye(len(classes))[targets.numpy()]
    expected = {
        "cross_entropy": sklearn_metrics.log_loss(targets, p, labels=classes),
        "accuracy": 100 * sklearn_metrics.accuracy_score(targets, p.argmax(1)),
        "brier": ((p - one_hot) ** 2).sum(1).mean(),
        "binary_cross_entropy": np.mean(
            [sklearn_metrics.log_loss(one_hot[:, c], p[:, c], labels=[0, 1]) for c in classes]
        ),
    }
    for name, value in expected.items():
        assert CLASSIFIER_METRICS[name].fn(logits, targets) == pytest.approx(value), name


def test_two_classes_by_hand():
    logits = torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log()
    targets = torch.tensor([0, 1])
    nats = -(math.log(0.8) + math.log(0.4)) / 2
    expected = {
        "cross_entropy": nats,
        "accuracy": 50.0,
        "calibration_error": 100 * (0.2 + 0.6) / 2,
        "brier": (2 * 0.2**2 + 2 * 0.6**2) / 2,
        "binary_cross_entropy": nats,  # the two classes' probabilities are each other's rest
    }
    assert list(expected) == list(CLASSIFIER_METRICS)
    for name, metric in CLASSIFIER_METRICS.items():
        assert metric.fn(logits, targets) == pytest.approx(expected[name], rel=1e-5), name


@pytest.mark.parametrize("size", [30.0, 1e3, 1e30])
def test_huge_logits_stay_finite(size):
    targets = torch.arange(4)
    right = size * torch.eye(4)
    for name, metric in CLASSIFIER_METRICS.items():
        best = 100 if metric.higher_is_better else 0
        assert metric.fn(right, targets) == pytest.approx(best, abs=1e-4), name
    wrong = right.roll(1, dims=1)
    assert metrics.cross_entropy(wrong, targets) == pytest.approx(size, rel=1e-6)
    # The right class has p ~ exp(-size) and the wrong one 1 - p ~ exp(-size), by three classes.
    expected = (size + size - math.log(3) * (size < 1e3)) / 4
    assert metrics.binary_cross_entropy(wrong, targets) == pytest.approx(expected, rel=2e-3)
    assert metrics.brier(wrong, targets) == pytest.approx(2)
    assert metrics.accuracy(wrong, targets) == 0
    assert metrics.calibration_error(wrong, targets) == pytest.approx(100, abs=1e-4)


def test_binary_cross_entropy_keeps_the_digits_of_a_small_rest():
    logits = torch.tensor([[60.0, 0.0, 0.0]])  # 1 - p = 2 exp(-60) rounds to 0 in double precision
    expected = (60 + 60 - math.log(2) + math.exp(-60)) / 3
    assert metrics.binary_cross_entropy(logits, torch.tensor([1])) == pytest.approx(expected, rel=1e-12)


def test_certain_examples_share_the_last_bin():
    """A confidence of exactly 1 must offset the underconfident examples between 14/15 and 1."""
    sure, nearly = [100.0, 0.0], [math.log(0.95), math.log(0.05)]
    logits = torch.tensor([sure, sure, nearly, nearly])
    targets = torch.tensor([0, 1, 0, 0])
    gap = abs(3 / 4 - (1 + 1 + 0.95 + 0.95) / 4)
    assert metrics.calibration_error(logits, targets) == pytest.approx(100 * gap, abs=1e-3)


def test_calibrated_probabilities_have_no_calibration_error():
    logits = torch.tensor([[0.75, 0.25]]).log().expand(4, 2)
    assert metrics.calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", sorted(set(CLASSIFIER_METRICS) - {"accuracy"}))
def test_nan_is_not_hidden(name):
    logits, targets = classification(0)
    logits[3, 1] = math.nan
    assert math.isnan(CLASSIFIER_METRICS[name].fn(logits, targets))


@pytest.mark.parametrize("name", CLASSIFIER_METRICS)
def test_classifier_metrics_see_the_labels_but_not_the_order(name):
    metric = CLASSIFIER_METRICS[name]
    logits, targets = classification(5, num=300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    value, shuffled = metric.fn(logits, targets), metric.fn(logits, targets[order])
    assert metric.fn(logits[order], targets[order]) == pytest.approx(value, rel=1e-5)
    assert (shuffled < value) if metric.higher_is_better else (shuffled > value)
    if metric.per_example is not None:
        values = metric.per_example(logits, targets)
        assert torch.allclose(metric.per_example(logits[order], targets[order]), values[order])


def test_the_metric_of_a_task_is_the_mean_of_its_loss():
    logits, targets = classification(8)
    losses = cross_entropy_per_example(logits, targets)
    assert losses.dtype == torch.float32
    assert torch.allclose(
        losses.double(), metrics.cross_entropy_per_example(logits, targets), rtol=1e-4
    )


@pytest.mark.parametrize("name", CLASSIFIER_METRICS)
@pytest.mark.parametrize(
    ("shape", "targets", "message"),
    [
        ((4,), [0, 1, 0, 1], r"logits \(N, C\)"),
        ((4, 1), [0, 0, 0, 0], r"logits \(N, C\)"),
        ((0, 3), [], r"logits \(N, C\)"),
        ((2, 4, 3), [0, 1], r"logits \(N, C\)"),
        ((2, 3), [0, 1, 2], "classes"),
        ((2, 3), [[0], [1]], "classes"),
        ((2, 3), [0.0, 1.0], "whole numbers"),
        ((2, 3), [0, 3], "0 to 2: got 0 to 3"),
        ((2, 3), [-100, 1], "0 to 2: got -100 to 1"),
    ],
)
def test_what_is_no_classification_is_refused(name, shape, targets, message):
    metric = CLASSIFIER_METRICS[name]
    for fn in [metric.fn, metric.per_example]:
        if fn is not None:
            with pytest.raises(OCDError, match=message):
                fn(torch.zeros(shape), torch.tensor(targets))


def test_tasks_and_evaluation_share_one_metric_class():
    assert task.Metric is Metric is metrics.Metric


def test_missing_torchmetrics_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    with pytest.raises(OCDError, match="pip install torchmetrics"):
        metrics.calibration_error(*classification(0))
