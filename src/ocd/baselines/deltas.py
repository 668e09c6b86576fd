"""Baselines that move OCD's layer without generating: nearest neighbour, mean delta, random direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ocd.base import Delta, DenseDelta, FrozenBase, Loss, RankOneDelta
from ocd.data import Examples, Excerpt, Inputs, tensors, to_device
from ocd.generator import example_keys, example_noise
from ocd.lessons import OverfitConfig, StoreReader, chunk_of, overfit_batch
from ocd.model import OCD
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks


def flat_inputs(inputs: Inputs) -> Tensor:
    """Every example as one vector: (B, F)."""
    return torch.cat([tensor.float().reshape(len(tensor), -1) for tensor in tensors(inputs)], dim=1)


def nearest_in_x(queries: Inputs, training: Tensor, chunk_size: int = 8192) -> Tensor:
    """Index of the nearest training example (L2 over the flat inputs) for each query: (B,).

    `training`: flat_inputs of the training examples. Exact; by chunks of training examples: 60,000
    images cost 1.6 ms a query on two cores, so an approximate index does not earn its place. One
    that is not finite is nearest to nothing.
    """
    flat = flat_inputs(queries).to(training.device)
    best = torch.full((len(flat),), torch.inf, device=flat.device)
    nearest = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    for start in range(0, len(training), chunk_size):
        part = training[start : start + chunk_size]
        # |q − t|² less |q|², which is the same for all t.
        norms = torch.linalg.vector_norm(part, dim=1).square()
        distances = torch.addmm(norms[None], flat, part.T, alpha=-2)
        distance, place = distances.nan_to_num_(nan=torch.inf, posinf=torch.inf).min(dim=1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        nearest = torch.where(closer, place + start, nearest)
    return nearest


def finite_or_zero(delta: Delta) -> Delta:
    """The deltas, with zero for every example whose own is not finite: it has nothing to lend."""
    good = delta.isfinite()

    def kept(values: Tensor) -> Tensor:
        return values.where(good.view(-1, *[1] * (values.dim() - 1)), 0.0)

    if isinstance(delta, RankOneDelta):
        return RankOneDelta(kept(delta.left), kept(delta.right), delta.weight_shape)
    return DenseDelta(kept(delta.weight))


def _overfitted(
    frozen: FrozenBase,
    loss: Loss,
    config: OverfitConfig,
    training: Examples,
    index: Tensor,
    excerpt: Excerpt | None,
) -> Delta:
    """Deltas of the training examples named by `index`, by Eq. 1; zero where not finite."""
    inputs, targets = training.rows(index)
    inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
    return finite_or_zero(overfit_batch(frozen, loss, inputs, targets, config, excerpt))


@dataclass(frozen=True)
class NearestNeighbor:
    """f(x; θ + delta of the nearest training example in x): the paper's simplest baseline."""

    frozen: FrozenBase
    loss: Loss
    config: OverfitConfig
    training: Examples
    excerpt: Excerpt | None = None

    @cached_property
    def _flat(self) -> Tensor:
        return flat_inputs(self.training.inputs)

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        frozen = self.frozen

        def work(rows: Inputs, where: slice) -> Prediction:
            nearest = nearest_in_x(rows, self._flat).cpu()
            delta = _overfitted(frozen, self.loss, self.config, self.training, nearest, self.excerpt)
            return apply_deltas(frozen, frozen.capture(rows, keep_positions=False), delta)

        return predict_in_chunks(inputs, frozen.device, work, chunk_of(frozen, self.config))


@dataclass(frozen=True)
class SharedMove:
    """f(x; θ + delta) with one delta for everybody. `weight`: (*weight.shape)."""

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
) -> SharedMove:
    """The mean of the training deltas, for everybody: what remains of OCD without any condition.

    Over the first `num_examples` training examples, as they are (no augmentation).
    """
    total = frozen.weight.new_zeros(frozen.weight_shape)
    used = torch.arange(min(num_examples, len(training)))
    for index in used.split(chunk_of(frozen, config)):
        total += _overfitted(frozen, loss, config, training, index, excerpt).dense()[:, 0].sum(dim=0)
    return SharedMove(frozen, total / len(used))


def mean_of_store(frozen: FrozenBase, reader: StoreReader) -> SharedMove:
    """`mean_delta` where all training deltas are at hand, whole weights, in a store."""
    total = sum((shard["delta.weight"].sum(dim=0) for shard in reader.shards), torch.zeros(()))
    return SharedMove(frozen, total.to(frozen.weight) / len(reader))


@dataclass(frozen=True)
class RandomDirection:
    """A random direction with the scale that OCD predicts: is it the direction that helps?"""

    ocd: OCD

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        network, frozen = self.ocd.fitted()

        def work(rows: Inputs, where: slice) -> Prediction:
            capture, embedding = self.ocd.embed(rows)
            keys = example_keys(rows)
            noise = example_noise(keys, seed, draws, network.diffused_shape)
            codes = network.draw_codes(embedding, noise)
            norms = network.decode(codes, capture.positions).norms()  # (B, K)
            # A code has its delta's norm. Other keys: these directions are not those of the noise.
            code = example_noise(~keys, seed, draws, network.shapes.code_shape)
            code = code * (norms / code.flatten(2).norm(dim=2)).view(
                *norms.shape, *[1] * (code.dim() - 2)
            )
            delta = network.codec.decode(code, capture.positions)
            outputs = frozen.run(capture, delta)
            mean = frozen.run(capture, delta.mean_draw())[:, 0]
            return Prediction(outputs.transpose(0, 1), mean, capture.output, delta.norms().T)

        with torch.no_grad():
            return predict_in_chunks(inputs, frozen.device, work)
