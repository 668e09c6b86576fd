"""The unit of a loss: a loss times a constant makes the same fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig, OCDError, overfit, select_layer
from ocd.base import LossInUnits, check_loss_rows, loss_unit
from ocd.baselines.overfit_test import OverfitTestAllLayers
from ocd.fitting import rehearsal_config, steps
from ocd.lessons import OverfitConfig, SelectionConfig, common_move
from ocd.lessons.rate_search import HIGHEST, search_rate

TRIAL, CONFIDENCE = steps.TRIAL_STEPS, common_move.CONFIDENCE
EXPONENTS = [-30, 20]


@pytest.fixture(autouse=True)
def _fits_are_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in the tests no common move is looked for (small_run.py)."""
    monkeypatch.setattr(steps, "TRIAL_STEPS", TRIAL)
    monkeypatch.setattr(common_move, "CONFIDENCE", CONFIDENCE)


def times(exponent: int):
    """The squared error of each example times a power of two."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return 2.0**exponent * (outputs - targets).square().mean(dim=1)

    return loss


def network(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).eval()


def examples(count: int = 240, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return Examples(x, 2 * x[:, :1] + torch.sin(3 * x[:, 1:2]) + 0.5)


def fitted(exponent: int, **settings: Any) -> OCD:
    config = OCDConfig().replace({"training.num_steps": 60, "denoiser.width": 32} | settings)
    model = OCD(network(), loss=times(exponent), config=config)
    return model.fit(examples(), progress=False)


KINDS: dict[str, dict[str, Any]] = {
    "sgd, the layer by Eq. 3": {"overfit.optimizer": "sgd", "layer": "auto"},
    "adam": {"overfit.optimizer": "adam", "layer": "2"},
    "polyak": {"overfit.optimizer": "polyak", "overfit.lr": 1.0, "layer": "2"},
    "sgd with the loss in training": {"layer": "2", "training.task_loss_weight": 1.0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_loss_times_a_constant_makes_the_same_fit(kind: str, exponent: int) -> None:
    settings = KINDS[kind] | {"sampling.scale_factor": 1.0}
    plain, other = fitted(0, **settings), fitted(exponent, **settings)
    (one, frozen), (two, same) = plain.fitted(), other.fitted()
    assert same.name == frozen.name
    assert (same.start is None) == (frozen.start is None)
    if frozen.start is not None and same.start is not None:
        assert torch.allclose(same.start, frozen.start, rtol=1e-5, atol=1e-7)
    assert two.spread == one.spread and two.scale_factor == one.scale_factor
    new = examples(40, seed=5).inputs
    here, there = plain.predict(new, draws=3).outputs, other.predict(new, draws=3).outputs
    assert torch.allclose(here, there, rtol=1e-4, atol=1e-5)
    assert (here - plain.predict(new).base).abs().mean() > 0.05  # it moves at all
    assert any(note.startswith("the loss is counted in units of") for note in other.notes)
    assert not any("in units of" in note for note in plain.notes)


def test_the_common_move_is_found_whatever_the_unit() -> None:
    plain = fitted(0, layer="2")
    assert plain.fitted()[1].start is not None
    for exponent in EXPONENTS:
        found = fitted(exponent, layer="2").fitted()[1].start
        assert found is not None and torch.allclose(found, plain.fitted()[1].start, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "polyak"])
@pytest.mark.parametrize("exponent", [-70, *EXPONENTS, 40])
def test_deltas_do_not_know_the_unit(optimizer: str, exponent: int) -> None:
    data, base = examples(64), network()
    one, two = (
        overfit(base, "2", times(power), data.inputs, data.targets, optimizer=optimizer)
        for power in (0, exponent)
    )
    assert torch.allclose(one.dense(), two.dense(), rtol=1e-5, atol=1e-7)
    assert one.norms().mean() > 0.01
    assert torch.allclose(two.loss_before, 2.0**exponent * one.loss_before, atol=0.0)  # as it is


def test_a_rate_that_is_given_is_that_of_the_loss_as_it_is() -> None:
    data, base = examples(64), network()
    one = overfit(base, "2", times(0), data.inputs, data.targets, lr=0.01)
    two = overfit(base, "2", times(-30), data.inputs, data.targets, lr=0.01 * 2.0**30)
    assert torch.equal(one.dense(), two.dense())


@pytest.mark.parametrize("exponent", [-30, 20])
def test_layers_are_scored_alike(exponent: int) -> None:
    data, base = examples(32), network()
    config = SelectionConfig(num_examples=32, num_draws=200, race=False)
    one, two = (
        select_layer(base, times(power), data.inputs, data.targets, config) for power in (0, exponent)
    )
    shift = exponent * torch.tensor(2.0, dtype=torch.float64).log()
    for here, there in zip(one.scores, two.scores, strict=True):
        assert there == pytest.approx(here + float(shift), abs=1e-6)


@pytest.mark.parametrize("exponent", [-30, 20])
def test_the_oracle_of_all_layers_has_the_same_rate(exponent: int) -> None:
    data, base = examples(32), network()
    oracle = OverfitTestAllLayers(base, times(0), OverfitConfig(), data.targets)
    plain = oracle.with_chosen_lr(data.inputs, data.targets)
    unit = loss_unit(times(exponent)(base(data.inputs), data.targets))
    other = replace(oracle, loss=times(exponent), config=OverfitConfig(unit=unit))
    found = other.with_chosen_lr(data.inputs, data.targets)
    assert found.config.known_lr * 2.0**exponent == plain.config.known_lr


def test_the_unit_is_a_power_of_1024_and_ordinary_losses_have_none() -> None:
    for ordinary in (4e-5, 0.02, 1.0, -7.0, 900.0):
        assert loss_unit(torch.full((5,), ordinary)) == 1.0
    assert loss_unit(torch.tensor([1e-9, torch.nan, torch.inf])) == 2.0**-30
    assert loss_unit(torch.tensor([3e6, 0.0])) == 2.0**20
    assert loss_unit(torch.zeros(3)) == loss_unit(torch.zeros(0)) == 1.0
    tiny = torch.full((2,), 1e-38)
    assert (tiny / loss_unit(tiny)).isfinite().all()
    for size in (1e-9, 3e7):
        assert 1 / 32 <= size / loss_unit(torch.tensor([size])) <= 32


def test_a_loss_that_mixes_rows_is_told_whatever_its_unit() -> None:
    outputs = torch.randn(3, 1)
    for unit in (1.0, 2.0**30):
        mixed = LossInUnits(lambda out, target: (out - target).square().mean(dim=1), unit)
        with pytest.raises(OCDError, match="mixes the rows"):
            check_loss_rows(mixed, outputs, torch.randn(3))


def test_a_rehearsal_steps_as_little_whatever_the_unit() -> None:
    config = OCDConfig()
    plain, large = (rehearsal_config(config, "2", "answer", unit) for unit in (1.0, 2.0**20))
    assert large.overfit.known_lr == plain.overfit.known_lr / 2**20
    adam = rehearsal_config(config.replace({"overfit.optimizer": "adam"}), "2", "answer", 2.0**20)
    assert adam.overfit.known_lr == plain.overfit.known_lr


def test_rates_beyond_the_highest_are_tried_while_the_fall_grows() -> None:
    found = search_rate(lambda lr: lr / (lr + 1e6))
    assert found is not None and found[0] > 100 * HIGHEST and found[1] > 0.85
    tried: list[float] = []

    def level(lr: float) -> float:
        tried.append(lr)
        return min(1.0, lr)

    search_rate(level)
    assert max(tried) <= 10 * HIGHEST
