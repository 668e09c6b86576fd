"""goal="distribution": the way to draw is the one whose score a search by hand finds the best."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers import LOSS, config, digits, digits_base
from ocd import OCD, Examples, OCDError
from ocd.prediction import HeldOut
from ocd.prediction.sampling import EnsembleLoss, SamplingConfig, join_by_mean
from ocd.prediction.scoring import CENTRES, SPREADS, TRIVIAL, centre_and_spread, choose_by_score
from ocd.training import energy_scores
from ocd.training import trainer as tr

SETTINGS = {
    "layer": "2", "overfit.optimizer": "polyak", "overfit.lr": 1.0, "training.num_steps": 150,
    "training.max_epochs": 0, "scale.kind": "constant", "common_move": "never",
}  # fmt: skip


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=1)


JUDGE = EnsembleLoss(squared_error, join_by_mean)


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 4)).eval()


def two_answers(count: int, seed: int) -> Examples:
    """Targets that lie at one of two ends: all four numbers up, or all down."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 3, generator=generator)
    ends = 2.0 * torch.randint(0, 2, (count, 1), generator=generator) - 1
    with torch.no_grad():
        return Examples(inputs, base()(inputs) + ends.expand(-1, 4))


def fit(settings: dict | None = None, examples: Examples | None = None) -> OCD:
    made = OCD(
        base(), loss=squared_error, config=config(SETTINGS | {"goal": "auto"} | (settings or {}))
    )
    return made.fit(examples or two_answers(400, 1), progress=False)


@pytest.fixture(scope="module")
def ocd() -> OCD:
    return fit()


def score(ocd: OCD, examples: Examples, draws: int = 20) -> float:
    found = ocd.predict(examples.inputs, draws=draws)
    scores = energy_scores(found.outputs.transpose(0, 1), examples.targets, found.balanced)
    return float(scores.mean())


def test_auto_asks_for_a_distribution_where_an_answer_has_parts(ocd):
    (note,) = [note for note in ocd.notes if note.startswith("sampling")]
    assert "draws are a distribution (goal), judged by the energy score" in note
    (other,) = [note for note in fit({"goal": "answer"}).notes if note.startswith("sampling")]
    assert "distribution" not in other


def test_its_draws_reach_both_ends_where_those_for_the_answer_do_not(ocd):
    test = two_answers(300, 2)
    assert score(ocd, test) < 0.8 * score(fit({"goal": "answer"}), test)
    outputs = ocd.predict(test.inputs, draws=40).outputs - ocd.base(test.inputs)
    assert ((outputs.mean(dim=2) > 0).float().mean(dim=0) - 0.5).abs().mean() < 0.35


def test_the_spread_is_the_best_of_those_tried(ocd):
    """On its own held-out examples, by predictions as anybody makes them."""
    examples, network = two_answers(200, 3), ocd.generator().network
    before = {name: float(network.get_buffer(name)) for name in ("spread", "scale_factor", "centre")}
    choose_by_score(ocd.generator(), HeldOut(*vars_of(examples)), JUDGE, SamplingConfig())
    best = float(network.spread)
    found = {}
    for spread in SPREADS:
        network.set_sampling(spread=spread)
        found[spread] = score(ocd, examples)
    network.set_sampling(**before)
    assert min(found, key=found.__getitem__) == pytest.approx(best)


def vars_of(examples: Examples) -> tuple[Tensor, Tensor]:
    return examples.inputs, examples.targets


def test_a_centre_that_harms_the_answer_is_not_taken(ocd):
    """Where the target is opposite to the expected delta, draws lie around the base's answer."""
    fitted = ocd.generator()
    network = fitted.network
    inputs = two_answers(200, 4).inputs
    network.set_sampling(spread=1.0, scale_factor=1.0, centre=1.0)
    own = ocd.base(inputs)
    moved = ocd.predict(inputs, mode="mean").outputs[0] - own
    choose_by_score(fitted, HeldOut(inputs, (own - moved).detach()), JUDGE, SamplingConfig())
    assert float(network.centre) == 0


def test_draws_that_are_worse_than_residuals_are_said_to_be(ocd):
    """Residuals of one length in all directions, and draws that know only two of them."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(300, 3, generator=generator)
    with torch.no_grad():
        targets = ocd.base(inputs) + 0.3 * torch.randn(300, 4, generator=generator)
    wide = SamplingConfig(spread=2.0)
    note = choose_by_score(ocd.generator(), HeldOut(inputs, targets), JUDGE, wide)
    assert note.endswith(f"worse than {TRIVIAL}") and "spread 2 around" in note
    assert "residuals of other examples has" in note


def grouped(count: int, groups: int, seed: int = 6) -> HeldOut:
    examples = two_answers(count, seed)
    return HeldOut(*vars_of(examples), example=torch.arange(count) % groups, grouped=True)


def test_of_one_group_there_are_no_residuals_of_others(ocd):
    """Its own residuals would hold the answer itself."""
    examples = grouped(100, 1)
    note = choose_by_score(ocd.generator(), examples, JUDGE, SamplingConfig())
    alone = (ocd.base(examples.inputs) - examples.targets).detach()
    assert f"the base's own answer has {float(alone.norm(dim=1).mean()):.4g} (all are of one" in note
    assert "on 100 held-out lessons of 1 group:" in note and TRIVIAL not in note


@pytest.mark.parametrize(("groups", "enough"), [(4, False), (16, True)])
def test_too_few_groups_to_judge_are_said_to_be(ocd, groups, enough):
    note = choose_by_score(ocd.generator(), grouped(160, groups), JUDGE, SamplingConfig(spread=2.0))
    assert f"on 160 held-out lessons of {groups} groups:" in note
    assert ("4 groups judged, and 16 are needed to say" in note) is not enough
    few = HeldOut(*vars_of(two_answers(5, 7)))
    said = choose_by_score(ocd.generator(), few, JUDGE, SamplingConfig())
    assert "5 examples judged, and 16 are needed to say" in said
    assert "around 0 of the expected delta" in said and ocd.generator().network.centre == 0


def test_centre_and_spread_are_chosen_beside_each_other():
    """The centre that is best at the paper's spread is not the best at the best spread."""
    ways = [(c, s) for c in CENTRES for s in SPREADS]
    costs = {(c, s): abs(s - 1.5) + 0.5 * abs(c - (0.5 if s > 1 else 1)) for c, s in ways}

    def harm(centre: float) -> Tensor:
        return torch.full((40,), -1.0) if centre != 0.25 else torch.ones(40)

    assert centre_and_spread(lambda c, s: costs[c, s], harm) == (0.5, 1.5)
    wanted = {way: abs(way[0] - 0.25) for way in costs}  # a centre that harms is not tried
    assert centre_and_spread(lambda c, s: wanted[c, s], harm)[0] == 0.5
    few = centre_and_spread(lambda c, s: costs[c, s], lambda centre: harm(centre)[:15])
    assert few == (0.0, 1.5)  # on so few no harm can be told


def test_a_generator_of_one_step_learns_both_ends_from_the_score_alone():
    settings = {"diffusion.solver": "one_step", "training.score_weight": 1.0}
    made, test = fit(settings), two_answers(300, 2)
    alone = float((test.targets - made.base(test.inputs)).norm(dim=1).mean().detach())
    assert score(made, test) < 0.65 * alone  # without a spread it would be about as large
    outputs = made.predict(test.inputs, draws=40).outputs - made.base(test.inputs)
    assert ((outputs.mean(dim=2) > 0).float().mean(dim=0) - 0.5).abs().mean() < 0.35
    assert made.predict(test.inputs, mode="mean").outputs.shape == (1, 300, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(OCDError, match="goal is 'all': use one of auto, answer, distribution"):
        config({"goal": "all"})
    with pytest.raises(OCDError, match="'one_step' learns from a score of draws alone"):
        config({"diffusion.solver": "one_step"})


def test_of_classes_it_is_the_log_score(tmp_path):
    """Draws answer by their mean probability, and what is trivial is the base's own."""
    settings = {"layer": "fc1", "overfit.lr": 0.2, "goal": "distribution"}
    made = OCD(digits_base(), loss=LOSS, config=config(settings)).fit(digits(120), progress=False)
    (note,) = [note for note in made.notes if note.startswith("sampling")]
    assert "judged by the log score on" in note and "the base's answer with residuals" not in note


def test_a_generator_without_a_mean_keeps_its_draws(ocd):
    made = fit({"diffusion.prediction": "epsilon", "training.num_steps": 20})
    (note,) = [note for note in made.notes if note.startswith("sampling")]
    assert "spread 1 around 1 of the expected delta" in note


def test_examples_without_a_finite_loss_judge_nothing(ocd):
    inputs, targets = vars_of(two_answers(40, 8))
    fitted = ocd.generator()
    right = choose_by_score(fitted, HeldOut(inputs, targets), JUDGE, SamplingConfig())
    more = HeldOut(
        torch.cat([inputs, torch.full((3, 3), torch.nan)]), torch.cat([targets, targets[:3]])
    )
    assert "on 40 held-out" in choose_by_score(fitted, more, JUDGE, SamplingConfig())
    assert "on 40 held-out" in right
    none = HeldOut(inputs * torch.nan, targets)
    note = choose_by_score(fitted, none, JUDGE, SamplingConfig())
    assert "the base's loss is finite on none of the 40 held-out lessons" in note


def masked_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets.nan_to_num()) * (~targets.isnan())).square().sum(dim=1)


def chosen(ocd: OCD, examples: Examples, loss) -> tuple[str, list[float]]:
    judge = EnsembleLoss(loss, join_by_mean)
    note = choose_by_score(ocd.generator(), HeldOut(*vars_of(examples)), judge, SamplingConfig())
    network = ocd.generator().network
    return note, [float(network.get_buffer(name)) for name in ("spread", "centre")]


def test_examples_that_are_not_known_judge_nothing_and_lend_no_residual(ocd):
    known, more = two_answers(60, 5), two_answers(9, 6)
    holes = Examples(
        torch.cat([known.inputs, more.inputs]),
        torch.cat([known.targets, torch.full_like(more.targets, torch.nan)]),
    )
    wanted, way = chosen(ocd, known, masked_error)
    for loss in (masked_error, squared_error):
        note, found = chosen(ocd, holes, loss)
        assert found == way
        left_out = (
            "; 9 targets of which nothing is known (NaN, or no class of the outputs) are left out"
        )
        assert note == wanted + left_out


def test_of_a_target_that_is_known_in_part_the_part_is_scored(ocd):
    examples = two_answers(60, 5)
    examples.targets[::6, 1] = torch.nan
    note, _ = chosen(ocd, examples, masked_error)
    assert "on 60 held-out lessons" in note and "nan" not in note.lower().replace("nan in", "")
    assert "on the 50 whose whole target is known, where these draws have" in note
    assert note.endswith("; numbers that are NaN in 10 other targets are not scored")


def test_nothing_is_chosen_on_targets_of_which_nothing_is_known(ocd):
    examples = two_answers(20, 5)
    examples.targets.fill_(torch.nan)
    note, _ = chosen(ocd, examples, masked_error)
    assert "since a target is known on none of the 20 held-out lessons" in note
    chosen(ocd, two_answers(60, 5), squared_error)  # others use this generator


def test_the_best_weights_are_chosen_by_what_is_known():
    """A validation whose score is not finite would keep the weights of the first one for good."""
    examples = two_answers(300, 1)
    examples.targets[::5, 1] = torch.nan
    examples.targets[::11] = torch.nan
    losses: list[float] = []

    class Spy(tr.Trainer):
        def _validate(self) -> None:
            super()._validate()
            losses.append(self.best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocd.training.generator_training.Trainer", Spy)
        OCD(
            base(), loss=masked_error,
            config=config(SETTINGS | {"goal": "distribution", "training.validate_every": 25}),
        ).fit(examples, progress=False)  # fmt: skip
    assert losses and all(torch.tensor(losses).isfinite())
    assert losses[-1] < losses[0]
