"""Has the base seen the lessons? Then it errs on them more rarely than on examples to come.

The method learns from moves that mend the base's errors. On examples that the base was fitted on hardly
any errors are left, and the few that are left are noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.base import FrozenBase, example_losses
from ocd.data import dataset_size
from ocd.lessons.problem import Problem

MOST = 2048
"""Examples of either kind that are compared."""
CERTAIN = 4.0
"""Standard errors by which the losses have to differ."""
FAR = 1.5
"""Times that the loss on validation examples has to be that on the lessons."""


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
