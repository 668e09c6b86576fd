"""How scores of uncertainty rank examples, against counting, scikit-learn and torchmetrics."""

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
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation import ranking

SEEDS = st.integers(0, 2**31)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    value = ranking.auroc(scores, errors)
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


def test_imports_are_light():
    program = """
import sys
import ocd.evaluation.ranking
assert 'torch' not in sys.modules
import ocd.evaluation.classifier_metrics, ocd.tasks.images.digits
assert 'torch' in sys.modules and 'torchmetrics' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
