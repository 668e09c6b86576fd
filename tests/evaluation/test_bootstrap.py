"""Paired differences: rounding is none, everything else is as it is."""

from __future__ import annotations

import numpy as np

from ocd.evaluation.bootstrap import add_differences, paired_bootstrap, resample


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
