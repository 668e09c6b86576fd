"""The search for a learning rate, on falls that are known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ocd.lessons.rate_search import HIGHEST, LOWEST, mean_fall, search_rate


def saturating(scale: float, longest: float):
    """A fall of 1 − exp(−lr / scale), as far as `longest`."""
    return lambda lr: None if lr > longest else 1 - math.exp(-lr / scale)


@pytest.mark.parametrize("scale", [3e-5, 1e-3, 0.4, 7.0])
def test_the_rate_follows_the_scale_of_the_problem(scale: float) -> None:
    lr, fall = search_rate(saturating(scale, math.inf))
    assert fall == pytest.approx(0.9, abs=0.05)
    assert 1.6 * scale < lr < 3 * scale  # 1 − exp(−2.3) is nine tenths


@pytest.mark.parametrize("longest", [2e-6, 3.4e-4, 0.02])
def test_no_rate_beyond_the_one_at_which_losses_rise(longest: float) -> None:
    lr, _ = search_rate(saturating(1.0, longest))
    assert longest / 2 < lr <= longest


def test_a_small_change_of_the_problem_is_a_small_change_of_the_rate() -> None:
    rates = [search_rate(saturating(0.1 * 1.03**i, math.inf))[0] for i in range(78)]  # over a decade
    steps = [after / before for before, after in itertools.pairwise(rates)]
    assert max(steps) < 1.5 and min(steps) > 0.8 and 8 < rates[-1] / rates[0] < 12


def test_few_rates_are_tried_and_none_beyond_those_that_rise() -> None:
    tried: list[float] = []

    def fall(lr: float) -> float | None:
        tried.append(lr)
        return saturating(1e-3, 0.05)(lr)

    search_rate(fall)
    assert len(tried) <= 24 and sum(lr > 0.05 for lr in tried) <= 4


def test_nothing_is_found_where_nothing_falls() -> None:
    assert search_rate(lambda lr: 0.0) is None
    assert search_rate(lambda lr: -lr) is None
    assert search_rate(lambda lr: None) is None


def test_rates_have_two_digits() -> None:
    lr, _ = search_rate(saturating(0.0123, math.inf))
    assert lr == float(f"{lr:.2g}") and LOWEST < lr < HIGHEST


def test_one_loss_in_a_hundred_may_rise() -> None:
    before = torch.ones(100)
    one, two = torch.full((2, 100), 0.5)
    one[:1], two[:2] = 2.0, 2.0
    assert mean_fall(before, one) == pytest.approx(0.485)
    assert mean_fall(before, two) is None
    assert mean_fall(before, one.index_fill(0, torch.tensor([5]), math.nan)) is None
