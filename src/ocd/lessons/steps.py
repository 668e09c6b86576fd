"""The settings of Eq. 1, and the optimiser steps that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ocd.base import Loss, LossInUnits
from ocd.errors import OCDError

OPTIMIZERS = ("sgd", "adam", "polyak")
FORMS = ("auto", "dense", "rank_one")
MAX_SKIPPED = 0.05
"""Share of the examples whose loss or delta may be not finite before a fit stops."""


@dataclass(frozen=True)
class OverfitConfig:
    """How each example is overfitted (Eq. 1)."""

    num_steps: int = 3
    """Gradient steps on the one example; the paper takes three."""
    lr: float | None = None
    """Learning rate; None chooses the smallest one that removes most of the loss."""
    optimizer: str = "sgd"
    """sgd (the paper), adam (the released code), or polyak: sgd with steps of a length that would bring
    each example's own loss to 0 if it were linear, times lr; for losses whose minimum is 0."""
    chunk_size: int | None = None
    """Examples overfitted at once; None derives it from the size of a delta."""
    excerpt: int = 0
    """Positions of an example that each step sees, drawn anew (ocd.data.excerpts); 0: all of them. The
    selection of a layer uses an eighth of it, the task loss in training a quarter."""
    form: str = field(default="auto", metadata={"internal": True})
    """auto, dense or rank_one: how a delta is written. Decided by the plan, not a setting."""
    unit: float = field(default=1.0, metadata={"internal": True})
    """What the loss is counted in while a delta is made (ocd.base.losses); `lr` is that of the loss as
    it is. Decided by the plan, not a setting."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise OCDError(f"overfit.optimizer is {self.optimizer!r}: use one of {OPTIMIZERS}")
        if self.form not in FORMS:
            raise OCDError(f"form is {self.form!r}: use one of {FORMS}")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise OCDError(f"overfit.chunk_size is {self.chunk_size}: it must be at least 1")
        if self.excerpt < 0:
            raise OCDError(f"overfit.excerpt is {self.excerpt}: it must be at least 0")
        if self.num_steps < 1:
            raise OCDError(f"overfit.num_steps is {self.num_steps}: at least 1 step is needed")

    @property
    def known_lr(self) -> float:
        """The learning rate. Raises OCDError where none is chosen yet."""
        if self.lr is None:
            raise OCDError("overfit.lr is not chosen yet: call choose_lr first")
        return self.lr


def in_units(loss: Loss, config: OverfitConfig) -> tuple[Loss, OverfitConfig]:
    """The loss counted in its unit, and the settings with which that makes the same steps, but for what
    is too small or too large for them: a rate of plain gradient steps goes with the loss."""
    if config.unit == 1:
        return loss, config
    lr = config.lr if config.lr is None or config.optimizer != "sgd" else config.lr * config.unit
    return LossInUnits(loss, config.unit), replace(config, lr=lr, unit=1.0)


def make_optimizer(parameter: Tensor, config: OverfitConfig) -> torch.optim.Optimizer:
    """The configured optimiser of one tensor: a stack of deltas, or their factors."""
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.SGD
    return kind([parameter], lr=config.known_lr)


def polyak_gradient(gradient: Tensor, losses: Tensor, squared_norm: Tensor) -> Tensor:
    """Gradients (B, ...) scaled to Polyak's step: each times loss / ‖∇‖².

    `losses` (B,); `squared_norm` (B,) is ‖∇‖² of the layer's weight.
    """
    length = torch.where(squared_norm > 0, losses.detach() / squared_norm, 0.0)
    return gradient * length.view(-1, *[1] * (gradient.dim() - 1))


def minimize_weights(
    weight: Tensor, config: OverfitConfig, losses_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """A stack of deltas (B, 1, *weight.shape) after `config.num_steps` steps, from where it is.

    `losses_of(weight)`: each example's loss under its own delta, (B,). The examples do not interact, so
    the gradient of the sum holds each example's own gradient.
    """
    weight.requires_grad_()
    optimizer = make_optimizer(weight, config)
    for _ in range(config.num_steps):
        with torch.enable_grad():
            losses = losses_of(weight)
            (gradient,) = torch.autograd.grad(losses.sum(), weight)
        if config.optimizer == "polyak":
            gradient = polyak_gradient(gradient, losses, gradient.flatten(1).square().sum(dim=1))
        weight.grad = gradient
        optimizer.step()
    return weight.detach()


def check_skipped(skipped: list[int], total: int, max_skipped: float = MAX_SKIPPED) -> None:
    """Raises OCDError where more than the share `max_skipped` of the examples was left out."""
    if len(skipped) > max_skipped * total:
        shown = ", ".join(map(str, skipped[:5])) + (", ..." if len(skipped) > 5 else "")
        raise OCDError(
            f"{len(skipped)} of {total} examples have a loss or delta that is not finite (examples "
            f"{shown}), more than {100 * max_skipped:g} % of them: check these examples, or lower the "
            "learning rate (overfit.lr)"
        )
