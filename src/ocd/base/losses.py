"""The user's loss, one value an example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.data import Targets, take_rows, tensors
from ocd.errors import OCDError

Loss = Callable[[Any, Any], Tensor]
"""(outputs (B, ...), targets (B, ...)) -> the loss of each example, (B,). Outputs are what the base
answers, targets what the dataset gives: tensors, or tuples or dicts of them."""


ORDINARY = (2.0**-15, 2.0**10)
"""Losses whose mean size is between these are counted as they are."""
LARGEST_POWER = 12
"""Of 1024, that a unit may be: single precision ends at 1024**12.8."""


def loss_unit(losses: Tensor) -> float:
    """The unit that a loss is counted in, by the base's losses (B,): the power of 1024 that their mean
    size is nearest to, and 1 for ordinary sizes. Those that are not finite do not count.

    What a fit does with a loss has constants of its own: Adam's epsilon, bounds of learning rates, what
    passes for rounding. A loss times a constant has the same minimum, and counted so, the same fit. A
    power of two costs no digit.
    """
    size = losses.detach().double().abs()
    size = size[size.isfinite()]
    mean = float(size.mean()) if size.numel() else 0.0
    if mean == 0 or ORDINARY[0] <= mean <= ORDINARY[1]:
        return 1.0
    power = round(math.log2(mean) / 10)
    return 1024.0 ** max(-LARGEST_POWER, min(LARGEST_POWER, power))


@dataclass(frozen=True)
class LossInUnits:
    """`loss` over its unit (`loss_unit`)."""

    loss: Loss
    unit: float

    def __call__(self, outputs: Any, targets: Any) -> Tensor:
        values = self.loss(outputs, targets)
        return values / self.unit if isinstance(values, Tensor) else values


def check_loss_rows(loss: Loss, output: Tensor, targets: Targets) -> None:
    """Raises OCDError where an example's loss depends on other examples' outputs or targets: shapes
    that broadcast, such as (B, 1) against (B,), make a table of all pairs."""
    together = example_losses(loss, output, targets)
    rounding = 1e-5 * min(1.0, loss_unit(together))
    for i in range(len(output)):
        one = slice(i, i + 1)
        alone = example_losses(loss, output[one], take_rows(targets, one))
        if not torch.allclose(alone, together[one], rtol=1e-3, atol=rounding, equal_nan=True):
            raise OCDError(
                "the loss mixes the rows of a batch: an example's loss depends on other examples "
                f"(outputs {tuple(output.shape)} and targets "
                f"{', '.join(str(tuple(part.shape)) for part in tensors(targets))} may broadcast); it "
                "must be each example's own"
            )


def example_losses(loss: Loss, output: Tensor, targets: Targets) -> Tensor:
    """loss(outputs, targets), (B,), with its shape checked. Raises OCDError for any other shape."""
    values = loss(output, targets)
    if not isinstance(values, Tensor) or values.shape != (len(output),):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise OCDError(
            f"loss(outputs, targets) returned {shape} for {len(output)} examples: it must return one "
            f"value an example, shape ({len(output)},) (reduction='none')"
        )
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
