"""What a user hands in for a fit, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import Capture, FrozenBase, Loss, Outputs
from ocd.data import Batch, Excerpt, Inputs, Targets, dataset_size, fetch_rows, take_excerpt, to_device
from ocd.generator import Condition
from ocd.lessons.memory import BaseMemory

Transform = Callable[[Inputs, torch.Generator], Inputs]
"""(inputs (B, ...), generator) -> augmented inputs (B, ...)."""


@dataclass(frozen=True)
class Problem:
    """A base, its loss, and the examples to learn from.

    `loss(outputs, targets)` gives (B,). `condition`: how I(x) becomes vectors. `transform`: augments a
    batch before it is overfitted. `excerpt`: takes a random part of large examples (ocd.data.excerpts).
    `encoder`: encodes x for the condition. `outputs`: the form of the base's answers. `start`: a delta
    that the layer has before any example is overfitted (ocd.lessons.common_move). `fit_base`: trains a
    base of the same architecture on a dataset, where the base has seen these examples
    (ocd.lessons.cross_fitting). `belongs` (N,): a number for the examples that belong together, which
    are never parted (ocd.data.groups). `judged`: whether other examples than these judge moves, a
    user's validation examples.
    """

    base: nn.Module
    loss: Loss
    dataset: Dataset[Any]
    condition: Condition = field(default_factory=Condition)
    transform: Transform | None = None
    excerpt: Excerpt | None = None
    encoder: nn.Module | None = None
    outputs: Outputs = field(default_factory=Outputs)
    start: Tensor | None = None
    fit_base: Callable[[Dataset[Any]], nn.Module] | None = None
    belongs: Tensor | None = None
    judged: bool = False

    def __post_init__(self) -> None:
        memory = BaseMemory(dataset_size(self.dataset), lambda index: self.fetch(index)[0])
        object.__setattr__(self, "_memory", memory)

    @property
    def memory(self) -> BaseMemory:
        """What the base said of the examples so far."""
        found: BaseMemory = vars(self)["_memory"]
        return found

    def frozen_at(self, layer: str, channels_last: bool = False) -> FrozenBase:
        """The base at a layer: one object a fit, whose views and captures all steps share."""
        made: dict[tuple[str, bool], FrozenBase] = vars(self).setdefault("_frozen", {})
        if (layer, channels_last) not in made:
            made.clear()
            made[layer, channels_last] = FrozenBase(
                self.base, layer, channels_last=channels_last, outputs=self.outputs, start=self.start
            )
        return made[layer, channels_last]

    def adopt(self, frozen: FrozenBase, capture: Capture) -> None:
        """Go on with the base at a layer as it was found while layers were compared, and with what it
        said of the first examples of the dataset, which are not augmented."""
        vars(self)["_frozen"] = {(frozen.name, frozen.channels_last): frozen}
        self.memory.remember(frozen, torch.arange(len(capture)), capture)

    @property
    def is_augmented(self) -> bool:
        """Whether the base sees other inputs than the dataset's, anew in every batch."""
        return self.transform is not None or self.excerpt is not None

    def capture(
        self,
        frozen: FrozenBase,
        indices: Tensor,
        inputs: Inputs | None = None,
        fixed: bool = False,
    ) -> Capture:
        """What the base says of these examples, not augmented: asked once, and kept. `inputs`: of these
        examples, if they were read already. `fixed`: the same bits whatever was asked before."""
        return self.memory.capture(frozen, indices, inputs, fixed)

    @property
    def packed_loss(self) -> Loss:
        """The loss of answers as passes give them (ocd.base.outputs)."""
        return self.outputs.loss(self.loss)

    @property
    def device(self) -> torch.device:
        """The base's device."""
        return next(self.base.parameters()).device

    def fetch(self, indices: Tensor) -> Batch:
        """Inputs and targets of these examples, not augmented, on the base's device."""
        inputs, targets = fetch_rows(self.dataset, indices)
        return to_device(inputs, self.device), to_device(targets, self.device)

    def take_excerpt(
        self, inputs: Inputs, targets: Targets, size: int, generator: torch.Generator
    ) -> Batch:
        """A random part of each example, `size` positions large; all of it where `size` is 0."""
        return take_excerpt(self.excerpt, inputs, targets, size, generator)
