"""What `predict` returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Predictions for B inputs with K draws each.

    `outputs`: f(x; θ + delta) of every draw, (K, B, ...). `mean_network`: the output of the averaged
    deltas, (B, ...). `base`: f(x; θ), (B, ...). `scale`: ‖delta‖ of
    every draw, (K, B).
    """

    outputs: Tensor
    mean_network: Tensor
    base: Tensor
    scale: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean over the draws, in the outputs' own units (logits stay logits): (B, ...)."""
        return self.outputs.mean(dim=0)

    @property
    def std(self) -> Tensor:
        """Standard deviation over the draws, the spread of the ensemble: (B, ...); 0 for one draw."""
        return self.outputs.std(dim=0, unbiased=False)

    def __len__(self) -> int:
        return self.outputs.shape[1]


def join_predictions(parts: list[Prediction]) -> Prediction:
    """The chunks of a batch as one prediction."""
    return Prediction(
        torch.cat([part.outputs for part in parts], dim=1),
        torch.cat([part.mean_network for part in parts]),
        torch.cat([part.base for part in parts]),
        torch.cat([part.scale for part in parts], dim=1),
    )
