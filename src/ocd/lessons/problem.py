"""What a user hands in for a fit, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import Loss
from ocd.data import Excerpt, Inputs, fetch_rows, take_excerpt, to_device
from ocd.generator import Condition

Transform = Callable[[Inputs, torch.Generator], Inputs]
"""(inputs (B, ...), generator) -> augmented inputs (B, ...)."""


@dataclass(frozen=True)
class Problem:
    """A base, its loss, and the examples to learn from.

    `loss(outputs, targets)` gives (B,). `condition`: how I(x) becomes vectors. `transform`: augments a
    batch before it is overfitted. `excerpt`: takes a random part of large examples (ocd.data.excerpts).
    `encoder`: encodes x for the condition.
    """

    base: nn.Module
    loss: Loss
    dataset: Dataset[Any]
    condition: Condition = field(default_factory=Condition)
    transform: Transform | None = None
    excerpt: Excerpt | None = None
    encoder: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """The base's device."""
        return next(self.base.parameters()).device

    def fetch(self, indices: Tensor) -> tuple[Inputs, Tensor]:
        """Inputs and targets of these examples, not augmented, on the base's device."""
        inputs, targets = fetch_rows(self.dataset, indices)
        return to_device(inputs, self.device), targets.to(self.device)

    def take_excerpt(
        self, inputs: Inputs, targets: Tensor, size: int, generator: torch.Generator
    ) -> tuple[Inputs, Tensor]:
        """A random part of each example, `size` positions large; all of it where `size` is 0."""
        return take_excerpt(self.excerpt, inputs, targets, size, generator)
