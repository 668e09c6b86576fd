"""Metrics and scores of uncertainty against hand computation, SciPy and scikit-learn."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, ndimage, special, stats
from torch import Tensor

from ocd import metrics, ranking
from ocd.errors import OCDError
from ocd.evaluation import CLASSIFIER_METRICS, REGRESSION_METRICS, VIEW_METRICS
from ocd.tasks import task as base
from ocd.tasks.images.classification import cross_entropy_per_example

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(1, 12)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classification(
    seed: int, num: int = 40, classes: int = 5, scale: float = 3.0
) -> tuple[Tensor, Tensor]:
    """Logits and classes that they predict better than chance, though not always."""
    logits = scale * normal(num, classes, seed=seed)
    targets = (logits + scale * normal(num, classes, seed=seed + 1)).argmax(dim=1)
    return logits, targets


def views(seed: int, num: int = 3, size: tuple[int, int] = (9, 12)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(num, 3, *size, generator=generator)
    return images, (images + 0.1 * torch.rand(images.shape, generator=generator)).clamp_max(1)


# Classification


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


@pytest.mark.parametrize("name", set(CLASSIFIER_METRICS) - {"accuracy"})
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


# Regression


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


def pairwise_crps(draws: np.ndarray, target: float) -> float:
    """The definition, each draw with each."""
    between = np.abs(draws[:, None] - draws[None, :]).mean() / 2
    return float(np.abs(draws - target).mean() - between)


@settings(max_examples=40, deadline=None)
@given(SEEDS, COUNTS, COUNTS, st.booleans(), st.sampled_from([0.0, 1e6]))
def test_crps_agrees_with_its_definition(seed, num_draws, num, rounded, offset):
    draws = 3 * normal(num_draws, num, seed=seed).double() + offset
    targets = 3 * normal(num, seed=seed + 1).double() + offset
    if rounded:  # ties, among the draws and with the target
        draws, targets = draws.round(), targets.round()
    expected = [pairwise_crps(draws[:, i].numpy(), targets[i].item()) for i in range(num)]
    assert metrics.crps_per_example(draws, targets).tolist() == pytest.approx(expected, abs=1e-8)
    assert metrics.crps(draws, targets) == pytest.approx(np.mean(expected), abs=1e-8)


def test_crps_is_the_integral_of_the_squared_difference_of_distributions():
    draws, target = np.array([-1.0, 0.5, 0.7, 2.0]), 0.6

    def squared(x: float) -> float:
        return float(((draws <= x).mean() - (target <= x)) ** 2)

    points = [*draws, target]
    integral = integrate.quad(squared, -3, 3, points=points)[0]
    value = metrics.crps(torch.tensor(draws)[:, None], torch.tensor([target]))
    assert value == pytest.approx(integral, abs=1e-6)


def test_crps_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.regression")
    draws, targets = normal(7, 50, seed=3).double(), normal(50, seed=4).double()
    expected = functional.continuous_ranked_probability_score(draws.T, targets).item()
    assert metrics.crps(draws, targets) == pytest.approx(expected)


def test_crps_of_one_draw_is_its_absolute_error():
    outputs, targets = normal(9, seed=1), normal(9, seed=2)
    assert metrics.crps(outputs[None], targets) == pytest.approx(metrics.mae(outputs, targets))


def test_crps_of_many_normal_draws_is_the_closed_form():
    quantiles = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    targets = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    y = targets.double().numpy()
    exact = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / math.sqrt(math.pi)
    values = metrics.crps_per_example(torch.tensor(quantiles)[:, None].expand(-1, 4), targets)
    assert values.tolist() == pytest.approx(exact.tolist(), abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_scores_of_draws_do_not_depend_on_the_draws_order(seed):
    draws, targets = normal(6, 8, 2, seed=seed), normal(8, 2, seed=seed + 1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for score in [
        lambda some: metrics.crps_per_example(some, targets),
        lambda some: torch.tensor(metrics.interval_coverage(some, targets, 50)),
        metrics.spread,
        metrics.predictive_entropy,
        metrics.mutual_information,
    ]:
        assert torch.allclose(score(draws), score(draws[order]), atol=1e-12)


def test_coverage_by_hand():
    """Nineteen draws: the interval of 90 per cent is their range, that of 50 goes from 5th to 15th."""
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    draws = torch.arange(1.0, 20.0)[order, None].expand(19, 8)
    targets = torch.tensor([0.9, 1.0, 4.9, 5.0, 15.0, 15.1, 19.0, 19.1])
    assert metrics.interval_coverage(draws, targets, 90) == 100 * 6 / 8
    assert metrics.interval_coverage(draws, targets, 50) == 100 * 2 / 8


@pytest.mark.parametrize(
    ("num_draws", "level"), [(3, 50), (4, 50), (5, 50), (19, 50), (19, 90), (40, 90)]
)
def test_draws_from_the_targets_distribution_have_the_level_as_coverage(num_draws, level):
    num = 20_000
    draws, targets = normal(num_draws, num, seed=1), normal(num, seed=2)
    assert metrics.interval_coverage(draws, targets, level) == pytest.approx(level, abs=1.5)


def test_a_level_between_two_intervals_is_interpolated():
    """Five draws, level 50: half way from the interval of 4/6, all draws, to that of 2/6."""
    draws = torch.arange(1.0, 6.0)[:, None].expand(5, 4)
    targets = torch.tensor([0.5, 1.5, 3.0, 4.5])
    assert metrics.interval_coverage(draws, targets, 50) == (75 + 25) / 2


def test_few_draws_cover_with_their_range_at_most():
    draws, targets = normal(5, 20_000, seed=1), normal(20_000, seed=2)
    assert metrics.interval_coverage(draws, targets, 90) == pytest.approx(100 * 4 / 6, abs=1.5)
    inside = (draws.amin(0) <= targets) & (targets <= draws.amax(0))
    assert metrics.interval_coverage(draws, targets, 90) == 100 * inside.double().mean().item()


def test_one_draw_covers_only_what_it_hits():
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    draws = torch.tensor([[1.0, 2.5, 3.0, 5.0]])
    assert metrics.interval_coverage(draws, targets, 90) == 50


@pytest.mark.parametrize("level", [0.5, 0.9, 1, 0, 100, -5])
def test_a_level_that_is_no_percentage_is_refused(level):
    with pytest.raises(OCDError, match="per cent"):
        metrics.interval_coverage(torch.zeros(2, 3), torch.zeros(3), level)


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((2, 4), (3,)), ((2, 4, 1), (4,)), ((0, 4), (4,))])
def test_draws_that_do_not_fit_are_refused(shapes):
    draws, targets = torch.zeros(shapes[0]), torch.zeros(shapes[1])
    with pytest.raises(OCDError, match=r"draws are \(K, N"):
        metrics.crps(draws, targets)
    with pytest.raises(OCDError, match=r"draws are \(K, N"):
        metrics.interval_coverage(draws, targets, 50)


# Views


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


# Uncertainty


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_entropies_agree_with_scipy(seed, num_draws, num, classes):
    logits = 4 * normal(num_draws, num, classes, seed=seed)
    p = special.softmax(logits.double().numpy(), axis=-1)
    each = stats.entropy(p, axis=-1)
    joint = stats.entropy(p.mean(axis=0), axis=-1)
    assert metrics.softmax_entropy(logits[0]).numpy() == pytest.approx(each[0], abs=1e-12)
    assert metrics.predictive_entropy(logits).numpy() == pytest.approx(joint, abs=1e-12)
    information = metrics.mutual_information(logits)
    assert information.numpy() == pytest.approx(joint - each.mean(axis=0), abs=1e-12)
    assert (information >= 0).all()


def test_entropies_at_their_ends():
    ends = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], [0.0, -math.inf, 0.0, -math.inf]])
    expected = [math.log(4), 0, math.log(2)]
    assert metrics.softmax_entropy(ends).tolist() == pytest.approx(expected, abs=1e-12)
    # Draws that are each certain, of different classes: all of the entropy is between them.
    draws = 1e4 * torch.eye(4)[:, None, :]
    assert metrics.predictive_entropy(draws).item() == pytest.approx(math.log(4))
    assert metrics.mutual_information(draws).item() == pytest.approx(math.log(4))


def test_equal_draws_disagree_by_zero_and_never_by_less():
    logits = normal(200, 5, seed=3).expand(3, 200, 5)
    information = metrics.mutual_information(logits)
    assert (information >= 0).all()
    assert information.max() < 1e-12


def test_one_draw_has_no_disagreement():
    logits = normal(1, 7, 4, seed=2)
    assert (metrics.mutual_information(logits) == 0).all()
    assert (metrics.spread(logits) == 0).all()
    entropy = metrics.softmax_entropy(logits[0])
    assert torch.equal(metrics.predictive_entropy(logits), entropy)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 2, 3), (1, 6)])
def test_spread_agrees_with_numpy(shape):
    draws = normal(*shape, seed=4) * torch.arange(1.0, 7.0).view(1, 6, *[1] * (len(shape) - 2))
    values = draws.double().numpy().reshape(shape[0], 6, -1)
    expected = np.sqrt(values.var(axis=0).mean(axis=1))
    assert metrics.spread(draws).numpy() == pytest.approx(expected)


def test_scores_refuse_what_are_no_draws():
    with pytest.raises(OCDError, match=r"\(N, C\)"):
        metrics.softmax_entropy(torch.zeros(2, 3, 4))
    for score in [metrics.predictive_entropy, metrics.mutual_information]:
        with pytest.raises(OCDError, match=r"\(K, N, C\)"):
            score(torch.zeros(3, 4))
    with pytest.raises(OCDError, match="draws"):
        metrics.spread(torch.zeros(3))


# Ranking


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25),
    st.booleans(),
)
def test_auroc_counts_pairs(pairs, as_tensors):
    scores, errors = [float(score) for score, _ in pairs], [float(error) for _, error in pairs]
    bad = [score for score, error in pairs if error]
    good = [score for score, error in pairs if not error]
    wins = [(b > g) + (b == g) / 2 for b in bad for g in good]
    convert = torch.tensor if as_tensors else np.array
    value = ranking.auroc(convert(scores), convert(errors))
    if wins:
        assert value == pytest.approx(np.mean(wins))
    else:
        assert value is None


def test_auroc_agrees_with_scikit_learn_and_torchmetrics():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    scores = (normal(500, seed=1).sigmoid() * 20).round() / 20
    errors = (scores + 0.3 * normal(500, seed=2) > 0.6).long()
    value = metrics.auroc(scores, errors)
    assert 0.6 < value < 0.99
    assert value == pytest.approx(sklearn_metrics.roc_auc_score(errors, scores))
    assert value == pytest.approx(functional.binary_auroc(scores, errors).item(), abs=1e-6)


def test_auroc_at_its_ends():
    errors = np.array([0, 0, 1, 1])
    assert ranking.auroc([1, 2, 3, 4], errors) == 1
    assert ranking.auroc([4, 3, 2, 1], errors) == 0
    assert ranking.auroc([7, 7, 7, 7], errors) == 0.5
    assert ranking.auroc([1, 2, 3, math.inf], errors) == 1
    assert ranking.auroc([1, 2, 3, math.nan], errors) is None
    assert ranking.auroc([1, 2], [0, 0]) is None
    assert ranking.auroc([1, 2], [1, 1]) is None


def test_risk_coverage_by_hand():
    scores, risks = [0.3, 0.1, 0.9, 0.2], [4.0, 1.0, 7.0, 0.0]
    coverage, risk = ranking.risk_coverage(scores, risks)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk.tolist() == pytest.approx([1, 1 / 2, 5 / 3, 12 / 4])
    assert ranking.area_under_risk_coverage(scores, risks) == pytest.approx((1 + 0.5 + 5 / 3 + 3) / 4)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 40), st.sampled_from([1, 3, 1000]))
def test_ties_are_the_mean_over_random_orders(seed, num, levels):
    random = np.random.default_rng(seed)
    scores, risks = random.integers(0, levels, num).astype(float), random.random(num)
    coverage, risk = ranking.risk_coverage(scores, risks)
    order = random.permutation(num)
    assert ranking.risk_coverage(scores[order], risks[order])[1] == pytest.approx(risk)
    assert risk[-1] == pytest.approx(risks.mean())
    # At the end of each group of ties the order within it does not matter.
    for level in np.unique(scores):
        inside = scores <= level
        assert risk[inside.sum() - 1] == pytest.approx(risks[inside].mean())
        assert coverage[inside.sum() - 1] == pytest.approx(inside.mean())


def test_ties_are_the_mean_over_all_orders():
    scores, risks = np.array([1.0, 0.0, 1.0, 1.0]), np.array([5.0, 1.0, 2.0, 8.0])
    curves = [
        np.cumsum([1.0, *some]) / np.arange(1, 5) for some in itertools.permutations([5.0, 2.0, 8.0])
    ]
    assert ranking.risk_coverage(scores, risks)[1] == pytest.approx(np.mean(curves, axis=0))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 40))
def test_no_score_ranks_better_than_the_risk_itself(seed, num):
    random = np.random.default_rng(seed)
    scores, risks = random.random(num), random.random(num)
    area = ranking.area_under_risk_coverage
    assert area(risks, risks) <= area(scores, risks) + 1e-12
    assert area(-risks, risks) >= area(scores, risks) - 1e-12
    assert area(np.zeros(num), risks) == pytest.approx(risks.mean())


@pytest.mark.parametrize("function", [ranking.auroc, ranking.risk_coverage])
@pytest.mark.parametrize("values", [([], []), ([1.0], [0.0, 1.0]), ([[1.0]], [[0.0]])])
def test_ranking_refuses_what_does_not_fit(function, values):
    with pytest.raises(OCDError, match=r"\(N,\)"):
        function(*values)


def test_auroc_refuses_losses_for_errors():
    with pytest.raises(OCDError, match="else 0"):
        ranking.auroc([0.1, 0.2], [0.3, 1.0])


# What imports what


def test_imports_are_light():
    program = """
import sys
import ocd.ranking
assert 'torch' not in sys.modules
import ocd.metrics, ocd.tasks.digits
assert 'torch' in sys.modules and 'torchmetrics' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["calibration_error", "psnr", "ssim"])
def test_missing_torchmetrics_is_named(name, monkeypatch):
    for part in ["classification", "image"]:
        monkeypatch.setitem(sys.modules, f"torchmetrics.functional.{part}", None)
    arguments = classification(0) if name == "calibration_error" else views(0)
    with pytest.raises(OCDError, match="pip install torchmetrics"):
        getattr(metrics, name)(*arguments)


def test_metric_has_two_addresses():
    assert base.Metric is metrics.Metric
