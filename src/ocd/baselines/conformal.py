"""Split-conformal residuals (Vovk et al. 2005): what a base errs by elsewhere, added to its answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction, Predictor


@dataclass(frozen=True)
class Conformal:
    """A predictor's answer with the residuals of examples that it was not trained on as its
    distribution: of one width, whatever the input.

    `residuals`: targets less answers, (M, ...), in the shape of an answer.
    """

    predictor: Predictor
    residuals: Tensor

    def __post_init__(self) -> None:
        if not len(self.residuals) or not self.residuals.isfinite().all():
            raise OCDError("conformal residuals are needed, one or more, and all finite")

    def predict(self, inputs: Inputs, draws: int = 100, seed: int = 0) -> Prediction:
        """Not drawn: `draws` evenly spaced quantiles of the residuals, each added to the answer."""
        answer = self.predictor.predict(inputs, 1).outputs[0]
        # The i-th of M residuals stands at i / (M + 1), which is what makes the coverage exact; so does
        # the k-th of the quantiles among themselves.
        levels = torch.arange(1, draws + 1, dtype=torch.float64) / (draws + 1)
        place = (levels * (len(self.residuals) + 1)).round().long().clamp(1, len(self.residuals)) - 1
        quantiles = self.residuals.sort(dim=0).values[place].to(answer)
        return Prediction(answer[None] + quantiles[:, None], answer, answer)
