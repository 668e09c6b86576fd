"""Paired differences: rounding is none, everything else is as it is."""

from __future__ import annotations

import numpy as np

from ocd.evaluation.bootstrap import add_differences, resample


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
