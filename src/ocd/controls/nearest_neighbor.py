"""The paper's simplest rival: the delta of the training example that is nearest in x."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.chunking import in_chunks
from ocd.deltas import Delta, DenseDelta, RankOneDelta
from ocd.inputs import Examples, Inputs, num_rows, take_rows, tensors, to_device
from ocd.layers import OpenBase
from ocd.overfitting import Loss, OverfitConfig, overfit_capture
from ocd.prediction import Prediction, join_predictions


def flat_inputs(inputs: Inputs) -> Tensor:
    """Every example as one vector: (B, F)."""
    return torch.cat([tensor.float().reshape(len(tensor), -1) for tensor in tensors(inputs)], dim=1)


def nearest_in_x(queries: Inputs, training: Tensor, chunk_size: int = 8192) -> Tensor:
    """Index of the nearest training example (L2 over the flat inputs) for each query: (B,).

    `training`: flat_inputs of the training examples. Exact; by chunks of training examples. One that
    is not finite is nearest to nothing.
    """
    flat = flat_inputs(queries).to(training.device)
    best = torch.full((len(flat),), torch.inf, device=flat.device)
    nearest = torch.zeros(len(flat), dtype=torch.long, device=flat.device)
    for start in range(0, len(training), chunk_size):
        part = training[start : start + chunk_size]
        # |q − t|² less |q|², which is the same for all t.
        distances = part.square().sum(dim=1) - 2 * flat @ part.T
        distance, place = distances.masked_fill(distances.isnan(), torch.inf).min(dim=1)
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


def nearest_neighbor(
    opened: OpenBase,
    loss: Loss,
    config: OverfitConfig,
    training: Examples,
    inputs: Inputs,
    chunk_size: int = 256,
) -> Prediction:
    """f(x; θ + delta of the nearest training example), that delta by Eq. 1."""
    flat = flat_inputs(training.inputs)

    def work(chunk: slice) -> Prediction:
        rows = to_device(take_rows(inputs, chunk), opened.device)
        neighbours, targets = training.rows(nearest_in_x(rows, flat).cpu())
        seen = opened.capture(to_device(neighbours, opened.device))
        delta = overfit_capture(opened, seen, loss, targets.to(opened.device), config)
        capture = opened.capture(rows)
        with torch.no_grad():
            delta = finite_or_zero(delta)
            outputs = opened.run(capture, delta)[:, 0]
        return Prediction(outputs[None], outputs, capture.output, delta.norms().T)

    return join_predictions([part for _, part in in_chunks(num_rows(inputs), chunk_size, work)])
