"""Scores of whole answers: by hand, and on draws that are right or wrong in one way each."""

from __future__ import annotations

import pytest
import torch

from ocd.evaluation import joint_scores
from ocd.evaluation.joint_scores import (
    band_coverage,
    crps_by_step,
    judge_draws,
    two_sample_accuracy,
    variogram_scores,
)
from ocd.generator import Placement
from ocd.training import energy_scores


def walks(*shape: int, seed: int) -> torch.Tensor:
    """Random walks of 6 steps: numbers that belong together."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 6, generator=generator).cumsum(dim=-1)


TARGETS = walks(600, seed=0)
RIGHT = walks(40, 600, seed=1)
MIXED = torch.stack(
    [RIGHT[:, torch.randperm(600, generator=torch.Generator().manual_seed(d)), d] for d in range(6)],
    dim=-1,
)
"""Each number is as it should be, and none belongs to the others."""


def test_variogram_score_by_hand(monkeypatch):
    draws, target = RIGHT[:3, :2], TARGETS[:2]
    found = variogram_scores(draws, target)
    for row in range(2):
        total = 0.0
        for i in range(6):
            for j in range(i + 1, 6):
                expected = sum(float((d[row, i] - d[row, j]).abs() ** 0.5) for d in draws) / 3
                total += (expected - float((target[row, i] - target[row, j]).abs() ** 0.5)) ** 2
        assert float(found[row]) == pytest.approx(total / 15, rel=1e-4)
    monkeypatch.setattr(joint_scores, "NUM_PAIRS", 5)
    assert not torch.equal(variogram_scores(draws, target), found)


def test_variogram_and_classifier_see_what_single_numbers_do_not():
    """Draws whose numbers come from different draws: CRPS is the same."""
    right, mixed = (judge_draws(draws, TARGETS, TARGETS[:, :0])[0] for draws in (RIGHT, MIXED))
    assert mixed["crps"] == pytest.approx(right["crps"], rel=0.03)
    assert mixed["variogram"] > 1.2 * right["variogram"]
    assert mixed["energy"] > right["energy"]
    assert mixed["two_sample"] > 70
    assert abs(right["two_sample"] - 50) < 10


def test_crps_by_step_is_that_of_each_number():
    by_step = crps_by_step(RIGHT, TARGETS)
    assert by_step.shape == (6,) and float(by_step[-1]) > float(by_step[0])
    one = energy_scores(RIGHT[..., 3:4].transpose(0, 1), TARGETS[:, 3:4]).mean()
    assert float(by_step[3]) == pytest.approx(float(one), rel=1e-4)
    numbers, _ = judge_draws(RIGHT[..., 3:4], TARGETS[:, 3:4], TARGETS[:, :0])
    assert numbers["crps"] == pytest.approx(numbers["energy"], rel=1e-4)


def test_few_draws_are_not_judged_worse_than_many_of_the_same_kind():
    few, many = (judge_draws(RIGHT[:k], TARGETS, TARGETS[:, :0])[0] for k in (3, 40))
    assert few["crps"] == pytest.approx(many["crps"], rel=0.06)
    assert few["energy"] == pytest.approx(many["energy"], rel=0.06)
    assert few["covered_90"] is None and many["covered_90"] is not None


@pytest.mark.parametrize("num_draws", [20, 50, 200])
@pytest.mark.parametrize("level", [50, 90])
def test_bands_of_right_draws_cover_whole_answers_as_often_as_they_claim(level, num_draws):
    targets = walks(6000, seed=4)
    found = band_coverage(walks(num_draws, 6000, seed=3), targets, level)
    assert found == pytest.approx(level, abs=2)
    assert band_coverage(0.5 * walks(200, 600, seed=3), TARGETS, level) < level - 20


def test_a_classifier_knows_which_input_a_draw_is_for():
    """Draws that are right altogether, and belong to other inputs."""
    given = TARGETS[:, :1]
    others = TARGETS.roll(1, dims=0)
    assert two_sample_accuracy(others, TARGETS, given) > 70


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_of_few_examples_a_classifier_says_nothing(rows):
    found, _ = judge_draws(RIGHT[:, :rows], TARGETS[:rows], TARGETS[:rows, :1])
    assert (found["two_sample"] is None) == (rows < 4)


def test_answers_of_one_number_have_no_variogram():
    """0 would look perfect."""
    found, _ = judge_draws(RIGHT[..., :1], TARGETS[:, :1], TARGETS[:, :0])
    assert found["variogram"] is None and len(found["crps_by_step"]) == 1


@pytest.mark.parametrize("count", [2, 5, 20, 50])
def test_balanced_draws_of_the_right_distribution_score_as_chance_draws_do(count):
    """Around their own mean draws lie farther apart: without a correction they would seem better than
    the target's own distribution, for which no score can be better."""
    rows = 20_000
    targets = walks(rows, seed=2)
    # The target itself as a draw of many: E|x - y| and E|x - x'| are the same.
    truth = float((walks(rows, seed=3) - targets).norm(dim=1).mean()) / 2
    codes = walks(rows, count, seed=4)
    placed = Placement(centre=0.0, balanced=True)
    found = placed.around(codes, torch.zeros(rows, 1, 6))
    assert torch.allclose(found.mean(dim=1), torch.zeros(rows, 6), atol=1e-4)
    size, wanted = (float(some.var(dim=(0, 1)).sum()) for some in (found, codes))
    assert size == pytest.approx(wanted, rel=0.01)
    naive, right = (float(energy_scores(found, targets, b).mean()) for b in (False, True))
    chance = float(energy_scores(codes, targets).mean())
    assert chance == pytest.approx(truth, rel=0.01) and right == pytest.approx(truth, rel=0.01)
    assert naive < truth * (1 - 0.35 / count)
    by_step = crps_by_step(found.transpose(0, 1), targets, balanced=True)
    assert torch.allclose(by_step, crps_by_step(codes.transpose(0, 1), targets), rtol=0.02)


@pytest.mark.parametrize("level", [50, 90])
def test_bands_of_balanced_draws_cover_their_share(level):
    targets = walks(4000, seed=5)
    placed = Placement(centre=0.0, balanced=True)
    draws = placed.around(walks(4000, 20, seed=6), torch.zeros(4000, 1, 6))
    assert band_coverage(draws.transpose(0, 1), targets, level, balanced=True) == pytest.approx(
        level, abs=3
    )
