"""Whether augmented lessons are as good as new to a base that was fitted on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig
from ocd.base import FrozenBase
from ocd.lessons import Overfitter, Problem
from ocd.lessons.unseen import new_if_augmented

Transform = Callable[[Tensor, torch.Generator], Tensor]
EIGHT = {"overfit.lr": 0.1, "training.num_steps": 2, "training.batch_size": 8, "denoiser.width": 8}

SIZE = "SIZE_OF_THE_NOISE"  # of a transform that depends on more than its code


class Knows(nn.Module):
    """Answers the lessons nearly rightly, by the nearest of them, and other inputs as it falls out."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)
        with torch.no_grad():
            self.head.weight.fill_(1.0)
            self.head.bias.fill_(0.1)
        self.inputs, self.targets = inputs, targets

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.targets[torch.cdist(inputs, self.inputs).argmin(dim=1)])


def noise(size: float) -> Transform:
    return lambda inputs, generator: inputs + size * torch.randn(inputs.shape, generator=generator)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=1)


def lessons(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 6, generator=generator), torch.randn(count, 1, generator=generator)


@pytest.mark.parametrize(("transform", "new"), [(None, False), (noise(0.01), False), (noise(3), True)])
def test_augmented_lessons_are_new_where_the_base_errs_far_more_on_them(
    transform: Transform | None, new: bool
) -> None:
    inputs, targets = lessons(60)
    problem = Problem(Knows(inputs, targets), squared, Examples(inputs, targets), transform=transform)
    overfitter = Overfitter(problem, FrozenBase(problem.base, "head"), OCDConfig().overfit)
    assert new_if_augmented(overfitter) is new


@pytest.mark.parametrize(("size", "judging"), [(0.01, 25), (3.0, 50)])
def test_few_lessons_have_fifty_judges_where_they_are_new(
    size: float, judging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocd.training.batches.ENOUGH_TO_JUDGE", 512)
    inputs, targets = lessons(200)
    config = OCDConfig(layer="head").replace(EIGHT)
    made = OCD(Knows(inputs, targets), loss=squared, config=config, transform=noise(size))
    made.fit(Examples(inputs, targets), progress=False)
    assert any(f"; {judging} others judge moves" in note for note in made.notes), made.notes


def test_whether_lessons_are_new_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that goes on has the judges that it began with, also where a transform augments otherwise
    each time: else lessons that it was trained on would judge it."""
    monkeypatch.setattr("ocd.training.batches.ENOUGH_TO_JUDGE", 512)
    inputs, targets = lessons(200)
    monkeypatch.setenv(SIZE, "3")

    def transform(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + float(os.environ[SIZE]) * torch.randn(inputs.shape, generator=generator)

    def fit() -> list[str]:
        config = OCDConfig(layer="head").replace(EIGHT)
        made = OCD(Knows(inputs, targets), loss=squared, config=config, transform=transform)
        return made.fit(Examples(inputs, targets), tmp_path / "fit", progress=False).notes

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ocd.training.trainer.Trainer.run", stop)
        with pytest.raises(KeyboardInterrupt):
            fit()
    monkeypatch.setenv(SIZE, "0")
    assert any("; 50 others judge moves" in note for note in fit())


def test_no_lessons_are_kept_for_judging_where_validation_examples_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ocd.training.batches.ENOUGH_TO_JUDGE", 512)
    every = Examples(*lessons(210))
    (inputs, targets), judges = every.rows(slice(0, 150)), Examples(*every.rows(slice(150, None)))
    config = OCDConfig(layer="head").replace(EIGHT)
    made = OCD(Knows(inputs, targets), loss=squared, config=config, transform=noise(3))
    with pytest.warns(UserWarning, match="fitted on the lessons"):
        made.fit(Examples(inputs, targets), progress=False, validation=judges)
    assert any("113 lessons train the generator; 19 others choose" in note for note in made.notes)


def test_losses_that_are_not_finite_say_nothing_of_new_lessons() -> None:
    """The loss of most lessons as they are is infinite, and was counted as none at all."""
    inputs, targets = lessons(200)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        wrong = (outputs - targets).abs()[:, 0]
        return torch.where(wrong > 0, 1.0, torch.inf)

    base = Knows(inputs, targets)
    with torch.no_grad():
        base.head.bias.zero_()  # two in three answers are right, to the bit
    known = targets.clone()
    known[::3] += 0.1
    problem = Problem(base, loss, Examples(inputs, known), transform=noise(3))
    overfitter = Overfitter(problem, FrozenBase(problem.base, "head"), OCDConfig().overfit)
    assert not new_if_augmented(overfitter)
