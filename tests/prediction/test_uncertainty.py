"""Scores of draws and of their uncertainty against SciPy, scikit-learn and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation.regression_metrics import mae
from ocd.prediction import uncertainty

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(1, 12)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    assert uncertainty.crps_per_example(draws, targets).tolist() == pytest.approx(expected, abs=1e-8)
    assert uncertainty.crps(draws, targets) == pytest.approx(np.mean(expected), abs=1e-8)


def test_crps_is_the_integral_of_the_squared_difference_of_distributions():
    draws, target = np.array([-1.0, 0.5, 0.7, 2.0]), 0.6

    def squared(x: float) -> float:
        return float(((draws <= x).mean() - (target <= x)) ** 2)

    points = [*draws, target]
    integral = integrate.quad(squared, -3, 3, points=points)[0]
    value = uncertainty.crps(torch.tensor(draws)[:, None], torch.tensor([target]))
    assert value == pytest.approx(integral, abs=1e-6)


def test_crps_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.regression")
    draws, targets = normal(7, 50, seed=3).double(), normal(50, seed=4).double()
    expected = functional.continuous_ranked_probability_score(draws.T, targets).item()
    assert uncertainty.crps(draws, targets) == pytest.approx(expected)


def test_crps_of_one_draw_is_its_absolute_error():
    outputs, targets = normal(9, seed=1), normal(9, seed=2)
    assert uncertainty.crps(outputs[None], targets) == pytest.approx(mae(outputs, targets))


def test_crps_of_many_normal_draws_is_the_closed_form():
    quantiles = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    targets = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    y = targets.double().numpy()
    exact = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / math.sqrt(math.pi)
    values = uncertainty.crps_per_example(torch.tensor(quantiles)[:, None].expand(-1, 4), targets)
    assert values.tolist() == pytest.approx(exact.tolist(), abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_scores_of_draws_do_not_depend_on_the_draws_order(seed):
    draws, targets = normal(6, 8, 2, seed=seed), normal(8, 2, seed=seed + 1)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    for score in [
        lambda some: uncertainty.crps_per_example(some, targets),
        lambda some: torch.tensor(uncertainty.interval_coverage(some, targets, 50)),
        uncertainty.spread,
        uncertainty.predictive_entropy,
        uncertainty.mutual_information,
    ]:
        assert torch.allclose(score(draws), score(draws[order]), atol=1e-12)


def test_coverage_by_hand():
    """Nineteen draws: the interval of 90 per cent is their range, that of 50 goes from 5th to 15th."""
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    draws = torch.arange(1.0, 20.0)[order, None].expand(19, 8)
    targets = torch.tensor([0.9, 1.0, 4.9, 5.0, 15.0, 15.1, 19.0, 19.1])
    assert uncertainty.interval_coverage(draws, targets, 90) == 100 * 6 / 8
    assert uncertainty.interval_coverage(draws, targets, 50) == 100 * 2 / 8
    covered = uncertainty.covered_by_interval(draws, targets, 50)
    assert covered.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_an_example_of_several_outputs_is_covered_in_part():
    draws = torch.arange(1.0, 20.0)[:, None, None].expand(19, 2, 2)
    covered = uncertainty.covered_by_interval(draws, torch.tensor([[1.0, 30.0], [2.0, 3.0]]), 90)
    assert covered.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("num_draws", "level"), [(3, 50), (4, 50), (5, 50), (19, 50), (19, 90), (40, 90)]
)
def test_draws_from_the_targets_distribution_have_the_level_as_coverage(num_draws, level):
    num = 20_000
    draws, targets = normal(num_draws, num, seed=1), normal(num, seed=2)
    assert uncertainty.interval_coverage(draws, targets, level) == pytest.approx(level, abs=1.5)


def test_a_level_between_two_intervals_is_interpolated():
    """Five draws, level 50: half way from the interval of 4/6, all draws, to that of 2/6."""
    draws = torch.arange(1.0, 6.0)[:, None].expand(5, 4)
    targets = torch.tensor([0.5, 1.5, 3.0, 4.5])
    assert uncertainty.interval_coverage(draws, targets, 50) == (75 + 25) / 2


def test_few_draws_cover_with_their_range_at_most():
    draws, targets = normal(5, 20_000, seed=1), normal(20_000, seed=2)
    assert uncertainty.interval_coverage(draws, targets, 90) == pytest.approx(100 * 4 / 6, abs=1.5)
    inside = (draws.amin(0) <= targets) & (targets <= draws.amax(0))
    assert uncertainty.interval_coverage(draws, targets, 90) == 100 * inside.double().mean().item()


def test_one_draw_covers_only_what_it_hits():
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    draws = torch.tensor([[1.0, 2.5, 3.0, 5.0]])
    assert uncertainty.interval_coverage(draws, targets, 90) == 50


@pytest.mark.parametrize("level", [0.5, 0.9, 1, 0, 100, -5])
def test_a_level_that_is_no_percentage_is_refused(level):
    with pytest.raises(OCDError, match="per cent"):
        uncertainty.interval_coverage(torch.zeros(2, 3), torch.zeros(3), level)


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((2, 4), (3,)), ((2, 4, 1), (4,)), ((0, 4), (4,))])
def test_draws_that_do_not_fit_are_refused(shapes):
    draws, targets = torch.zeros(shapes[0]), torch.zeros(shapes[1])
    with pytest.raises(OCDError, match=r"draws are \(K, N"):
        uncertainty.crps(draws, targets)
    with pytest.raises(OCDError, match=r"draws are \(K, N"):
        uncertainty.interval_coverage(draws, targets, 50)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_entropies_agree_with_scipy(seed, num_draws, num, classes):
    logits = 4 * normal(num_draws, num, classes, seed=seed)
    p = special.softmax(logits.double().numpy(), axis=-1)
    each = stats.entropy(p, axis=-1)
    joint = stats.entropy(p.mean(axis=0), axis=-1)
    assert uncertainty.softmax_entropy(logits[0]).numpy() == pytest.approx(each[0], abs=1e-12)
    assert uncertainty.predictive_entropy(logits).numpy() == pytest.approx(joint, abs=1e-12)
    information = uncertainty.mutual_information(logits)
    assert information.numpy() == pytest.approx(joint - each.mean(axis=0), abs=1e-12)
    assert (information >= 0).all()


def test_entropies_at_their_ends():
    ends = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], [0.0, -math.inf, 0.0, -math.inf]])
    expected = [math.log(4), 0, math.log(2)]
    assert uncertainty.softmax_entropy(ends).tolist() == pytest.approx(expected, abs=1e-12)
    # Draws that are each certain, of different classes: all of the entropy is between them.
    draws = 1e4 * torch.eye(4)[:, None, :]
    assert uncertainty.predictive_entropy(draws).item() == pytest.approx(math.log(4))
    assert uncertainty.mutual_information(draws).item() == pytest.approx(math.log(4))


def test_equal_draws_disagree_by_zero_and_never_by_less():
    logits = normal(200, 5, seed=3).expand(3, 200, 5)
    information = uncertainty.mutual_information(logits)
    assert (information >= 0).all()
    assert information.max() < 1e-12


def test_one_draw_has_no_disagreement():
    logits = normal(1, 7, 4, seed=2)
    assert (uncertainty.mutual_information(logits) == 0).all()
    assert (uncertainty.spread(logits) == 0).all()
    entropy = uncertainty.softmax_entropy(logits[0])
    assert torch.equal(uncertainty.predictive_entropy(logits), entropy)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 2, 3), (1, 6)])
def test_spread_agrees_with_numpy(shape):
    draws = normal(*shape, seed=4) * torch.arange(1.0, 7.0).view(1, 6, *[1] * (len(shape) - 2))
    values = draws.double().numpy().reshape(shape[0], 6, -1)
    expected = np.sqrt(values.var(axis=0).mean(axis=1))
    assert uncertainty.spread(draws).numpy() == pytest.approx(expected)


def test_scores_refuse_what_are_no_draws():
    with pytest.raises(OCDError, match=r"\(N, C\)"):
        uncertainty.softmax_entropy(torch.zeros(2, 3, 4))
    for score in [uncertainty.predictive_entropy, uncertainty.mutual_information]:
        with pytest.raises(OCDError, match=r"\(K, N, C\)"):
            score(torch.zeros(3, 4))
    with pytest.raises(OCDError, match="draws"):
        uncertainty.spread(torch.zeros(3))


@pytest.mark.parametrize("num_draws", [1, 2, 3, 4, 5, 19, 20, 40])
@pytest.mark.parametrize("level", [50, 90])
def test_an_interval_is_where_its_cover_is_counted(num_draws, level):
    """Of whole ranks, what lies within the ends is what is counted as covered; and the mean width of
    the ends is the width that is reported."""
    draws, targets = normal(num_draws, 200, seed=3), normal(200, seed=4)
    low, high = uncertainty.central_interval(draws, level)
    assert (low <= high).all()
    assert uncertainty.interval_width(draws, level) == pytest.approx(float((high - low).mean()))
    if (num_draws + 1) * (100 - level) % 200 == 0:
        inside = ((low <= targets) & (targets <= high)).double()
        assert inside.equal(uncertainty.covered_by_interval(draws, targets, level))


def test_ends_between_two_ranks_are_interpolated():
    draws = torch.arange(1.0, 6.0)[:, None]
    assert [float(end) for end in uncertainty.central_interval(draws, 50)] == [1.5, 4.5]
    assert uncertainty.reaches(3, 50) and not uncertainty.reaches(2, 50)
    assert uncertainty.reaches(19, 90) and not uncertainty.reaches(18, 90)


def test_targets_that_are_not_known_are_not_counted_as_missed():
    generator = torch.Generator().manual_seed(0)
    draws, targets = (
        torch.randn(30, 50, 3, generator=generator),
        torch.randn(50, 3, generator=generator),
    )
    whole = uncertainty.covered_by_interval(draws, targets, 80)
    holes = targets.clone()
    holes[:10] = torch.nan
    holes[10:20, 2] = torch.nan
    found = uncertainty.covered_by_interval(draws, holes, 80)
    assert found[:10].isnan().all()
    assert torch.allclose(
        found[10:20], uncertainty.covered_by_interval(draws[:, 10:20, :2], targets[10:20, :2], 80)
    )
    assert torch.equal(found[20:], whole[20:])
    known = 100 * found[10:].mean()
    assert uncertainty.interval_coverage(draws, holes, 80) == pytest.approx(float(known))
    assert math.isnan(uncertainty.interval_coverage(draws, holes * torch.nan, 80))
