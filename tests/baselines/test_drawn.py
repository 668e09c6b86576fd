"""Baselines that draw answers: what each can learn, and what it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers import config
from ocd import OCD, Examples, OCDError
from ocd.baselines import (
    DRAWN,
    MainFit,
    NearestResiduals,
    ResidualDraws,
    fit_baseline,
    flat_inputs,
    load_baseline,
    reason_unavailable,
)
from ocd.baselines.trained.drawn import OutputDiffusion
from ocd.lessons import LessonBatch, Workdir
from ocd.prediction.scoring import CENTRES, SPREADS
from ocd.training import energy_scores

SETTINGS = {
    "layer": "2", "overfit.optimizer": "polyak", "overfit.lr": 1.0, "training.num_steps": 250,
    "training.max_epochs": 0, "scale.kind": "constant", "common_move": "never", "denoiser.width": 64,
}  # fmt: skip


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=1)


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 4)).eval()


def two_ends(count: int, seed: int) -> Examples:
    """Around the base's answer, all numbers up or all down, farther where the first input is large."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 3, generator=generator)
    ends = 2.0 * torch.randint(0, 2, (count, 1), generator=generator) - 1
    with torch.no_grad():
        return Examples(inputs, base()(inputs) + (1 + (inputs[:, :1] > 0)) * ends.expand(-1, 4))


TRAINING, TEST = two_ends(800, 1), two_ends(300, 2)


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> MainFit:
    work = Workdir(tmp_path_factory.mktemp("drawn"))
    made = OCD(base(), loss=squared_error, config=config(SETTINGS))
    return MainFit(made.fit(TRAINING, work, progress=False), work, TRAINING)


@pytest.fixture(scope="module")
def draws(fit, tmp_path_factory) -> dict[str, Tensor]:
    """Of each baseline, what it lacks of f(x): (K, N, 4)."""
    found = {}
    for kind in DRAWN:
        work = Workdir(tmp_path_factory.mktemp(kind))
        fit_baseline(kind, fit, work, progress=False)
        loaded = load_baseline(kind, fit.ocd, TRAINING.inputs[:2], work)
        prediction = loaded.predict(TEST.inputs, draws=60, seed=0)
        again = loaded.predict(TEST.inputs[:5], draws=60, seed=0)
        assert torch.allclose(prediction.outputs[:, :5], again.outputs, atol=1e-5)  # each its own
        found[kind] = prediction.outputs - fit.ocd.base(TEST.inputs).detach()
    return found


def test_all_know_how_wide_answers_are_where(draws):
    far = TEST.inputs[:, 0] > 0
    for kind, outputs in draws.items():
        width = outputs.std(dim=0).mean(dim=1)
        assert float(width[far].mean()) > 1.3 * float(width[~far].mean()), kind


def test_only_the_diffusion_knows_that_numbers_belong_together(draws):
    for kind, outputs in draws.items():
        together = (outputs > 0).float().mean(dim=2)  # 0 or 1 where all lie at one end
        share = float(((together == 0) | (together == 1)).float().mean())
        assert share > 0.6 if kind == "output_diffusion" else share < 0.4, kind


@pytest.fixture(scope="module")
def rival(fit, tmp_path_factory) -> OutputDiffusion:
    work = Workdir(tmp_path_factory.mktemp("rival"))
    fit_baseline("output_diffusion", fit, work, progress=False)
    network = load_baseline("output_diffusion", fit.ocd, TRAINING.inputs[:2], work).network
    assert isinstance(network, OutputDiffusion)
    return network


def lessons(fit: MainFit, examples: Examples) -> LessonBatch:
    frozen = fit.ocd.fitted()[1]
    capture = frozen.capture(examples.inputs)
    features = fit.ocd.condition.features(frozen, examples.inputs, capture)
    return LessonBatch(features, examples.inputs, examples.targets, None, capture)


def test_the_rival_chooses_centre_and_spread_as_ocd_does(fit, rival):
    """The best of all pairs, by its draws as anybody makes them; the same ways are open to both."""
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(200, 3, generator=generator)
    noise = torch.randn(200, 4, generator=generator)
    rows = lessons(fit, Examples(inputs, base()(inputs).detach() + 0.2 + 0.3 * noise))
    rival.choose_sampling([rows], squared_error)
    chosen = float(rival.centre), float(rival.spread)
    found = {}
    with torch.no_grad():
        for centre in CENTRES:
            for spread in SPREADS:
                rival.centre.fill_(centre)
                rival.spread.fill_(spread)
                drawn = rival.draws(rows.features, inputs, rows.capture.output, 20, 0)
                found[centre, spread] = float(energy_scores(drawn, rows.targets).mean())
    assert found[chosen] == pytest.approx(min(found.values()), rel=1e-3)
    assert chosen[1] < 1  # the truth is nearer than what it learnt


def test_a_centre_that_harms_the_rivals_answer_is_not_taken(fit, rival):
    inputs = two_ends(200, 10).inputs
    rows = lessons(fit, Examples(inputs, base()(inputs).detach()))
    rival.centre.fill_(1)
    rival.spread.fill_(0)
    with torch.no_grad():
        moved = rival.draws(rows.features, inputs, rows.capture.output, 1, 0)[:, 0] - rows.targets
    opposite = lessons(fit, Examples(inputs, rows.targets - moved))
    rival.choose_sampling([opposite], squared_error, belongs=torch.arange(200) // 5)
    assert float(rival.centre) == 0


def test_the_rival_is_judged_on_what_judges_ocd(fit, tmp_path, monkeypatch):
    """Neither what it was trained on, nor what chose its weights."""
    seen = []
    monkeypatch.setattr(OutputDiffusion, "choose_sampling", lambda self, rows, *more: seen.extend(rows))
    fit_baseline("output_diffusion", fit, Workdir(tmp_path), progress=False)
    (note,) = [note for note in fit.ocd.notes if note.startswith("examples:")]
    assert f"{sum(map(len, seen))} others judge moves" in note


def test_quantiles_and_normal_draws_reach_no_farther_than_they_learnt(draws):
    assert float(draws["quantile_head"].abs().max()) < 3
    normal = draws["gaussian_head"]
    near = TEST.inputs[:, 0] < 0
    assert float(normal[:, near].std(dim=0).mean()) == pytest.approx(1, abs=0.3)


def test_those_of_large_examples_are_not_offered(fit):
    assert all(reason_unavailable(kind, fit.ocd) is None for kind in DRAWN)
    other = OCD(base(), loss=squared_error, config=config(SETTINGS), excerpt=lambda *given: given)
    other.hypernetwork, other.frozen = fit.ocd.fitted()
    assert all("examples are large" in str(reason_unavailable(kind, other)) for kind in DRAWN)


def test_with_cross_fitting_they_learn_from_bases_that_have_not_seen_their_examples(tmp_path):
    """The base that is served is right on all lessons; the others miss by (1, 1, 1, 1)."""
    learnt = Examples(TRAINING.inputs, base()(TRAINING.inputs).detach())

    def others(examples: Examples) -> nn.Module:
        missing = base()
        with torch.no_grad():
            missing[2].bias -= 1
        return missing

    made = OCD(base(), loss=squared_error, config=config(SETTINGS | {"training.num_steps": 100}))
    work = Workdir(tmp_path)
    made.fit(learnt, work, progress=False, fit_base=others, groups=torch.arange(800) // 4)
    main = MainFit(made, work, learnt)
    for kind in DRAWN:
        assert reason_unavailable(kind, made) is None
        own = Workdir(tmp_path / kind)
        fit_baseline(kind, main, own, progress=False)
        drawn = load_baseline(kind, made, learnt.inputs[:2], own).predict(TEST.inputs, draws=20)
        missed = (drawn.outputs - made.base(TEST.inputs)).detach().mean()
        assert float(missed) == pytest.approx(1, abs=0.25), kind


def test_residuals_are_whole_vectors_of_other_examples():
    net = base()
    with torch.no_grad():
        residuals = TRAINING.targets - net(TRAINING.inputs)
        predicted = ResidualDraws(net, residuals).predict(TEST.inputs, draws=30)
        added = (predicted.outputs - net(TEST.inputs)).flatten(0, 1)
    nearest = torch.cdist(added, residuals).min(dim=1).values
    assert float(nearest.max()) < 1e-4
    other = ResidualDraws(net, residuals).predict(TEST.inputs, draws=30, seed=1).outputs
    assert not torch.equal(other, predicted.outputs)
    with pytest.raises(OCDError, match="residuals of other examples are needed"):
        ResidualDraws(net, residuals[:0])


def test_nearest_residuals_are_those_of_the_nearest_inputs():
    net = base()
    with torch.no_grad():
        residuals = TRAINING.targets - net(TRAINING.inputs)
        predictor = NearestResiduals(net, flat_inputs(TRAINING.inputs), residuals)
        outputs = predictor.predict(TEST.inputs, draws=7).outputs
        order = torch.cdist(TEST.inputs, TRAINING.inputs).argsort(dim=1)[:, :7]
        expected = net(TEST.inputs)[:, None] + residuals[order]
    assert torch.allclose(outputs.transpose(0, 1), expected, atol=1e-5)
    blind = ResidualDraws(net, residuals).predict(TEST.inputs, draws=20).outputs
    near = predictor.predict(TEST.inputs, draws=20).outputs
    near, blind = (energy_scores(o.transpose(0, 1), TEST.targets).mean() for o in (near, blind))
    assert near < blind  # the width depends on the input
    with pytest.raises(OCDError, match="each residual needs its input"):
        NearestResiduals(net, TRAINING.inputs[:3], residuals)
