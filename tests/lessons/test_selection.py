"""Selection: entropies as SciPy estimates them, of losses as the loop over copies gives them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from torch import Tensor, nn

import reference
from nets import (
    Case,
    Three,
    TwoScales,
    cross_entropy,
    every_case,
    get_case,
    state_of,
    targets,
)
from ocd.base import FrozenBase, Way, probe
from ocd.errors import OCDError
from ocd.lessons import LayerScores, SelectionConfig, select_layer
from ocd.lessons.entropy import SMALLEST_SPREAD, kde_entropies
from ocd.lessons.race import perturbed_losses

FEW = SelectionConfig(num_examples=8, num_draws=40, race=False)


def scipy_entropy(losses: Tensor) -> float:
    """−∫ p log p of SciPy's density, by a fine trapezoid rule."""
    density = gaussian_kde(losses.numpy(), bw_method="silverman")
    margin = 8 * math.sqrt(density.covariance[0, 0])
    grid = np.linspace(losses.min().item() - margin, losses.max().item() + margin, 20_001)
    values = density(grid)
    return float(np.trapezoid(-values * np.log(values + 1e-300), grid))


# The entropy


@pytest.mark.parametrize("num_draws", [2, 20, 300, 1000])
@pytest.mark.parametrize("shape", ["normal", "skewed", "two humps", "outlier", "tiny", "far away"])
def test_the_entropy_is_scipys(shape: str, num_draws: int) -> None:
    random = np.random.default_rng(num_draws)
    losses = {
        "normal": random.normal(size=num_draws),
        "skewed": random.lognormal(sigma=1.5, size=num_draws),
        "two humps": random.normal(size=num_draws) + 20 * (np.arange(num_draws) % 2),
        "outlier": np.append(random.normal(size=num_draws - 1), 30.0),
        "tiny": 1e-5 * random.normal(size=num_draws),
        "far away": 1e3 + random.normal(size=num_draws),
    }[shape]
    row = torch.from_numpy(losses)
    assert kde_entropies(row[None])[0] == pytest.approx(scipy_entropy(row), abs=1e-3)


def test_rows_are_independent() -> None:
    rows = torch.randn(5, 60, generator=torch.Generator().manual_seed(0))
    rows *= torch.tensor([[1e-3], [1.0], [5.0], [100.0], [2.0]])
    alone = torch.cat([kde_entropies(row[None]) for row in rows])
    torch.testing.assert_close(kde_entropies(rows), alone)


def test_the_entropy_grows_with_the_spread_and_ignores_the_place() -> None:
    row = torch.randn(1, 500, generator=torch.Generator().manual_seed(0)).double()
    at_home = kde_entropies(row)
    torch.testing.assert_close(kde_entropies(row + 7), at_home)
    torch.testing.assert_close(kde_entropies(3 * row), at_home + math.log(3))


def test_a_constant_loss_has_a_finite_and_very_low_entropy() -> None:
    constant = kde_entropies(torch.full((1, 100), 2.5))
    spread = SMALLEST_SPREAD * (100 * 3 / 4) ** -0.2
    # That of one normal distribution as wide as the bandwidth: log(σ √(2πe)).
    assert constant.item() == pytest.approx(
        math.log(spread * math.sqrt(2 * math.pi * math.e)), abs=1e-3
    )


# The losses


@every_case
def test_perturbed_losses_are_those_of_perturbed_copies(case: Case) -> None:
    base, inputs, labels = case.build(), case.inputs(3), targets(3)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, inputs)
    with torch.no_grad():
        losses = perturbed_losses(
            frozen,
            frozen.capture(inputs),
            cross_entropy,
            labels,
            4,
            0.2,
            torch.Generator().manual_seed(5),
        )
    weight = base.get_submodule(case.layer).weight.detach()
    size = 0.2 * weight.square().mean().sqrt()
    noise = torch.randn(1, 4, *weight.shape, generator=torch.Generator().manual_seed(5))
    outputs = reference.run(
        base, case.layer, inputs, (noise.double() * size).expand(3, *noise.shape[1:])
    )
    expected = torch.stack([cross_entropy(outputs[:, k], labels) for k in range(4)], dim=1)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)


def test_perturbations_in_several_chunks_have_the_right_size() -> None:
    """The loss is the squared shift of the output, so its mean is the perturbation's variance."""
    base = nn.Linear(3, 2, bias=False)
    inputs = torch.ones(64, 3)
    frozen = FrozenBase(base, "", way=Way("shift", widen=True))
    own = base(inputs).detach()

    def loss(outputs: Tensor, which: Tensor) -> Tensor:
        return (outputs - own[which]).square().sum(1)

    with torch.no_grad():
        losses = perturbed_losses(
            frozen,
            frozen.capture(inputs),
            loss,
            torch.arange(64),
            2000,  # 64 draws fit into a chunk
            0.3,
            torch.Generator().manual_seed(0),
        )
    assert losses.shape == (64, 2000)
    assert len(losses[0].unique()) > 1900, "chunks repeat each other's draws"
    expected = 2 * 3 * 0.3**2 * base.weight.detach().square().mean()
    assert losses[0].mean() == pytest.approx(expected.item(), rel=0.1)


# The scores


def test_scores_are_means_over_examples_with_their_standard_errors() -> None:
    case = get_case("batch norm, dropout: fc")
    base, inputs, labels = case.build(), case.inputs(10), targets(10)
    scores = select_layer(base, cross_entropy, inputs, labels, FEW, seed=3)
    assert scores.names == ["conv", "conv2", "fc", "head"]  # the order of the network
    for name, score, error in zip(scores.names, scores.scores, scores.standard_errors, strict=True):
        frozen = FrozenBase(base, name)
        probe(frozen, inputs)
        with torch.no_grad():
            losses = perturbed_losses(
                frozen,
                frozen.capture(inputs[:8]),
                cross_entropy,
                labels[:8],
                FEW.num_draws,
                FEW.relative_size,
                torch.Generator().manual_seed(3),
            )
        entropies = [scipy_entropy(row) for row in losses]
        assert score == pytest.approx(np.mean(entropies), abs=2e-3)
        assert error == pytest.approx(np.std(entropies, ddof=1) / math.sqrt(8), abs=2e-3)


def test_the_best_and_the_second_best_layer() -> None:
    scores = LayerScores(["a", "b", "c"], [-3.0, 1.0, -2.0], [0.1, 0.1, 0.1])
    assert scores.ranked() == ["b", "c", "a"]
    assert [scores.layer(), scores.layer(1), scores.layer(2), scores.layer(rank=3)] == [
        "b",
        "b",
        "c",
        "a",
    ]
    for rank in (0, 4, -1):
        with pytest.raises(OCDError, match=f"rank is {rank}, but there are 3 layers"):
            scores.layer(rank)


def test_a_layer_without_influence_scores_lowest() -> None:
    class Dead(Three):
        def __init__(self) -> None:
            super().__init__()
            self.dead = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return 0 * self.dead(x) + self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    torch.manual_seed(0)
    base, inputs = Dead(), torch.randn(8, 5)
    scores = select_layer(base, cross_entropy, inputs, targets(8), FEW)
    assert scores.ranked()[-1] == "dead"
    assert scores.scores[scores.names.index("dead")] < min(scores.scores[:-1]) - 5
    assert all(math.isfinite(score) for score in scores.scores)


def test_a_layer_with_more_influence_scores_higher() -> None:
    class Weighted(Three):
        def forward(self, x: Tensor) -> Tensor:
            return 10 * self.a(x)[:, :3] + 0.1 * self.c(x.repeat(1, 2)[:, :6])

    torch.manual_seed(0)
    base, inputs = Weighted(), torch.randn(8, 5)
    assert select_layer(base, cross_entropy, inputs, targets(8), FEW).ranked() == ["a", "c"]


def test_the_same_seed_gives_the_same_scores() -> None:
    case = get_case("residual")
    base, inputs = case.build(), case.inputs(8)
    one, again, other = (
        select_layer(base, cross_entropy, inputs, targets(8), FEW, seed=seed) for seed in (4, 4, 5)
    )
    assert one == again
    assert one.scores != other.scores


def test_a_layers_score_does_not_depend_on_the_others() -> None:
    case = get_case("batch norm, dropout: fc")
    base, inputs = case.build(), case.inputs(6)
    together = select_layer(base, cross_entropy, inputs, targets(6), FEW)
    alone = select_layer(base, cross_entropy, inputs, targets(6), FEW, layers=["fc"])
    assert alone.names == ["fc"]
    assert alone.scores[0] == together.scores[together.names.index("fc")]


def test_only_the_first_examples_are_used() -> None:
    case = get_case("tuple")
    base, inputs = case.build(), case.inputs(12)
    many = select_layer(base, cross_entropy, inputs, targets(12), FEW)
    few = select_layer(base, cross_entropy, tuple(x[:8] for x in inputs), targets(8), FEW)
    assert many == few


def test_one_example_has_a_score_but_no_standard_error() -> None:
    case = get_case("residual")
    scores = select_layer(
        case.build(),
        cross_entropy,
        case.inputs(4),
        targets(4),
        SelectionConfig(num_examples=1, num_draws=20),
    )
    assert all(math.isfinite(score) for score in scores.scores)
    assert all(math.isnan(error) for error in scores.standard_errors)


def test_layers_that_cannot_be_moved_are_named_with_the_reason() -> None:
    torch.manual_seed(0)
    scores = select_layer(TwoScales(), cross_entropy, torch.randn(6, 9), targets(6), FEW)
    assert scores.names == ["c"] and "does not depend" in scores.skipped["a"]
    assert "moves by the vectorized way only" in scores.skipped["b"]


def test_examples_whose_losses_are_not_finite_do_not_count() -> None:
    case = get_case("batch norm, dropout: fc")
    base, inputs = case.build(), case.inputs(6)
    inputs[2] = torch.nan
    keep = torch.tensor([0, 1, 3, 4, 5])
    spoiled = select_layer(base, cross_entropy, inputs, targets(6), FEW)
    without = select_layer(base, cross_entropy, inputs[keep], targets(6)[keep], FEW)
    assert spoiled.scores == pytest.approx(without.scores, abs=1e-9)
    assert spoiled.standard_errors == pytest.approx(without.standard_errors, abs=1e-9)


def test_a_layer_without_any_finite_loss_is_left_out() -> None:
    class Fragile(Three):
        def forward(self, x: Tensor) -> Tensor:
            y = self.b(x.repeat(1, 2)[:, :6])
            moved = (y - self.b.weight.new_tensor(self.own)).abs().sum(1, keepdim=True) > 1e-4
            return self.a(x)[:, :3] + 0 * y[:, :3] + torch.where(moved, torch.inf, 0.0)

    torch.manual_seed(0)
    base, inputs = Fragile(), torch.randn(4, 5)
    with torch.no_grad():
        base.own = base.b(inputs[:1].repeat(1, 2)[:, :6]).tolist()
    same = inputs[:1].expand(4, 5).clone()
    scores = select_layer(
        base, lambda y, t: y.square().sum(1), same, targets(4), FEW, layers=["a", "b"]
    )
    assert scores.names == ["a"] and "'b'" in scores.skipped["b"]
    with pytest.raises(OCDError, match="no layer that OCD can move: no example has finite losses"):
        select_layer(base, lambda y, t: y.square().sum(1), same, targets(4), FEW, layers=["b"])


def test_a_base_without_layers() -> None:
    with pytest.raises(OCDError, match="no Linear, Conv1d or Conv2d"):
        select_layer(nn.Flatten(), cross_entropy, torch.randn(4, 3), targets(4), FEW)


def test_a_loss_that_reduces() -> None:
    case = get_case("residual")
    with pytest.raises(OCDError, match="one value an example"):
        select_layer(
            case.build(), nn.functional.cross_entropy, case.inputs(4), targets(4), FEW, layers=["b"]
        )


def test_nothing_of_the_base_is_changed() -> None:
    case = get_case("residual transformer")
    base, inputs = case.build().train(), case.inputs(4)
    own, before = copy.deepcopy(inputs), state_of(base)
    select_layer(base, cross_entropy, inputs, targets(4), SelectionConfig(4, 10))
    assert state_of(base) == before
    assert torch.equal(inputs, own)


@pytest.mark.parametrize("options", [{"num_draws": 1}, {"num_examples": 0}, {"relative_size": 0.0}])
def test_a_configuration_that_means_nothing(options: dict[str, float]) -> None:
    with pytest.raises(OCDError, match="selection needs"):
        SelectionConfig(**options)


# The race


class Damped(nn.Module):
    """Behind `a` everything is damped, and behind `c` nothing is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = 0.01 * torch.tanh(self.a(x))
        return self.c(1 + 0.3 * torch.tanh(self.b(1 + hidden)))


def raced(race: bool, **settings: float) -> LayerScores:
    torch.manual_seed(0)
    base, inputs = Damped(), torch.randn(32, 6)
    config = SelectionConfig(num_examples=32, num_draws=400, race=race, **settings)
    return select_layer(base, cross_entropy, inputs, targets(32), config)


def test_a_race_has_the_winner_of_the_full_count_and_fewer_losses() -> None:
    fast, full = raced(True), raced(False)
    assert full.draws == [400] * 3 and full.num_losses == 3 * 400 * 32
    assert fast.ranked() == full.ranked()
    assert fast.num_losses < full.num_losses / 2
    assert fast.draws[fast.names.index("a")] == 50  # it left after the first round


def two_alike() -> nn.Sequential:
    """Two layers whose perturbations spread the loss alike."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        base[1].weight.copy_(torch.eye(3))
        base[0].weight.div_(base[0].weight.norm())
    return base


def test_layers_that_are_alike_get_all_draws() -> None:
    base = two_alike()
    config = SelectionConfig(num_examples=4, num_draws=80)  # too few examples for any doubt to end
    scores = select_layer(base, cross_entropy, torch.randn(4, 6), targets(4), config)
    assert scores.draws == [80, 80] and scores.num_losses == 2 * 80 * 4


def test_who_left_early_ranks_behind_whoever_stayed() -> None:
    scores = LayerScores(["a", "b", "c"], [5.0, 1.0, 2.0], [0.1] * 3, draws=[10, 80, 80])
    assert scores.ranked() == ["c", "b", "a"] and scores.layer(2) == "b"


def test_the_losses_are_counted_as_they_are_made() -> None:
    done: list[int] = []
    config = SelectionConfig(num_examples=8, num_draws=80)
    scores = select_layer(
        Damped(), cross_entropy, torch.randn(8, 6), targets(8), config, advance=done.append
    )
    assert sum(done) == scores.num_losses


def test_a_budget_ends_the_race_with_the_best_so_far() -> None:
    torch.manual_seed(0)
    base, inputs, config = Damped(), torch.randn(64, 6), SelectionConfig(num_draws=400)
    full = select_layer(base, cross_entropy, inputs, targets(64), config)
    few = select_layer(base, cross_entropy, inputs, targets(64), config, budget=1600)
    least = select_layer(base, cross_entropy, inputs, targets(64), config, budget=1)
    assert few.layer() == full.layer() == "c"
    assert few.num_losses <= 1600 < full.num_losses
    assert least.num_losses == 3 * 8 * 8  # eight draws and examples are the least that can tell


def test_layers_that_the_budget_left_undecided_are_named() -> None:
    base = two_alike()
    config = SelectionConfig(num_examples=4, num_draws=80)
    scores = select_layer(base, cross_entropy, torch.randn(4, 6), targets(4), config, budget=100)
    other = next(name for name in ("0", "1") if name != scores.layer())
    assert scores.over_budget and sorted(scores.undecided) == ["0", "1"]
    assert scores.note().endswith(f"not told apart within the budget (selection.budget) from {other}")


def test_what_the_base_said_of_the_winner_is_handed_on() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(32, 6)
    base = Damped()
    scores = select_layer(base, cross_entropy, inputs, targets(32), SelectionConfig(32, 400))
    assert scores.winner is not None
    frozen, capture = scores.winner
    assert frozen.name == scores.layer() and torch.equal(capture.inputs, inputs)
    assert torch.equal(capture.output, base(inputs))


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize("setting", ["budget", "relative_size"])
def test_numbers_that_say_nothing_are_refused(setting: str, value: str) -> None:
    with pytest.raises(
        OCDError, match=r"selection\b.*(positive and finite|a finite relative_size > 0)"
    ):
        SelectionConfig(**{setting: float(value)})
