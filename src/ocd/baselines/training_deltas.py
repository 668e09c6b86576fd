"""Overfitted deltas of training examples, for the baselines that need them.

Where the run keeps its deltas in a store, they are read from it; otherwise the nearest neighbour's few
and the mean delta's several thousand are overfitted again. Examples are not augmented.
"""

from __future__ import annotations

from torch import Tensor

from ocd.base import Delta, DenseDelta, FrozenBase, Loss, RankOneDelta
from ocd.data import Examples, Excerpt, to_device
from ocd.lessons import OverfitConfig, StoreReader, overfit_batch, read_delta


def training_deltas(
    frozen: FrozenBase,
    loss: Loss,
    config: OverfitConfig,
    training: Examples,
    indices: Tensor,
    excerpt: Excerpt | None,
    stored: StoreReader | None = None,
) -> Delta:
    """Eq. 1 for the training examples at `indices` (B,): deltas (B, 1, ...), zero where not finite.

    `config`: with its learning rate chosen. `excerpt`: for large examples (ocd.data.excerpts).
    `stored`: the deltas of these examples, not augmented, if a run has them.
    """
    if stored is not None:
        at, found = stored.find(indices.cpu())
        rows = {name: values.to(frozen.device) for name, values in stored.rows(at).items()}
        return zero_unless(read_delta(rows, frozen.weight_shape), found.to(frozen.device))
    inputs, targets = training.rows(indices)
    inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
    delta = overfit_batch(frozen, loss, inputs, targets, config, excerpt)
    return zero_unless(delta, delta.isfinite())


def zero_unless(delta: Delta, good: Tensor) -> Delta:
    """The deltas, with zero in place of each that is not `good` (B,)."""

    def kept(values: Tensor) -> Tensor:
        return values.where(good.view(-1, *[1] * (values.dim() - 1)), 0.0)

    if isinstance(delta, RankOneDelta):
        return RankOneDelta(kept(delta.left), kept(delta.right), delta.weight_shape)
    return DenseDelta(kept(delta.dense()))
