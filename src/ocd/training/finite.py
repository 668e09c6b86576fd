"""Whether the losses and gradients of a training were finite so far; no step waits for the answer."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.errors import OCDError


class Finiteness:
    """Follows a training on its device, step after step, and is asked now and then.

    `is_broken`: () float, 1 from the first step on whose loss or gradient is not finite. AdamW's fused
    kernel takes it as `found_inf` and leaves the weights as they are then, as under a gradient scaler.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_broken = torch.zeros((), device=device)
        self._first = torch.zeros((), device=device)

    def follow(self, step: int, *values: Tensor) -> None:
        """Look at what is finite in a sound step: its loss, and the norms of its gradients."""
        broken = 1 - torch.stack([value.isfinite() for value in values]).all().float()
        self._first = torch.where(self.is_broken < broken, float(step), self._first)
        self.is_broken = torch.maximum(self.is_broken, broken)

    def check(self) -> None:
        """Raises OCDError where a step was not finite; waits for the device."""
        if self.is_broken.item():
            where = f"the training loss or its gradient is not finite at step {int(self._first)}"
            raise OCDError(f"{where}: lower training.lr; the last checkpoint is kept")
