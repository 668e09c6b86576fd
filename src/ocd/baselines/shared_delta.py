"""One delta for all examples, the mean of the training deltas: OCD without any condition.

Where it does as well as OCD, what helps is one correction of the base, and no adaptation to an input.

    shared = mean_delta(frozen, loss, config, training)
    outputs = shared.predict(inputs).mean      # (B, ...)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import DenseDelta, FrozenBase, Loss, RankOneDelta
from ocd.baselines.training_deltas import training_deltas
from ocd.data import Examples, Excerpt, Inputs, ResumableLoop
from ocd.lessons import OverfitConfig, StoreReader, chunk_of
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks


@dataclass(frozen=True)
class SharedDelta:
    """f(x; θ + delta) with the same delta for every x. `weight`: the delta, (*weight.shape)."""

    frozen: FrozenBase
    weight: Tensor

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        delta = DenseDelta(self.weight[None, None])

        def work(rows: Inputs, where: slice) -> Prediction:
            return apply_deltas(self.frozen, self.frozen.capture(rows, keep_positions=False), delta)

        return predict_in_chunks(inputs, self.frozen.device, work)


def mean_delta(
    frozen: FrozenBase,
    loss: Loss,
    config: OverfitConfig,
    training: Examples,
    num_examples: int = 8192,
    excerpt: Excerpt | None = None,
    stored: StoreReader | None = None,
) -> SharedDelta:
    """The mean delta (Eq. 1) of the first `num_examples` training examples, not augmented; of all,
    where a run has them `stored`. Deltas that are not finite count as zero.
    """
    used = torch.arange(len(training) if stored is not None else min(num_examples, len(training)))
    loop = ResumableLoop("mean delta")
    zeros = frozen.weight.new_zeros(frozen.weight_shape)
    loop.values["total"] = total = loop.values.get("total", zeros).to(frozen.device)
    for indices in loop.saving_after(used.split(chunk_of(frozen, config))[loop.step :]):
        deltas = training_deltas(frozen, loss, config, training, indices, excerpt, stored)
        if isinstance(deltas, RankOneDelta):
            total += (deltas.left[:, 0].T @ deltas.right.to(deltas.left)).view_as(total)
        else:
            total += deltas.dense()[:, 0].sum(dim=0)
    return SharedDelta(frozen, total / len(used))
