"""Overfitted deltas of training examples, made when a baseline asks for them.

The nearest neighbour needs the deltas of a few examples, and the mean delta those of several thousand.
Both overfit again. They need no stored deltas, and see the examples without augmentation.
"""

from __future__ import annotations

from torch import Tensor

from ocd.base import Delta, DenseDelta, FrozenBase, Loss, RankOneDelta
from ocd.data import Examples, Excerpt, to_device
from ocd.lessons import OverfitConfig, overfit_batch


def overfit_training_examples(
    frozen: FrozenBase,
    loss: Loss,
    config: OverfitConfig,
    training: Examples,
    indices: Tensor,
    excerpt: Excerpt | None,
) -> Delta:
    """Eq. 1 for the training examples at `indices` (B,): deltas (B, 1, ...), zero where not finite.

    `config`: with its learning rate chosen. `excerpt`: for large examples (ocd.data.excerpts).
    """
    inputs, targets = training.rows(indices)
    inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
    return finite_or_zero(overfit_batch(frozen, loss, inputs, targets, config, excerpt))


def finite_or_zero(delta: Delta) -> Delta:
    """The deltas, with zero in place of each that is not finite."""
    good = delta.isfinite()

    def kept(values: Tensor) -> Tensor:
        return values.where(good.view(-1, *[1] * (values.dim() - 1)), 0.0)

    if isinstance(delta, RankOneDelta):
        return RankOneDelta(kept(delta.left), kept(delta.right), delta.weight_shape)
    return DenseDelta(kept(delta.weight))
