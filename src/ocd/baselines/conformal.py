"""Split-conformal prediction (Vovk et al. 2005): a predictor's output plus errors it made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction, Predictor


@dataclass(frozen=True)
class Conformal:
    """A predictor's output with the residuals of other examples as its distribution.

    The distribution has the same width for every input. `residuals` (M, ...): target minus output on M
    examples that the predictor was not trained on, in the shape and unit of an output. Raises OCDError
    for no residuals, or some that are not finite.
    """

    predictor: Predictor
    residuals: Tensor

    def __post_init__(self) -> None:
        if not len(self.residuals) or not self.residuals.isfinite().all():
            raise OCDError("conformal residuals are needed: one or more, and all of them finite")

    def predict(self, inputs: Inputs, draws: int = 100, seed: int = 0) -> Prediction:
        """Not random: draw k is the output plus the k-th of `draws` evenly spaced quantiles."""
        output = self.predictor.predict(inputs, 1).outputs[0]
        # The i-th of M residuals is the quantile i / (M + 1), which makes the coverage exact. The k-th
        # of the draws is the quantile k / (draws + 1) likewise.
        levels = torch.arange(1, draws + 1, dtype=torch.float64) / (draws + 1)
        index = (levels * (len(self.residuals) + 1)).round().long().clamp(1, len(self.residuals)) - 1
        quantiles = self.residuals.sort(dim=0).values[index].to(output)
        return Prediction(output[None] + quantiles[:, None], output, output)
