"""Moving must not harm: where nothing can be gained, OCD answers as the base does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig
from ocd.baselines.fine_tuned_base import fine_tune
from ocd.fitting import steps
from ocd.lessons import common_move, is_gain
from ocd.prediction import AS_THE_BASE, sampling
from ocd.training import batches

ENOUGH, TRIAL = batches.ENOUGH_TO_JUDGE, steps.TRIAL_STEPS
CONFIDENCE = common_move.CONFIDENCE


@pytest.fixture(autouse=True)
def _fits_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in the tests they move in any case, and fewer examples are held out (small_run.py)."""
    monkeypatch.setattr(steps, "TRIAL_STEPS", TRIAL)
    monkeypatch.setattr(common_move, "CONFIDENCE", CONFIDENCE)
    monkeypatch.setattr(batches, "ENOUGH_TO_JUDGE", ENOUGH)


QUICK = OCDConfig().replace(
    {
        "layer": "2",
        "training.num_steps": 200,
        "denoiser.width": 64,
        "denoiser.embedding": 64,
    }
)


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="none")


def rule() -> nn.Module:
    """A network that is taken for the truth."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4), Times(3.0)).eval()


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def labelled(count: int, seed: int) -> Examples:
    """Inputs, and labels drawn from the probabilities of the rule."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 6, generator=generator)
    with torch.no_grad():
        probabilities = rule()(inputs).softmax(dim=1)
    return Examples(inputs, torch.multinomial(probabilities, 1, generator=generator)[:, 0])


TEST = labelled(4000, seed=9)


def losses(base: nn.Module, examples: Examples, seed: int = 0) -> tuple[float, float, OCD]:
    """Of the base and of five draws, on the test examples."""
    ocd = OCD(base, loss=loss, config=QUICK.replace({"seed": seed}))
    ocd.fit(examples, progress=False)
    answers = ocd.predict(TEST.inputs).mean
    with torch.no_grad():
        own = loss(base(TEST.inputs), TEST.targets).mean()
    return float(own), float(loss(answers, TEST.targets).mean()), ocd


@pytest.mark.parametrize("count", [20, 300, 3000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_base_that_answers_by_the_true_rule_is_not_spoiled(count: int, seed: int) -> None:
    own, ours, ocd = losses(rule(), labelled(count, seed=seed + 1), seed)
    assert ours <= 1.01 * own
    assert any(note.startswith("sampling: ") for note in ocd.notes)


def test_labels_that_are_noise_move_nothing() -> None:
    examples = labelled(600, seed=3)
    noise = torch.randint(4, (600,), generator=torch.Generator().manual_seed(4))
    base = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
    nn.init.zeros_(base[2].weight)  # it knows that nothing is known
    nn.init.zeros_(base[2].bias)
    base.eval()
    ocd = OCD(base, loss=loss, config=QUICK).fit(Examples(examples.inputs, noise), progress=False)
    p = ocd.predict(TEST.inputs)
    assert torch.equal(p.mean, base(TEST.inputs)) and torch.equal(p.mean_network, p.base)
    assert (p.scale == 0).all() and (p.std == 0).all()
    assert p.note == "OCD answers as the base does" and any(p.note in note for note in ocd.notes)


def test_a_base_with_much_to_learn_is_moved() -> None:
    torch.manual_seed(5)
    poor = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4), Times(1.0)).eval()
    own, ours, ocd = losses(poor, labelled(1000, seed=2))
    assert ours < 0.93 * own and ocd.predict(TEST.inputs[:2]).note != AS_THE_BASE


@pytest.mark.parametrize("count", [16, 300])
def test_all_layers_fine_tuned_on_few_lessons_stay_where_nothing_is_gained(count: int) -> None:
    base, lessons = rule(), labelled(count, seed=3)
    network = fine_tune(base, loss, count, lambda index, _: lessons.rows(index), seed=0, progress=False)
    assert all(map(torch.equal, network.state_dict().values(), base.state_dict().values()))


def test_all_layers_fine_tuned_gain_where_much_is_to_learn() -> None:
    torch.manual_seed(5)
    poor = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    lessons = labelled(1000, seed=2)
    network = fine_tune(poor, loss, 1000, lambda index, _: lessons.rows(index), seed=0, progress=False)
    own, tuned = (loss(net(TEST.inputs), TEST.targets).mean() for net in (poor, network))
    assert tuned < 0.9 * own


@pytest.mark.parametrize(("gain", "count", "undone"), [
    (-1.0, 50, True), (0.1, 50, False), (-0.1, 49, False), (-9.0, 49, True), (-9.0, 1, False),
])  # fmt: skip
def test_few_judges_undo_a_common_move_only_beyond_doubt(gain: float, count: int, undone: bool) -> None:
    torch.manual_seed(0)
    gains = torch.randn(count)
    gains += gain - gains.mean()
    assert sampling._undone(gains, sampling.SamplingConfig()) is undone


def test_copies_of_an_example_are_no_further_evidence() -> None:
    torch.manual_seed(0)
    gains = torch.randn(1, 20).double()
    gains += 0.3 - gains.mean()
    copied = gains.repeat(1, 50)
    assert not is_gain(gains, 0.99) and is_gain(copied, 0.99)
    again = sampling.as_evidence(copied, torch.arange(20).repeat(50))
    assert torch.allclose(again, gains) and not is_gain(again, 0.99)
    assert not is_gain(torch.ones(1, 15) + torch.arange(15), 0.99)  # too few to say


def test_a_loss_that_a_move_makes_infinite_is_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss with a domain: most examples gain by a move that leaves it for some."""

    def with_domain(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0].log() - targets).square()

    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).eval()
    with torch.no_grad():
        base[2].bias.fill_(1.5)
    x = torch.randn(1500, 4)
    with torch.no_grad():
        assert (base(x) > 0).all()
    targets = 2 * x[:, 0] - 3.0  # far below: outputs are to come near to zero
    config = QUICK.replace({"training.num_steps": 100})
    ocd = OCD(base, loss=with_domain, config=config).fit(Examples(x, targets), progress=False)
    new = torch.randn(2000, 4)
    own, ours = (with_domain(y, 2 * new[:, 0] - 3.0) for y in (base(new), ocd.predict(new).mean))
    finite = own.isfinite()
    assert ours[finite].isfinite().float().mean() > 0.999
    assert ours[finite & ours.isfinite()].mean() <= 1.01 * own[finite].mean()


def test_what_is_known_of_a_group_does_not_judge_it() -> None:
    """Errors that all examples of a group share look like a gain to who has seen others of it."""
    chance = torch.Generator().manual_seed(0)
    number = torch.arange(1200) // 6
    place = torch.randn(200, 6, generator=chance)[number]
    inputs = place + 0.05 * torch.randn(1200, 6, generator=chance)
    base = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    nn.init.zeros_(base[2].weight)
    nn.init.zeros_(base[2].bias)
    lessons = Examples(inputs, torch.randint(4, (200,), generator=chance)[number])
    moved = OCD(base, loss=loss, config=QUICK).fit(lessons, progress=False)
    kept = OCD(base, loss=loss, config=QUICK).fit(lessons, progress=False, groups=number.tolist())
    assert not torch.equal(moved.predict(TEST.inputs).mean, base(TEST.inputs))
    assert torch.equal(kept.predict(TEST.inputs).mean, base(TEST.inputs))
    assert any("groups" in note for note in kept.notes)


@pytest.mark.parametrize("groups", [2, 4])
def test_the_one_group_that_is_held_out_judges_how_draws_are_taken(groups: int) -> None:
    """Were it to choose the best weights, nothing would be known of the spread of draws."""
    torch.manual_seed(0)
    inputs = torch.randn(200, 6)
    targets = inputs[:, :3] + torch.randn(200, 3)
    base = nn.Linear(6, 3)
    config = OCDConfig().replace({"goal": "distribution", "training.num_steps": 20})
    config = config.replace({"layer": "0", "overfit.lr": 0.1, "denoiser.width": 16})

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).square().mean(dim=1)

    fitted = OCD(nn.Sequential(base), loss=loss, config=config)
    fitted.fit(Examples(inputs, targets), progress=False, groups=[n % groups for n in range(200)])
    (used,) = [note for note in fitted.notes if note.startswith("examples:")]
    (taken,) = [note for note in fitted.notes if note.startswith("sampling:")]
    held_out = 200 // groups
    assert f"{held_out} others judge moves" in used and "best weights" not in used
    assert "of 1 group:" in taken and "1 group judged, and 16 are needed" in taken
    assert float(fitted.predict(inputs[:4], draws=6).outputs.std(dim=0).mean()) > 0
