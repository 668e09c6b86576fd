"""How unlike the training data an input is: its distance to them, in what the generator sees of it.

    reference = Reference.fit(fitted, inputs)      # training inputs, some thousand
    distance, quantile = reference.judge(fitted, new)

What the generator sees is the condition: the parts of I(x), standardised, and x or its encoding.
The distance is the mean one to the nearest five of a thousand training examples (k-nearest neighbours,
Sun et al., ICML 2022); the quantile is the share of another thousand training examples that are nearer.
It does not say whether a prediction is right, but beyond the training data nothing is known to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.data import Inputs, num_rows, rows_at_once, seeded, take_rows, to_device
from ocd.generator import encode_x
from ocd.prediction.drawing import FittedGenerator

NEIGHBOURS = 5
MOST = 1000
"""Examples that distances are taken to, and as many that say how large distances are."""
DIMENSIONS = 128
"""Longer conditions are projected at random, which keeps distances up to some per cent."""
UNLIKE = 0.99
"""Quantile from which on an input is called unlike the training data."""


@dataclass(frozen=True)
class Reference:
    """`mean`, `deviation` (F,): of the conditions. `projection` (F, D). `known` (N, D): of training
    examples. `distances` (M,): of other training examples, sorted."""

    mean: Tensor
    deviation: Tensor
    projection: Tensor
    known: Tensor
    distances: Tensor

    @classmethod
    def fit(cls, fitted: FittedGenerator, inputs: Inputs, seed: int = 0) -> Reference:
        """Of training inputs (B, ...), 2,000 of them at most."""
        order = torch.randperm(num_rows(inputs), generator=seeded(seed, 40))[: 2 * MOST]
        vectors = _conditions(fitted, take_rows(inputs, order))
        half = max(1, len(vectors) // 2)
        mean, deviation = vectors[:half].mean(dim=0), vectors[:half].std(dim=0, unbiased=False)
        # A feature that hardly varies in training would make rounding a distance.
        typical = vectors[:half].square().mean().sqrt().clamp_max(1.0)
        deviation = deviation + 1e-2 * deviation.mean() + 1e-6 * (typical if typical > 0 else 1.0)
        size = vectors.shape[1]
        projection = torch.eye(size)
        if size > DIMENSIONS:
            projection = torch.randn(size, DIMENSIONS, generator=seeded(seed, 41)) / DIMENSIONS**0.5
        made = cls(mean, deviation, projection, torch.empty(0, 0), torch.empty(0))
        known, others = made._projected(vectors[:half]), made._projected(vectors[half:])
        distances = _distances(others, known) if len(others) else torch.zeros(1)
        return cls(mean, deviation, projection, known, distances.sort().values)

    def judge(self, fitted: FittedGenerator, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Distances (B,) of new inputs, and the share (B,) of training examples that are nearer."""
        distances = _distances(self._projected(_conditions(fitted, inputs)), self.known)
        return distances, torch.searchsorted(self.distances, distances) / len(self.distances)

    def state(self) -> dict[str, Tensor]:
        """As tensors."""
        return dict(vars(self))

    def _projected(self, vectors: Tensor) -> Tensor:
        standard = (vectors - self.mean) / self.deviation
        return standard.nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6) @ self.projection


def _distances(vectors: Tensor, known: Tensor) -> Tensor:
    """Mean distance to the nearest few of the known, by the root of the number of dimensions."""
    apart = torch.cdist(vectors, known, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = apart.topk(min(NEIGHBOURS, len(known)), largest=False).values
    return nearest.mean(dim=1) / vectors.shape[1] ** 0.5


def _are_features(rows: Tensor) -> bool:
    return rows.dim() == 2 and rows.is_floating_point()


@torch.no_grad()
def _conditions(fitted: FittedGenerator, inputs: Inputs) -> Tensor:
    """What the generator sees of each input, as one vector (B, F) on the CPU."""
    parts = []
    size = rows_at_once(inputs)
    for start in range(0, num_rows(inputs), size):
        rows = to_device(take_rows(inputs, slice(start, start + size)), fitted.frozen.device)
        features = fitted.condition.features(fitted.frozen, rows)
        vectors = [features[name].float() for name in sorted(features)]
        encoder = fitted.network.encoder
        if encoder is not None and isinstance(rows, Tensor) and _are_features(rows):
            vectors.append(rows.float())  # as they are: an encoding may not know far values
        elif encoder is not None:
            vectors.append(encode_x(encoder, rows).float())
        parts.append(torch.cat(vectors, dim=1).cpu())
    return torch.cat(parts)
