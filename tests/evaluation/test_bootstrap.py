"""Paired differences: rounding is none, everything else is as it is."""

from __future__ import annotations

import numpy as np
import pytest

from ocd.evaluation.bootstrap import (
    FEWEST,
    add_differences,
    num_pieces,
    paired_bootstrap,
    resample,
    resampled_counts,
)
from ocd.lessons.gain import FEWEST as FEWEST_LESSONS


def test_rounding_that_leans_one_way_is_no_gain() -> None:
    theirs = np.random.default_rng(0).exponential(size=(1, 500))
    ours = theirs * (1 - 3e-7)  # every example a little better, by the rounding of a pass
    paired: dict = {}
    add_differences(paired, ("ocd", "loss"), -1, ours, theirs)
    assert resample(paired)["ocd", "loss"]["interval"] == [0.0, 0.0]


def test_small_differences_count() -> None:
    theirs = np.random.default_rng(0).exponential(size=(2, 500)) + 0.01
    paired: dict = {}
    add_differences(paired, ("ocd", "loss"), -1, theirs * (1 - 1e-3), theirs)
    assert np.allclose(paired["ocd", "loss"], 1e-3 * theirs)
    low, high = resample(paired)["ocd", "loss"]["interval"]
    assert 0 < low < high
    add_differences(paired, ("ocd", "accuracy"), 1, 1.0 + 0 * theirs, 0 * theirs)
    assert (paired["ocd", "accuracy"] == 1).all()


def test_examples_that_are_one_piece_of_evidence_are_drawn_together() -> None:
    """Ten copies of each of 40 differences say as much as the 40 do."""
    few = np.random.default_rng(0).normal(0.1, 1, size=(1, 1, 40))
    copies, groups = np.repeat(few, 10, axis=2), np.repeat(np.arange(40), 10)
    alone, apart = paired_bootstrap(few), paired_bootstrap(copies)
    together = paired_bootstrap(copies, together=groups)
    assert np.allclose(together, alone)
    assert np.ptp(apart) < 0.5 * np.ptp(together)
    shuffled = np.random.default_rng(1).permutation(400)
    again = paired_bootstrap(copies[..., shuffled], together=7.0 * groups[shuffled])
    assert np.allclose(again, together)
    unequal = paired_bootstrap(copies[..., :95], together=groups[:95])  # the tenth has five copies
    assert np.ptp(unequal) > np.ptp(paired_bootstrap(copies[..., :95]))


@pytest.mark.parametrize(
    ("num_groups", "most"), [(1, 0), (2, 0), (6, 0), (15, 0), (16, 14), (20, 12), (60, 10)]
)
def test_what_is_no_gain_is_seldom_called_one(num_groups: int, most: float) -> None:
    """No true difference, all of a group alike but for a little: per cent of intervals without zero."""
    chance = np.random.default_rng(0)
    together = np.repeat(np.arange(num_groups), 10)
    differences = chance.normal(size=(500, 1, num_groups))[:, :, together]
    differences = differences + 0.1 * chance.normal(size=differences.shape)
    low, high = paired_bootstrap(differences, num_resamples=1000, together=together).T
    assert 100 * np.mean((low > 0) | (high < 0)) <= most
    if num_groups >= FEWEST:
        low, high = paired_bootstrap(differences, num_resamples=1000).T
        assert 100 * np.mean((low > 0) | (high < 0)) > 40, "over rows it would be a gain"


@pytest.mark.parametrize("num", [2, 15])
def test_of_few_examples_nothing_can_be_told(num: int) -> None:
    paired: dict = {}
    add_differences(paired, ("ocd", "loss"), -1, np.zeros((3, num)), np.ones((3, num)))
    assert resample(paired)["ocd", "loss"] == {"difference": 1.0, "interval": None}
    ((low, high),) = paired_bootstrap(paired["ocd", "loss"][None])
    assert (low, high) == (-np.inf, np.inf)
    many = {key: np.ones((3, 16 * num)) for key in paired}
    assert resample(many)["ocd", "loss"]["interval"] == pytest.approx([1.0, 1.0])
    assert resample(many, np.repeat(np.arange(num), 16))["ocd", "loss"]["interval"] is None


def test_lessons_and_test_examples_are_too_few_below_the_same_number() -> None:
    assert FEWEST == FEWEST_LESSONS


def test_groups_are_drawn_as_wholes() -> None:
    together = np.array([7, 3, 7, 9, 3, 7])
    assert num_pieces(6) == 6 and num_pieces(6, together) == 3
    counts = resampled_counts(np.random.default_rng(0), 200, 6, together)
    assert counts.shape == (200, 6)
    for group in (3, 7, 9):
        own = counts[:, together == group]
        assert (own == own[:, :1]).all() and set(own[:, 0]) >= {0, 1, 2}
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (resampled_counts(np.random.default_rng(0), 5, 6).sum(axis=1) == 6).all()
