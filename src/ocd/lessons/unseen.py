"""Has the base seen the lessons? Then it errs on them more rarely than on examples to come.

The method learns from moves that mend the base's errors. On examples that the base was fitted on hardly
any errors are left, and the few that are left are noise. Augmentation makes such examples as good as
new, if it changes them enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.base import FrozenBase, example_losses
from ocd.data import Inputs, Targets, dataset_size, seeded
from ocd.lessons.gain import is_gain
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.problem import Problem

MOST = 2048
"""Examples of either kind that are compared."""
CERTAIN = 4.0
"""Standard errors by which the losses have to differ."""
FAR = 1.5
"""Times that the loss on validation examples has to be that on the lessons."""

NEW = 2.0
"""Times that the loss on augmented lessons has to be that on them as they are, to be as good as new."""
FEW = 500
"""Lessons from which on there are enough judges in any case, also where some are skipped."""


def new_if_augmented(overfitter: Overfitter) -> bool:
    """Whether lessons are few, and augmentation takes them out of what the base was fitted on: its loss
    on them is then far above that on the same as they are. With noise that changes little it is not,
    and moves that gained on such lessons took the test loss of a base that knew them from 0.45 to 0.55.
    False too where validation examples judge in their place."""
    problem = overfitter.problem
    size = dataset_size(problem.dataset)
    if problem.transform is None or problem.judged or size >= FEW:
        return False
    found = []
    for number, index in enumerate(torch.arange(min(256, size)).split(32)):
        own = _losses_of(overfitter.frozen, problem, *problem.fetch(index))
        augmented = _losses_of(
            overfitter.frozen, problem, *overfitter.fetch(index, seeded(0, 12, number))
        )
        found.append(torch.stack([own, augmented]))
    own, augmented = torch.cat(found, dim=1)
    known = own.isfinite() & augmented.isfinite()
    more = (augmented - NEW * own)[known]
    return len(more) > 1 and float(own[known].mean()) > 0 and bool(is_gain(more[None], 0.99))


@torch.no_grad()
def _losses_of(frozen: FrozenBase, problem: Problem, inputs: Inputs, targets: Targets) -> Tensor:
    return example_losses(problem.packed_loss, frozen.answer(inputs), targets).double()


def warning_if_seen(frozen: FrozenBase, lessons: Problem, validation: Problem) -> str | None:
    """A line where the base's loss on the lessons is far below that on the validation examples."""
    seen, unseen = _losses(frozen, lessons), _losses(frozen, validation)
    if min(len(seen), len(unseen)) < 2:
        return None
    error = (seen.var() / len(seen) + unseen.var() / len(unseen)).sqrt()
    own, other = float(seen.mean()), float(unseen.mean())
    if other - own <= CERTAIN * float(error) or other <= FAR * max(own, 0.0):
        return None
    return (
        f"the base's loss is {own:.4g} on the lessons and {other:.4g} on the validation examples: it "
        "was fitted on the lessons, so that few of its errors are left in them to learn from. Hand in "
        "examples that it was not trained on"
    )


@torch.no_grad()
def _losses(frozen: FrozenBase, problem: Problem) -> Tensor:
    """The base's losses on the first examples, not augmented, where they are finite."""
    found = []
    for index in torch.arange(min(MOST, dataset_size(problem.dataset))).split(256):
        inputs, targets = problem.fetch(index)
        if problem.is_augmented:
            output = frozen.answer(inputs)
        else:
            output = problem.capture(frozen, index, inputs).output
        found.append(example_losses(problem.packed_loss, output, targets))
    losses = torch.cat(found).double()
    return losses[losses.isfinite()]
