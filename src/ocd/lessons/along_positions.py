"""Eq. 1 with the gradient at the layer's output in place of the weight's: cheap for few positions.

Let the layer see the positions A (P, I) of an example. The gradient of its weight is Gᵀ·A, where G is
the gradient of the layer's output, and A is the same at every step, because the base is frozen before
the layer. So the delta is Uᵀ·A after any number of steps, for every optimiser that is linear in
gradients, and only U (P, O) needs to be optimised. The output moves by A·Aᵀ·U.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import Capture, FrozenBase, Loss, example_losses
from ocd.data import Targets
from ocd.lessons.steps import OverfitConfig, make_optimizer, polyak_gradient


@dataclass(frozen=True)
class _OutputShift:
    """A shift of the layer's output itself, (B, 1, P, O), given where a delta is expected."""

    values: Tensor
    num_draws: int = 1

    def shift(self, positions: Tensor) -> Tensor:
        return self.values


def is_cheaper_along_positions(frozen: FrozenBase, capture: Capture, config: OverfitConfig) -> bool:
    """Whether optimising U takes fewer multiplications than optimising the weight."""
    _, num_positions, groups, fan_in = capture.positions.shape
    if not num_positions or groups > 1 or len(capture.leading) > 1 or config.optimizer == "adam":
        return False
    whole = num_positions * fan_in * frozen.weight_shape[0]
    of_steps = config.num_steps * num_positions**2 * frozen.weight_shape[0]
    return num_positions**2 * fan_in + of_steps + whole < 2 * config.num_steps * whole


def overfit_along_positions(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Targets, config: OverfitConfig
) -> Tensor:
    """U (B, P, O) of the deltas Uᵀ·A. With one position this is the u of u·aᵀ."""
    dtype = frozen.zeros().dtype
    positions = capture.positions[:, :, 0].to(dtype)
    gram = positions @ positions.transpose(1, 2)  # (B, P, P)
    along = torch.mul if positions.shape[1] == 1 else torch.matmul  # one needs no matrix product
    left = positions.new_zeros(len(capture), positions.shape[1], frozen.weight_shape[0])
    optimizer = make_optimizer(left, config)
    for _ in range(config.num_steps):
        values = along(gram, left)[:, None].requires_grad_()
        with torch.enable_grad():
            output = frozen.run(capture, _OutputShift(values))[:, 0]  # type: ignore[arg-type]
            losses = example_losses(loss, output, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), values)
        gradient = gradient[:, 0]
        if config.optimizer == "polyak":
            squared_norm = (gradient * along(gram, gradient)).flatten(1).sum(dim=1)
            gradient = polyak_gradient(gradient, losses, squared_norm)
        left.grad = gradient
        optimizer.step()
    return left.detach()
