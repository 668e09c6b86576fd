"""x"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import FrozenBase, Loss
from ocd.config import OCDConfig
from ocd.data import Excerpt, Inputs, fetch_rows, take_excerpt, to_device
from ocd.generator import Condition
from ocd.lessons.overfitting import OverfitConfig
from ocd.lessons.plan import Plan
from ocd.training import Fetched


def make_overfitter(
    base: nn.Module,
    loss: Loss,
    dataset: Dataset[Any],
    config: OCDConfig,
    transform: Transform | None,
    plan: Plan,
    excerpt: Excerpt | None,
    condition: Condition,
) -> Overfitter:
    """What overfits the examples of this fit."""
    assert plan.layer is not None
    frozen = FrozenBase(base, plan.layer, plan.widen, config.channels_last)
    overfit = replace(config.overfit, lr=plan.lr, form=plan.form or "auto")
    return Overfitter(
        frozen, dataset, loss, overfit, condition, transform, excerpt,
        num_workers=config.collection.num_workers,
    )  # fmt: skip


Transform = Callable[[Inputs, torch.Generator], Inputs]


@dataclass
class Overfitter:
    """Overfits examples of a dataset, augmented where there is a transform."""

    frozen: FrozenBase
    dataset: Dataset[Any]
    loss: Loss
    overfit: OverfitConfig
    condition: Condition
    transform: Transform | None = None
    excerpt: Excerpt | None = None
    skipped: set[int] = field(default_factory=set)
    num_workers: int = 0

    def fetch(
        self, index: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> Fetched:
        """Examples by index, augmented, on the base's device; `fetched`: the same, read ahead."""
        if fetched is not None:
            return to_device(fetched[0], self.frozen.device), fetched[1].to(self.frozen.device)
        inputs, targets = fetch_rows(self.dataset, index)
        inputs, targets = to_device(inputs, self.frozen.device), targets.to(self.frozen.device)
        if self.transform is not None:
            inputs = self.transform(inputs, generator)
        return inputs, targets

    def part(
        self, inputs: Inputs, targets: Tensor, size: int, generator: torch.Generator
    ) -> tuple[Inputs, Tensor]:
        """An excerpt of these examples, or all of them (ocd.excerpts)."""
        return take_excerpt(self.excerpt, inputs, targets, size, generator)
