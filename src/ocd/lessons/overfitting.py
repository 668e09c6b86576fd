"""Eq. 1: fine-tune one layer on each example alone, a batch of examples at a time.

In eval mode the examples of a batch do not interact. So the gradient of the summed loss with respect to
a stack of deltas, one for each example, holds every example's own gradient, and an optimiser that works
element by element does to the stack what it would do to each delta. One backward pass serves the batch.

    frozen = FrozenBase(base, "fc1")
    delta = overfit_batch(frozen, loss, inputs, targets, OverfitConfig(lr=5e-3))
    frozen.run_full(inputs, delta)  # f(x; θ + delta), (B, 1, ...)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.base import Capture, Delta, DenseDelta, FrozenBase, Loss, RankOneDelta, example_losses
from ocd.data import Excerpt, Inputs, Targets, num_rows
from ocd.errors import OCDError
from ocd.lessons.at_output import (
    is_cheaper_along_positions,
    overfit_along_positions,
    overfit_weights,
)
from ocd.lessons.steps import OverfitConfig, in_units, minimize_weights


def rank_one_is_exact(capture: Capture, optimizer: str) -> str | None:
    """None where every delta is exactly u·aᵀ; otherwise the reason why it is not."""
    _, num_positions, groups, _ = capture.positions.shape
    if num_positions == 0:
        return "the layer is moved the plain way"
    if num_positions > 1:
        return f"the layer sees {num_positions} positions an example"
    if groups > 1:
        return f"the layer has {groups} groups"
    if optimizer == "adam":
        return "Adam divides each weight's gradient by its own size"
    return None


def resolve_form(capture: Capture, config: OverfitConfig) -> str:
    """dense or rank_one. Raises OCDError where rank_one is asked for and not exact."""
    reason = rank_one_is_exact(capture, config.optimizer)
    if config.form == "rank_one" and reason:
        raise OCDError(f"form is 'rank_one', but {reason}: use 'dense' or 'auto'")
    if config.form == "auto":
        return "dense" if reason else "rank_one"
    return config.form


def overfit_batch(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    capture: Capture | None = None,
) -> Delta:
    """Eq. 1: the delta of each example of a batch, (B, 1, ...), each step on the whole example or on a
    new excerpt of it. `capture`: of the inputs, if it was made already."""
    loss, config = in_units(loss, config)
    if excerpt is not None and config.excerpt:
        return _overfit_excerpts(frozen, loss, (inputs, targets), config, excerpt)
    return overfit_capture(frozen, capture or frozen.capture(inputs), loss, targets, config)


def overfit_capture(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Targets, config: OverfitConfig
) -> Delta:
    """Eq. 1 for a captured batch: the delta of each example, (B, 1, ...). `config.lr` must be set.

    Nothing is checked to be finite: an example that is not does not affect the others.
    """
    if resolve_form(capture, config) == "rank_one":
        left = overfit_along_positions(frozen, capture, loss, targets, config)
        return RankOneDelta(left, capture.positions[:, 0, 0], frozen.weight_shape)
    if is_cheaper_along_positions(frozen, capture, config):
        left = overfit_along_positions(frozen, capture, loss, targets, config)
        weight = left.transpose(1, 2) @ capture.positions[:, :, 0].to(left.dtype)
        return DenseDelta(weight.view(len(capture), 1, *frozen.weight_shape))
    if frozen.can_be_shifted(capture):
        return DenseDelta(overfit_weights(frozen, capture, loss, targets, config))

    def losses_of(weight: Tensor) -> Tensor:
        return example_losses(loss, frozen.run(capture, DenseDelta(weight))[:, 0], targets)

    start = frozen.zeros(len(capture), 1)
    return DenseDelta(minimize_weights(start, config, losses_of))


def _overfit_excerpts(
    frozen: FrozenBase,
    loss: Loss,
    examples: tuple[Inputs, Tensor],
    config: OverfitConfig,
    excerpt: Excerpt,
) -> DenseDelta:
    """Each step on another excerpt; the same excerpts for the same batch, so that the result is fixed.

    With one excerpt for all steps the delta learns its noise: of TinyNeRF's views the loss falls by
    47 %, with new ones by 54 %, and the nearest view's delta transfers worse (docs/experiments.md).
    """
    inputs, targets = examples
    generator = torch.Generator().manual_seed(0)

    def losses_of(weight: Tensor) -> Tensor:
        part, labels = excerpt(inputs, targets, config.excerpt, generator)
        return example_losses(loss, frozen.run_full(part, DenseDelta(weight))[:, 0], labels)

    start = frozen.zeros(num_rows(targets), 1)
    return DenseDelta(minimize_weights(start, config, losses_of))
