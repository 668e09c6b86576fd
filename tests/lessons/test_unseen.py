"""Whether augmented lessons are as good as new to a base that was fitted on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig
from ocd.base import FrozenBase
from ocd.lessons import Overfitter, Problem, new_if_augmented

Transform = Callable[[Tensor, torch.Generator], Tensor]
EIGHT = {"overfit.lr": 0.1, "training.num_steps": 2, "training.batch_size": 8, "denoiser.width": 8}


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
