"""What a prediction costs where the base keeps what its frozen part answers: the part's pass counts."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from torch import nn

from helpers import DIGITS, LOSS, config
from ocd import OCD, Examples
from ocd.baselines import UnchangedBase
from ocd.evaluation import (
    Comparison,
    FittedBaselines,
    MethodSettings,
    OCDFits,
    TrainingData,
    evaluate,
    timing,
)
from ocd.evaluation.evaluating import Evaluation
from ocd.evaluation.timing import AnewClock
from ocd.lessons import OverfitConfig
from ocd.tasks import kept_features
from ocd.tasks.kept_features import KeptFeatures

PASS = 1e-3
"""Seconds of the body's pass over one example."""
TEST = 40


class Body(nn.Module):
    """Takes its time. `busy`: how many times as long, as where others use the machine too."""

    busy = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(PASS * len(x) * Body.busy)
        return self.fc(x).tanh()


class Pause(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(3 * PASS * len(x))
        return x


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = KeptFeatures(Body())
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.front(x))


def made_base(seed: int) -> nn.Module:
    """Nearly f(x) = the first three numbers of x."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        base = Base().eval().requires_grad_(False)
    base.front.body.fc.weight.copy_(base.front.body.fc.weight / 10 + torch.eye(8, 5) / 5)
    base.head.weight.copy_(5 * torch.eye(3, 8))
    return base


def examples(number: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 5, generator=generator)
    scores = inputs[:, :3] + torch.randn(number, 3, generator=generator)
    return Examples(inputs, scores.argmax(dim=1))


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    bases, training = [made_base(seed) for seed in (0, 1)], examples(48, 2)
    ocd = OCD(bases[0], loss=LOSS, config=config({"layer": "head"})).fit(training, progress=False)
    return Comparison(
        dataclasses.replace(DIGITS, left_out=()),
        OCDFits(ocd, OverfitConfig(lr=0.02)),
        TrainingData(training),
        MethodSettings(3, baselines="few"),
        FittedBaselines({}, bases),
    )


@pytest.fixture(scope="module")
def judged(comparison: Comparison) -> Evaluation:
    return evaluate(comparison, examples(TEST, 3))


def test_every_method_pays_for_the_pass_that_new_inputs_need(judged):
    costs = judged.numbers["costs"]
    assert judged.numbers["skipped"] == {}
    one = 1e6 * PASS
    assert costs.keys() >= {"base", "ocd", "ocd_ensemble_3", "temperature", "overfit_test"}
    assert {name: cost for name, cost in costs.items() if cost < one} == {}
    assert costs["deep_ensemble_2"] > 2 * one  # two bodies


def test_what_is_timed_is_said(judged):
    (note,) = [note for note in judged.notes if "µs per example" in note]
    assert f"of the {TEST} test examples as if they were new" in note


def test_a_long_pass_is_timed_on_some_examples(comparison, judged, monkeypatch):
    monkeypatch.setattr(timing, "LONG_ENOUGH", 0.0)
    found = evaluate(comparison, examples(TEST, 3))
    assert found.numbers["methods"] == judged.numbers["methods"]
    assert any(f"of 32 of the {TEST} test examples" in note for note in found.notes)
    assert found.numbers["costs"]["deep_ensemble_2"] > 2e6 * PASS
    assert found.numbers["costs"].keys() == judged.numbers["costs"].keys()


def test_examples_are_spread_evenly(comparison, monkeypatch):
    monkeypatch.setattr(timing, "LONG_ENOUGH", 100 * PASS)
    test = examples(400, 4)
    clock = AnewClock.of(comparison.fits.main.base, test)
    assert clock is not None and 32 <= len(clock.examples) <= 100
    places = [(test.inputs == row).all(dim=1).nonzero().item() for row in clock.examples.inputs]
    steps = torch.tensor(places).diff()
    assert places[0] == 0 and places[-1] == 399 and steps.max() - steps.min() <= 1
    assert torch.equal(clock.examples.targets, test.targets[places])


def test_a_pass_has_one_price_whatever_the_machine_does(comparison, monkeypatch):
    base, test = comparison.fits.main.base, examples(TEST, 5)
    clock = AnewClock.of(base, test)
    assert clock is not None
    monkeypatch.setattr(Body, "busy", 10.0)
    predict = UnchangedBase(base).predict
    assert 1e6 * PASS < clock.microseconds(predict, draws=1, repeats=1) < 5e6 * PASS

    def twice(inputs: torch.Tensor, draws: int) -> None:
        predict(inputs, draws), predict(inputs + 1, draws), predict(inputs, draws)

    found = clock.microseconds(twice, draws=1, repeats=1)
    assert 2e6 * PASS < found < 6e6 * PASS  # the third time they are known


def test_a_part_of_another_size_has_a_price_of_its_own(comparison):
    clock = AnewClock.of(comparison.fits.main.base, examples(TEST, 5))
    assert clock is not None
    other = made_base(3)
    other.front.body = nn.Sequential(Body(), *(nn.Linear(8, 8) for _ in range(2)), Pause())
    other.eval().requires_grad_(False)
    assert clock.microseconds(UnchangedBase(other).predict, draws=1, repeats=1) > 3e6 * PASS


def test_timing_keeps_and_forgets_nothing(comparison):
    base, test = comparison.fits.main.base, examples(TEST, 5)
    known = {name: list(kept.rows) for name, kept in kept_features._FEATURES.items()}
    AnewClock.of(base, test)
    assert {name: list(kept.rows) for name, kept in kept_features._FEATURES.items()} == known


def test_a_long_prediction_is_not_repeated(comparison, monkeypatch):
    clock = AnewClock.of(comparison.fits.main.base, examples(TEST, 5))
    assert clock is not None
    calls: list[int] = []
    assert clock.seconds(lambda inputs: calls.append(1), repeats=3) >= 0
    assert len(calls) == 3
    monkeypatch.setattr(timing, "MOST_SECONDS", 1e-9)
    clock.seconds(lambda inputs: calls.append(1), repeats=3)
    assert len(calls) == 4


def test_bases_that_keep_nothing_are_timed_on_all():
    assert AnewClock.of(nn.Linear(5, 3), examples(TEST, 3)) is None
