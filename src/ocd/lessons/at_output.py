"""Eq. 1 from the gradient at the layer's output, for layers that are moved by a shift of it.

Let the layer see the positions A (P, I) of an example. They are the same at every step, because the
base is frozen before the layer. The gradient of its weight is Gᵀ·A, where G (P, O) is the gradient of
the layer's output, and only G needs a pass back through the part behind the layer. There are two ways
to go on:

* **along the positions**: the delta is Uᵀ·A after any number of steps, for every optimiser that is
  linear in gradients, so only U (P, O) is optimised; the output moves by A·Aᵀ·U. Cheap for few
  positions.
* **by weights**: the delta is written out, and each step adds Gᵀ·A to it, one product an example.

Nothing is multiplied in the first step, where the delta is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.base import Capture, DenseDelta, FrozenBase, Loss, OutputShift, example_losses
from ocd.data import Targets
from ocd.lessons.steps import OverfitConfig, make_optimizer, polyak_gradient


def is_cheaper_along_positions(frozen: FrozenBase, capture: Capture, config: OverfitConfig) -> bool:
    """Whether optimising U takes fewer multiplications than optimising the weight."""
    _, num_positions, groups, fan_in = capture.positions.shape
    if not frozen.can_be_shifted(capture) or groups > 1 or config.optimizer == "adam":
        return False
    fan_out, later_steps = frozen.weight_shape[0], config.num_steps - 1
    written_once = num_positions * fan_in * fan_out
    along = num_positions**2 * (fan_in + later_steps * fan_out) + written_once
    return along < (config.num_steps + later_steps) * written_once


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
    for step in range(config.num_steps):
        moved = along(gram, left)[:, None] if step else _zero_shift(frozen, capture)
        gradient, losses = _gradient(frozen, capture, loss, targets, moved)
        gradient = gradient[:, 0]
        if config.optimizer == "polyak":
            squared_norm = (gradient * along(gram, gradient)).flatten(1).sum(dim=1)
            gradient = polyak_gradient(gradient, losses, squared_norm)
        left.grad = gradient
        optimizer.step()
    return left.detach()


def overfit_weights(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Targets, config: OverfitConfig
) -> Tensor:
    """The deltas, (B, 1, *weight.shape)."""
    weight = frozen.zeros(len(capture), 1)
    positions = capture.positions.to(weight.dtype)  # (B, P, G, I)
    batch, _, groups, fan_in = positions.shape
    rows = weight.view(batch * groups, -1, fan_in)
    seen = positions.transpose(1, 2).flatten(0, 1)  # (B·G, P, I)
    optimizer = make_optimizer(weight, config)
    for step in range(config.num_steps):
        moved = DenseDelta(weight).shift(positions) if step else _zero_shift(frozen, capture)
        at_output, losses = _gradient(frozen, capture, loss, targets, moved)
        per_group = at_output[:, 0].unflatten(2, (groups, -1)).permute(0, 2, 3, 1).flatten(0, 1)
        if config.optimizer == "sgd":  # added in place: a stack of gradients is as large as the deltas
            rows.baddbmm_(per_group, seen, beta=float(step > 0), alpha=-config.known_lr)
            continue
        gradient = torch.bmm(per_group, seen).view_as(weight)
        if config.optimizer == "polyak":
            gradient = polyak_gradient(gradient, losses, gradient.flatten(1).square().sum(dim=1))
        weight.grad = gradient
        optimizer.step()
    return weight.detach()


def _gradient(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Targets, moved: Tensor
) -> tuple[Tensor, Tensor]:
    """∂L/∂shift (B, 1, P, O) where the output is moved so, and the losses (B,)."""
    values = moved.requires_grad_()
    with torch.enable_grad():
        output = frozen.run(capture, OutputShift(values))[:, 0]
        losses = example_losses(loss, output, targets)
        (gradient,) = torch.autograd.grad(losses.sum(), values)
    return gradient, losses


def _zero_shift(frozen: FrozenBase, capture: Capture) -> Tensor:
    """(B, 1, P, O), laid out in memory as the layer's output is."""
    batch, num_positions = capture.positions.shape[:2]
    fan_out, like = frozen.weight_shape[0], frozen.zeros()
    if isinstance(frozen.module, nn.Linear):
        return like.new_zeros(batch, 1, num_positions, fan_out)
    return like.new_zeros(batch, 1, fan_out, num_positions).transpose(2, 3)
