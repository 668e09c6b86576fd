"""The averaged weights, which are the ones that predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def ema_update(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """How an `AveragedModel` follows the network in training: an exponential mean."""

    @torch.no_grad()
    def update(
        averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        # The first steps count more, so that a short run does not average in its random start.
        number = float(num_averaged)
        weight = 1 - min(decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return update
