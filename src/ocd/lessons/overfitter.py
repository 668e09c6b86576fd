"""Eq. 1 with everything decided: overfits batches of one problem's examples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ocd.base import Capture, Delta, FrozenBase, Loss
from ocd.data import Batch, Inputs, Targets, join_rows, seeded, take_rows, to_device
from ocd.lessons.config import LessonConfig
from ocd.lessons.overfitting import overfit_batch
from ocd.lessons.plan import Plan
from ocd.lessons.problem import Problem
from ocd.lessons.steps import OverfitConfig


@dataclass
class Overfitter:
    """Overfits examples of a problem at the layer of a plan.

    `config`: with the plan's learning rate and form. `skipped`: indices of the examples that were left
    out so far, since their loss or delta was not finite. `new`: as the plan has it.
    """

    problem: Problem
    frozen: FrozenBase
    config: OverfitConfig
    num_workers: int = 0
    skipped: set[int] = field(default_factory=set)
    new: bool = False

    @classmethod
    def of_plan(cls, problem: Problem, plan: Plan, config: LessonConfig) -> Overfitter:
        """The overfitter of a fit: the settings of Eq. 1 with what its plan decided."""
        frozen = problem.frozen_at(plan.layer, config.channels_last)
        frozen.way = plan.way
        decided = replace(config.overfit, lr=plan.lr, form=plan.form, unit=plan.unit)
        return cls(problem, frozen, decided, config.collection.num_workers, new=plan.new)

    @property
    def loss(self) -> Loss:
        """The problem's loss, of answers as passes give them."""
        return self.problem.packed_loss

    def fetch(self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None) -> Batch:
        """Examples by index, augmented, on the base's device. `batch`: the same, read ahead."""
        if batch is not None:
            device = self.frozen.device
            return to_device(batch[0], device), to_device(batch[1], device)
        inputs, targets = self.problem.fetch(indices)
        if self.problem.transform is not None:
            inputs = self.problem.transform(inputs, generator)
        return inputs, targets

    def fetch_each(self, indices: Tensor, seed: int) -> Batch:
        """Examples by index, each augmented alone, by a generator of its own: what comes of an example
        does not depend on the batch that it is in."""
        inputs, targets = self.problem.fetch(indices)
        transform = self.problem.transform
        if transform is not None and len(indices):
            each = [
                transform(take_rows(inputs, slice(row, row + 1)), seeded(seed, 1, example))
                for row, example in enumerate(indices.tolist())
            ]
            inputs = join_rows(*each)
        return inputs, targets

    def overfit(self, inputs: Inputs, targets: Targets, capture: Capture | None = None) -> Delta:
        """Eq. 1: the delta of each example, (B, 1, ...). `capture`: of the inputs, if it was made."""
        return overfit_batch(
            self.frozen, self.loss, inputs, targets, self.config, self.problem.excerpt, capture
        )
