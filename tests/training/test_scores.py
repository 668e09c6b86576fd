"""Proper scores: their closed forms, and that the right distribution has the best of them."""

from __future__ import annotations

import math

import pytest
import torch

from ocd import OCDError
from ocd.prediction import crps_per_example
from ocd.training import (
    distribution_score,
    energy_scores,
    kind_of_score,
    known_rows,
    score_of,
    scores,
)

NORMAL = torch.Generator().manual_seed(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=NORMAL)


def test_energy_score_is_that_of_all_pairs_by_hand():
    draws, targets = normal(3, 4, 2, 5), normal(3, 2, 5)
    for row in range(3):
        xs, y = draws[row].flatten(1), targets[row].flatten()
        error = sum(float((x - y).norm()) for x in xs) / 4
        between = sum(float((a - b).norm()) for a in xs for b in xs) / (4 * 3)
        found = float(energy_scores(draws, targets)[row])
        assert found == pytest.approx(error - between / 2, rel=1e-5)


def test_of_one_number_it_is_the_crps_and_of_one_draw_the_distance():
    draws, targets = normal(6, 200, 1), normal(6, 1)
    biased = crps_per_example(draws.transpose(0, 1), targets)  # averages over equal draws too
    apart = (draws - draws.transpose(1, 2)).abs().mean(dim=(1, 2))
    fair = biased + apart / 2 - apart / 2 * 200 / 199
    assert torch.allclose(score_of("crps")(draws, targets).double(), fair, atol=1e-5)
    same = crps_per_example(draws.transpose(0, 1), targets, fair=True)
    assert torch.allclose(same, fair, atol=1e-8)
    one = normal(4, 1, 7)
    assert torch.allclose(energy_scores(one, one[:, 0] + 2), torch.full((4,), 2 * 7**0.5))


@pytest.mark.parametrize("exponent", [-40, -20, 20])
def test_a_score_goes_with_the_unit_of_the_numbers(exponent: int) -> None:
    draws, targets, unit = normal(5, 8, 3), normal(5, 3), 2.0**exponent
    found = energy_scores(unit * draws, unit * targets)
    assert torch.allclose(found, unit * energy_scores(draws, targets), rtol=1e-4, atol=0.0)
    draws[2] = torch.nan
    broken = energy_scores(unit * draws, unit * targets)
    assert broken.isnan().tolist() == [False, False, True, False, False]
    assert torch.equal(broken[[0, 1, 3, 4]], found[[0, 1, 3, 4]])


def test_equal_draws_have_a_finite_gradient() -> None:
    draws = torch.zeros(2, 3, 1, requires_grad=True)
    energy_scores(draws, torch.zeros(2, 1)).sum().backward()
    assert draws.grad is not None and draws.grad.isfinite().all()


def test_pairs_of_draws_are_not_all_in_memory_at_once(monkeypatch):
    """They are K² vectors an example, where outputs, by which chunks are sized, are K."""
    largest, plain = [], scores._distance

    def counted(difference: torch.Tensor) -> torch.Tensor:
        largest.append(difference.numel())
        return plain(difference)

    monkeypatch.setattr(scores, "_distance", counted)
    draws, targets = normal(3, 30, 7), normal(3, 7)
    found = energy_scores(draws, targets)
    assert max(largest) <= draws.numel()
    every = (draws[:, :, None] - draws[:, None]).norm(dim=-1).sum(dim=(1, 2)) / (30 * 29)
    assert torch.allclose(found, (draws - targets[:, None]).norm(dim=-1).mean(1) - every / 2, atol=1e-5)


@pytest.mark.parametrize("num_draws", [2, 20])
def test_the_right_spread_has_the_best_energy_score_for_few_draws_too(num_draws):
    """Two draws judge on average as many do: what is trained with few is right for many."""
    targets = normal(60_000, 3)
    means = {
        scale: float(energy_scores(scale * normal(60_000, num_draws, 3), targets).mean())
        for scale in (0.0, 0.7, 1.0, 1.4)
    }
    assert min(means, key=means.__getitem__) == 1.0
    assert means[1.0] == pytest.approx(energy_of_a_normal(3), abs=0.01)


def energy_of_a_normal(size: int) -> float:
    """E|X - Y| / 2 of two standard normal vectors: half of √2 times the mean of a chi."""
    chi = math.sqrt(2) * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2))
    return math.sqrt(2) * chi / 2


def test_the_gradient_is_finite_where_draws_are_alike_and_right():
    draws = torch.zeros(2, 3, 4, requires_grad=True)
    energy_scores(draws, torch.zeros(2, 4)).sum().backward()
    assert draws.grad.isfinite().all()


def test_log_score_is_that_of_the_mean_probability():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    right = 1 / (1 + math.exp(-2))
    found = score_of("log")(logits, torch.tensor([0]))
    assert float(found) == pytest.approx(-math.log((right + 1 - right) / 2), rel=1e-5)


@pytest.mark.parametrize(
    ("outputs", "targets", "kind", "auto"),
    [
        (torch.zeros(2, 1), torch.zeros(2, 1), "crps", None),
        (torch.zeros(2, 4), torch.zeros(2, 4), "energy", "energy"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3), "energy", "energy"),
        (torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), "log", None),
        (torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool), "log", None),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), None, None),
        (torch.zeros(2, 1), torch.zeros(2, dtype=torch.bool), None, None),
        (torch.zeros(2, 4), torch.zeros(2, 3), None, None),
        (torch.zeros(2, 4), (torch.zeros(2, 4), torch.zeros(2)), None, None),
    ],
)  # fmt: skip
def test_which_score_a_target_asks_for(outputs, targets, kind, auto):
    assert kind_of_score(outputs, targets) == kind
    assert distribution_score("auto", outputs, targets) == auto
    assert distribution_score("answer", outputs, targets) is None
    if kind is not None:
        assert distribution_score("distribution", outputs, targets) == kind
        return
    with pytest.raises(OCDError, match="goal is 'distribution', but no score is known"):
        distribution_score("distribution", outputs, targets)


def test_numbers_without_an_axis_of_their_own_have_the_same_score():
    draws, targets = torch.randn(9, 5), torch.randn(9)
    assert torch.equal(energy_scores(draws, targets), energy_scores(draws[..., None], targets[:, None]))


def test_numbers_that_are_not_known_are_not_scored():
    draws, targets = torch.randn(3, 9, 4), torch.randn(3, 4)
    targets[0, [1, 3]] = torch.nan
    targets[2] = torch.nan
    found = energy_scores(draws, targets)
    assert torch.allclose(found[:1], energy_scores(draws[:1, :, [0, 2]], targets[:1, [0, 2]]))
    assert torch.equal(found[1:2], energy_scores(draws[1:2], targets[1:2]))
    assert found[2].isnan()
    assert known_rows(targets, 4).tolist() == [True, True, False]
    assert torch.isnan(energy_scores(draws[..., 0], targets[:, 1])).tolist() == [True, False, True]


def test_a_draw_that_is_not_finite_is_scored_all_the_same():
    draws, targets = torch.zeros(1, 2, 3), torch.zeros(1, 3)
    draws[0, 1, 2] = torch.nan
    assert energy_scores(draws, targets).isnan().all() and known_rows(targets, 3).all()


def test_a_class_that_is_none_of_the_outputs_has_no_score():
    logits, targets = torch.randn(4, 5, 3), torch.tensor([0, -100, 2, 3])
    found = score_of("log")(logits, targets)
    assert found.isnan().tolist() == [False, True, False, True]
    assert torch.equal(found[[0, 2]], score_of("log")(logits[[0, 2]], targets[[0, 2]]))
    truths = score_of("log")(logits[..., :2], torch.tensor([True, False, True, True]))
    assert torch.equal(truths, score_of("log")(logits[..., :2], torch.tensor([1, 0, 1, 1])))


def test_nothing_has_no_scores():
    assert energy_scores(torch.zeros(0, 5, 3), torch.zeros(0, 3)).shape == (0,)
    assert score_of("log")(torch.zeros(0, 5, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)
