"""The user's loss, one value an example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ocd.data import Targets, take_rows, tensors
from ocd.errors import OCDError

Loss = Callable[[Any, Any], Tensor]
"""(outputs (B, ...), targets (B, ...)) -> the loss of each example, (B,). Outputs are what the base
answers, targets what the dataset gives: tensors, or tuples or dicts of them."""


def check_loss_rows(loss: Loss, output: Tensor, targets: Targets) -> None:
    """Raises OCDError where an example's loss depends on other examples' outputs or targets: shapes
    that broadcast, such as (B, 1) against (B,), make a table of all pairs."""
    together = example_losses(loss, output, targets)
    for i in range(len(output)):
        one = slice(i, i + 1)
        alone = example_losses(loss, output[one], take_rows(targets, one))
        if not torch.allclose(alone, together[one], rtol=1e-3, atol=1e-5, equal_nan=True):
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
