"""The base's answer with residual vectors of other examples: the trivial distribution of an answer.

A whole vector is added, so that the parts of a draw hold together as errors of the base do. It knows
nothing of the input beyond the base's answer (`ResidualDraws`), or takes those of inputs near it
(`NearestResiduals`). Each needs residuals of examples that the base was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.baselines.nearest_neighbor import flat_inputs
from ocd.baselines.unchanged_base import base_outputs
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction


@dataclass(frozen=True)
class ResidualDraws:
    """f(x) plus residuals (M, ...) of examples at random. Raises OCDError for none, or some that are
    not finite."""

    base: nn.Module
    residuals: Tensor

    def __post_init__(self) -> None:
        if not len(self.residuals) or not self.residuals.isfinite().all():
            raise OCDError(
                "residuals of other examples are needed: one or more, and all of them finite"
            )

    def predict(self, inputs: Inputs, draws: int = 100, seed: int = 0) -> Prediction:
        output = base_outputs(self.base, inputs)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.residuals), (draws, len(output)), generator=generator)
        outputs = output[None] + self.residuals[chosen].to(output)
        return Prediction(outputs, outputs.mean(dim=0), output)


@dataclass(frozen=True)
class NearestResiduals:
    """f(x) plus the residuals (M, ...) of the nearest of M examples, one for each draw.

    `known` (M, F): `flat_inputs` of the examples. Distances are Euclidean.
    """

    base: nn.Module
    known: Tensor
    residuals: Tensor

    def __post_init__(self) -> None:
        if len(self.known) != len(self.residuals) or not len(self.known):
            raise OCDError("each residual needs its input, and one or more are needed")

    def predict(self, inputs: Inputs, draws: int = 100, seed: int = 0) -> Prediction:
        output = base_outputs(self.base, inputs)
        flat = flat_inputs(inputs).to(self.known.device)
        nearest = torch.cat(
            [
                torch.cdist(rows, self.known).topk(min(draws, len(self.known)), largest=False).indices
                for rows in flat.split(256)
            ]
        )
        places = nearest.T[torch.arange(draws) % nearest.shape[1]]  # (K, B)
        outputs = output[None] + self.residuals[places.cpu()].to(output)
        return Prediction(outputs, outputs.mean(dim=0), output)
