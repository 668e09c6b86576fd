"""How draws are taken: the two numbers are those that a search by hand finds on held-out lessons."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from torch import Tensor

from helpers import LOSS, TINY, config, digits, digits_base, fitted
from helpers import test_digits as some_digits
from ocd import OCD, Examples, OCDError
from ocd.lessons import Overfitter, Problem
from ocd.prediction import (
    FittedGenerator,
    HeldOut,
    SamplingConfig,
    held_out_examples,
    interval_coverage,
    join_by_mean,
)
from ocd.prediction.coverage import choose_spread_by_coverage
from ocd.prediction.sampling import (
    SCALE_FACTORS,
    SPREADS,
    EnsembleLoss,
    choose_sampling,
    keep_sampling,
)

TEST = some_digits(40)
HELD_OUT = (TEST.inputs, TEST.targets)
JUDGE = EnsembleLoss(LOSS, join_by_mean)
ALWAYS = SamplingConfig(confidence=0)
"""Moves are made in any case: what is chosen can be seen (tests/test_never_harm.py has the rest)."""


@pytest.fixture
def ocd() -> OCD:
    """Fitted, and free to be changed."""
    return _copy(fitted({"overfit.lr": 0.2}))


def _copy(made: OCD) -> OCD:
    other = OCD(made.base, loss=made.loss, config=made.config)
    other.hypernetwork, other.frozen = made.fitted()
    other.hypernetwork.set_sampling(spread=1.0, scale_factor=1.0)
    return other


def chosen(generator: FittedGenerator) -> tuple[float, float]:
    network = generator.network
    return round(float(network.spread), 6), round(float(network.scale_factor), 6)


def loss_by_hand(ocd: OCD, spread: float, factor: float, join=join_by_mean, kept=slice(None)) -> float:
    """The loss of an ensemble of five on the held-out lessons, as anybody would predict."""
    ocd.hypernetwork.set_sampling(spread=spread, scale_factor=factor)
    prediction = ocd.predict(TEST.inputs, draws=5, seed=0)
    return LOSS(join(prediction.outputs), TEST.targets)[kept].mean().item()


# Spread and factor by the loss


def largest(outputs: Tensor) -> Tensor:
    return outputs.amax(dim=0)


@pytest.mark.parametrize("join", [join_by_mean, largest])
def test_the_best_of_all_pairs_is_chosen_and_said(ocd: OCD, join) -> None:
    generator = ocd.generator()
    note = choose_sampling(generator, HeldOut(*HELD_OUT), EnsembleLoss(LOSS, join), ALWAYS)
    found = chosen(generator)
    losses = {(s, f): loss_by_hand(ocd, s, f, join) for s in SPREADS for f in SCALE_FACTORS}
    assert losses[found] == pytest.approx(min(losses.values()), rel=1e-5)
    assert max(losses.values()) > 1.001 * losses[found], "all pairs are alike: nothing is proven"
    numbers = re.findall(r"[\d.]+(?:e-?\d+)?", note)
    assert note.startswith("sampling: spread ")
    assert [float(number) for number in numbers[:2]] == [*found]
    assert float(numbers[3]) == pytest.approx(losses[found], rel=1e-3)
    assert float(numbers[-1]) == pytest.approx(losses[1.0, 1.0], rel=1e-3)
    own = LOSS(ocd.base(TEST.inputs), TEST.targets).mean().item()
    assert f"the base {own:.4g}" in note


@pytest.mark.parametrize("chunk_size", [1, 7, 256])
def test_chunks_do_not_matter(ocd: OCD, chunk_size: int) -> None:
    generator = ocd.generator()
    choose_sampling(generator, HeldOut(*HELD_OUT), JUDGE, ALWAYS)
    expected = chosen(generator)
    choose_sampling(generator, HeldOut(*HELD_OUT), JUDGE, ALWAYS, chunk_size)
    assert chosen(generator) == expected


@pytest.mark.parametrize("name", ["spread", "scale_factor"])
def test_what_is_configured_is_kept_and_the_other_chosen(ocd: OCD, name: str) -> None:
    generator = ocd.generator()
    choose_sampling(generator, HeldOut(*HELD_OUT), JUDGE, SamplingConfig(**{name: 0.33}, confidence=0))
    spread, factor = chosen(generator)
    assert (spread if name == "spread" else factor) == 0.33
    pairs = [(0.33, f) for f in SCALE_FACTORS] if name == "spread" else [(s, 0.33) for s in SPREADS]
    losses = {pair: loss_by_hand(ocd, *pair) for pair in pairs}
    assert losses[spread, factor] == pytest.approx(min(losses.values()), rel=1e-5)


def test_an_example_that_is_not_finite_does_not_choose(ocd: OCD) -> None:
    inputs = TEST.inputs.clone()
    inputs[3] = torch.nan
    generator = ocd.generator()
    note = choose_sampling(generator, HeldOut(inputs, TEST.targets), JUDGE, ALWAYS)
    assert "on 39 held-out lessons" in note and "nan" not in note
    found = chosen(generator)
    kept = [index for index in range(40) if index != 3]
    losses = [loss_by_hand(ocd, s, f, kept=kept) for s in SPREADS for f in SCALE_FACTORS]
    assert loss_by_hand(ocd, *found, kept=kept) == pytest.approx(min(losses), rel=1e-5)
    note = choose_sampling(ocd.generator(), HeldOut(inputs[3:4], TEST.targets[3:4]), JUDGE, ALWAYS)
    assert chosen(ocd.generator()) == (1, 1) and "finite on none of the 1 held-out" in note


def test_a_generator_of_noise_has_no_spread() -> None:
    ocd = _copy(fitted({"overfit.lr": None}, "paper"))
    generator = ocd.generator()
    choose_sampling(generator, HeldOut(*HELD_OUT), JUDGE, ALWAYS)
    assert chosen(generator)[0] == 1 and chosen(generator)[1] in SCALE_FACTORS
    with pytest.raises(OCDError, match="sampling.spread other than 1 needs diffusion.prediction"):
        choose_sampling(generator, HeldOut(*HELD_OUT), JUDGE, SamplingConfig(spread=0.5, confidence=0))
    generator.network.set_sampling(spread=1.0, scale_factor=1.0)  # others share it


def test_an_excerpt_is_judged_where_one_is_taken(ocd: OCD) -> None:
    """The condition is of whole examples, the loss of a part of each."""
    seen = []

    def excerpt(inputs, targets, size, generator):
        seen.append((len(inputs), size))
        return inputs.clone(), targets

    judge = dataclasses.replace(JUDGE, excerpt=excerpt, excerpt_size=5)
    choose_sampling(ocd.generator(), HeldOut(*HELD_OUT), judge, ALWAYS, chunk_size=30)
    assert seen == [(30, 5), (10, 5)]
    found = chosen(ocd.generator())
    choose_sampling(ocd.generator(), HeldOut(*HELD_OUT), JUDGE, ALWAYS)
    assert chosen(ocd.generator()) == found  # the part is the whole here


@pytest.mark.parametrize(
    ("configured", "expected"), [({}, (1, 1)), ({"spread": 0.5, "scale_factor": 0.25}, (0.5, 0.25))]
)
def test_with_nothing_held_out_the_papers_way_is_kept(ocd: OCD, configured, expected) -> None:
    note = keep_sampling(ocd.generator(), SamplingConfig(**configured, confidence=0))
    assert chosen(ocd.generator()) == expected
    assert note.startswith(f"sampling: spread {expected[0]:g} and scale factor {expected[1]:g}, as")


# Which examples are asked


@pytest.mark.parametrize("transform", [None, lambda inputs, generator: inputs + 1])
def test_held_out_examples_are_asked_as_they_are_and_augmented(transform) -> None:
    ocd = fitted()
    problem = Problem(ocd.base, LOSS, digits(100), transform=transform)
    overfitter = Overfitter(problem, ocd.fitted()[1], config().overfit)
    held_out = torch.tensor([4, 70, 9])
    examples = held_out_examples(overfitter, held_out, seed=0)
    inputs, targets = examples.inputs, examples.targets
    assert (examples.capture is None) is (transform is not None)
    one, labels = digits(100).rows(held_out)
    if transform is None:
        assert torch.equal(inputs, one) and torch.equal(targets, labels)
        return
    half = len(inputs) // 2
    assert 256 - 3 < half <= 256 and len(targets) == 2 * half
    assert torch.equal(inputs[:half], one.repeat(half // 3, 1, 1, 1))
    assert torch.equal(inputs[half:], inputs[:half] + 1)
    assert torch.equal(targets, labels.repeat(2 * half // 3))


# Spread by what intervals cover


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(dim=1)


@pytest.fixture(scope="module")
def regression() -> tuple[OCD, Examples]:
    """A linear base, fitted to targets with much noise, and other examples."""
    tiny = TINY["linear"]
    inputs = tiny.inputs(240)
    noise = torch.randn(240, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        targets = tiny.base().eval()(inputs) + noise
    settings = {
        "layer": "2", "overfit.optimizer": "polyak", "overfit.lr": 1.0, "training.num_steps": 60,
        "training.keep_best": False,
    }  # fmt: skip
    ocd = OCD(tiny.base(), loss=squared_error, config=config(settings))
    ocd.fit(Examples(inputs[:160], targets[:160]), progress=False)
    return ocd, Examples(inputs[160:], targets[160:])


def covered(ocd: OCD, examples: Examples, level: float) -> float:
    prediction = ocd.predict(examples.inputs, draws=100, seed=0)
    return interval_coverage(prediction.outputs, examples.targets, level)


@pytest.mark.parametrize(("level", "factor"), [(0.3, None), (0.6, None), (0.3, 1.5)])
def test_the_smallest_spread_that_covers_its_share(regression, level, factor) -> None:
    ocd, examples = regression
    wanted = SamplingConfig(coverage=level, scale_factor=factor)
    note = choose_spread_by_coverage(
        ocd.generator(), HeldOut(examples.inputs, examples.targets), wanted, chunk_size=30
    )
    network = ocd.generator().network
    spread = float(network.spread)
    assert float(network.scale_factor) == pytest.approx(factor or 1.0)
    assert 0.26 < spread < 3.99, "an end of what is tried: nothing is proven"
    assert covered(ocd, examples, 100 * level) == pytest.approx(100 * level, abs=1)
    assert f"spread {spread:g}, with which the central {100 * level:g} %" in note
    network.set_sampling(spread=spread - 0.1)
    assert covered(ocd, examples, 100 * level) < 100 * level


def test_a_spread_that_covers_at_the_price_of_a_bad_score_is_not_taken(regression) -> None:
    """Targets that lie where the draws' mean is, but for some that lie far off, as of few values."""
    ocd, examples = regression
    fitted = ocd.generator()
    network = fitted.network
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)
    p = ocd.predict(examples.inputs, draws=200)
    mean = ocd.predict(examples.inputs, mode="mean").mean
    far = torch.arange(len(mean)) % 6 == 0
    targets = mean + 5 * p.std * far.to(mean)[:, None]
    note = choose_spread_by_coverage(
        fitted, HeldOut(examples.inputs, targets), SamplingConfig(coverage=0.9)
    )
    assert float(network.spread) == 0.25
    assert "sampling: spread 0.25, by its score (" in note and "), in place of spread " in note
    one = float(network.spread)
    near = mean + p.std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    note = choose_spread_by_coverage(
        fitted, HeldOut(examples.inputs, near), SamplingConfig(coverage=0.9)
    )
    assert "by its score" not in note and float(network.spread) > one
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)


def test_targets_that_are_nan_are_not_covered_and_not_missed(regression) -> None:
    ocd, examples = regression
    fitted = ocd.generator()
    network = fitted.network
    more = torch.full_like(examples.targets[:15], torch.nan)
    holes = HeldOut(
        torch.cat([examples.inputs, examples.inputs[:15]]), torch.cat([examples.targets, more])
    )
    known = HeldOut(examples.inputs, examples.targets)
    wanted = choose_spread_by_coverage(fitted, known, SamplingConfig(coverage=0.6))
    spread = float(network.spread)
    note = choose_spread_by_coverage(fitted, holes, SamplingConfig(coverage=0.6))
    assert float(network.spread) == spread
    assert note == f"{wanted} (15 are NaN, and left out)"
    nothing = HeldOut(examples.inputs[:15], more)
    note = choose_spread_by_coverage(fitted, nothing, SamplingConfig(coverage=0.6))
    assert "since the targets of all held-out examples are NaN" in note
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)


def test_a_fit_is_told_which_way_its_spread_was_chosen(regression) -> None:
    _, examples = regression
    tiny = TINY["linear"]
    ways = (
        (0.0, "answer", "has the loss"),
        (0.6, "auto", "cover "),
        (0.0, "auto", "judged by the energy score"),
        (0.6, "distribution", "judged by the energy score"),
    )
    for coverage, goal, words in ways:
        settings = config(
            {"layer": "0", "overfit.lr": 0.1, "sampling.coverage": coverage, "goal": goal}
        )
        ocd = OCD(tiny.base(), loss=squared_error, config=settings)
        ocd.fit(examples, progress=False)
        (note,) = [note for note in ocd.notes if note.startswith("sampling")]
        assert words in note


def test_coverage_needs_a_mean_and_continuous_targets(ocd: OCD) -> None:
    wanted = SamplingConfig(coverage=0.9)
    with pytest.raises(OCDError, match=r"continuous targets .*not \(40,\) for outputs \(40, 10\)"):
        choose_spread_by_coverage(ocd.generator(), HeldOut(*HELD_OUT), wanted)
    paper = fitted({"overfit.lr": None}, "paper").generator()
    with pytest.raises(OCDError, match="sampling.coverage needs diffusion.prediction = 'x0'"):
        choose_spread_by_coverage(paper, HeldOut(*HELD_OUT), wanted)


# Its settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("spread", -0.1), ("scale_factor", 11.0), ("coverage", 1.0), ("coverage", -0.5)],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(OCDError, match=f"sampling.{name} is {value:g}: it must be from 0 to"):
        SamplingConfig(**{name: value})


def test_a_fit_with_both_numbers_has_nothing_to_choose() -> None:
    settings = config({"sampling.spread": 0.5, "sampling.scale_factor": 0.7})
    ocd = OCD(digits_base(), loss=LOSS, config=settings).fit(digits(40), progress=False)
    assert SamplingConfig(0.7, 0.5).is_settled and not SamplingConfig(0.7).is_settled
    assert chosen(ocd.generator()) == (0.5, 0.7)
    assert "sampling: spread 0.5 and scale factor 0.7, as configured" in "\n".join(ocd.notes)


# Validation examples of the user


@pytest.mark.parametrize(("plain", "factor"), [(True, 0.0), (False, 1.0)])
def test_moves_that_harm_the_lessons_as_they_are_are_not_made(ocd: OCD, plain, factor) -> None:
    """Augmented copies gain by any move, the lessons themselves lose by every one, but by less."""

    def weighted_distance(outputs: Tensor, targets: Tensor) -> Tensor:
        return targets[:, -1] * (outputs - targets[:, :-1]).square().sum(dim=1)

    inputs = some_digits(60).inputs
    as_they_are, own = torch.arange(120) < 60, ocd.frozen.answer(inputs).repeat(2, 1)
    weight = torch.where(as_they_are, 1.0, -3.0)
    held_out = HeldOut(
        inputs.repeat(2, 1, 1, 1),
        torch.cat([own, weight[:, None]], dim=1),
        example=torch.arange(60).repeat(2),
        plain=as_they_are if plain else None,
    )
    judge = EnsembleLoss(weighted_distance, join_by_mean)
    note = choose_sampling(ocd.generator(), held_out, judge, SamplingConfig())
    assert chosen(ocd.generator())[1] == factor
    assert ("(32 of 32 ways to move harm them as they are)" in note) is plain


def test_judges_without_a_finite_loss_are_said(ocd: OCD) -> None:
    inputs = torch.full_like(TEST.inputs, torch.nan)
    note = choose_sampling(
        ocd.generator(),
        HeldOut(inputs, TEST.targets, words="validation examples"),
        JUDGE,
        SamplingConfig(),
    )
    assert "the base's loss is finite on none of the 40 validation examples" in note
    assert chosen(ocd.generator())[1] == 0


def test_validation_examples_choose_in_place_of_those_held_out() -> None:
    made = OCD(digits_base(), loss=LOSS, config=config())
    with pytest.warns(UserWarning, match="it was fitted on the lessons"):
        made.fit(digits(60), progress=False, validation=Examples(TEST.inputs, 9 - TEST.targets))
    assert float(made.hypernetwork.scale_factor) in SCALE_FACTORS
    assert any("validation examples" in note and "sampling: " in note for note in made.notes)


def test_validation_labels_change_the_choice_and_lessons_that_are_alike_no_warning(recwarn) -> None:
    def notes(targets: Tensor) -> list[str]:
        made = OCD(digits_base(), loss=LOSS, config=config())
        made.fit(digits(60), progress=False, validation=Examples(TEST.inputs, targets))
        return [note for note in made.notes if note.startswith("sampling: ")]

    right = notes(TEST.targets)
    assert not [w for w in recwarn if "fitted on the lessons" in str(w.message)]
    wrong = notes(TEST.targets.roll(1))
    assert right != wrong


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, "around 1 of"), (-1.0, "around the base's answer")]
)
def test_draws_lie_around_the_base_where_their_mean_does_not_gain(regression, factor, expected) -> None:
    """A generator whose mean is the way to the targets, and one whose mean is the opposite."""
    ocd, examples = regression
    fitted = ocd.generator()
    network = fitted.network
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)
    mean = ocd.predict(examples.inputs, mode="mean").mean - ocd.base(examples.inputs)
    targets = ocd.base(examples.inputs) + factor * mean
    wanted = SamplingConfig(coverage=0.6, confidence=0.8)
    judge = EnsembleLoss(squared_error, join_by_mean)
    note = choose_spread_by_coverage(
        fitted, HeldOut(examples.inputs, targets.detach()), wanted, 30, judge
    )
    assert f"sampling: draws lie {expected}" in note
    p = ocd.predict(examples.inputs, draws=400)
    moved = (p.mean - p.base).norm() / mean.norm()
    assert moved < 1e-4 if factor < 0 else moved > 0.9
    assert (p.std > 0).all()
    one = ocd.predict(examples.inputs, mode="mean")
    assert torch.equal(one.mean, one.base) if factor < 0 else not torch.equal(one.mean, one.base)
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)


@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_balanced_draws_lie_around_what_is_chosen_whatever_their_number(regression, spread) -> None:
    """However skewed the draws are, and however far apart: their own mean is where they are centred."""
    ocd, examples = regression
    network = ocd.generator().network
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)
    plain = ocd.predict(examples.inputs, draws=200)
    network.set_sampling(spread=spread, scale_factor=1.0, centre=0.0, balanced=1.0)
    p = ocd.predict(examples.inputs, draws=200)
    assert p.balanced and not plain.balanced
    torch.testing.assert_close(p.mean, p.base, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(p.std, plain.std * spread, rtol=1e-2, atol=1e-3)
    few = ocd.predict(examples.inputs, draws=2)
    torch.testing.assert_close(few.mean, few.base, rtol=1e-3, atol=1e-3)
    one = ocd.predict(examples.inputs, draws=1)
    assert not one.balanced and not torch.allclose(one.mean, one.base, rtol=1e-3, atol=1e-3)
    assert not ocd.predict(examples.inputs, mode="mean").balanced
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0, balanced=0.0)
