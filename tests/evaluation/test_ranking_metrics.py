"""NDCG by hand, beside scikit-learn's, and ranking by the draws' mean place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ocd import OCDError
from ocd.evaluation.ranking_metrics import RANKING_METRICS, expected_ranks, ndcg

GENERATOR = torch.Generator().manual_seed(0)
QUERIES = torch.arange(6).repeat_interleave(25)
GRADES = torch.randint(0, 3, (150, 1), generator=GENERATOR).float()
SCORES = torch.randn(150, 1, generator=GENERATOR)


def test_it_is_scikit_learns_with_gains_of_powers():
    metrics = pytest.importorskip("sklearn.metrics")
    expected = [
        metrics.ndcg_score(
            [2 ** GRADES[q == QUERIES, 0].numpy() - 1], [SCORES[q == QUERIES, 0].numpy()], k=10
        )
        for q in range(6)
    ]
    assert ndcg(SCORES, GRADES, QUERIES) == pytest.approx(100 * np.mean(expected))
    one = RANKING_METRICS["ndcg_10"]
    assert one.value(SCORES, GRADES, QUERIES) == pytest.approx(100 * np.mean(expected))
    assert one.value(SCORES, GRADES, None) == pytest.approx(ndcg(SCORES, GRADES, 0 * QUERIES))


def test_right_order_is_the_best_and_queries_without_relevance_do_not_count():
    grades = GRADES.clone()
    grades[QUERIES == 2] = 0
    assert ndcg(grades, grades, QUERIES) == pytest.approx(100)
    rest = QUERIES != 2
    kept = ndcg(SCORES[rest], grades[rest], QUERIES[rest])
    assert ndcg(SCORES, grades, QUERIES) == pytest.approx(kept)
    assert math.isnan(ndcg(SCORES, 0 * grades, QUERIES))
    order = torch.randperm(150, generator=GENERATOR)
    assert ndcg(SCORES[order], grades[order], QUERIES[order]) == pytest.approx(
        ndcg(SCORES, grades, QUERIES)
    )


def test_expected_ranks_are_places_within_a_query_averaged():
    draws = torch.tensor([[3.0, 2.0, 9.0, 1.0], [0.0, 2.0, 9.0, 5.0]])[..., None]
    queries = torch.tensor([0, 0, 0, 1])
    # Places: first draw 1, 2, 0; second 2, 1, 0; the last document is alone.
    assert expected_ranks(draws, queries)[:, 0].tolist() == [-1.5, -1.5, 0, 0]


def test_lengths_that_differ_are_refused():
    with pytest.raises(OCDError, match="got 150, 150 and 149"):
        ndcg(SCORES, GRADES, QUERIES[1:])
