"""The user's loss, one value an example."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ocd.errors import OCDError

Loss = Callable[[Tensor, Tensor], Tensor]


def example_losses(loss: Loss, output: Tensor, targets: Tensor) -> Tensor:
    """loss(outputs, targets), (B,), with its shape checked. Raises OCDError for any other shape."""
    values = loss(output, targets)
    if not isinstance(values, Tensor) or values.shape != (len(output),):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise OCDError(
            f"loss(outputs, targets) returned {shape} for {len(output)} examples: it must return one "
            f"value an example, shape ({len(output)},) (reduction='none')"
        )
    return values
