"""Deep ensemble (Lakshminarayanan et al., NeurIPS 2017): several bases, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ocd.baselines.unchanged_base import base_outputs
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction


@dataclass(frozen=True)
class DeepEnsemble:
    """The outputs of K bases as K draws. It costs K trainings, and K passes for a prediction.

    `bases`: the first is the one that OCD moves. Raises OCDError for none.
    """

    bases: Sequence[nn.Module]

    def __post_init__(self) -> None:
        if not self.bases:
            raise OCDError("a deep ensemble needs at least one base")

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        outputs = torch.stack([base_outputs(base, inputs) for base in self.bases])
        # Networks that were trained apart cannot be averaged by weights: their outputs are averaged.
        return Prediction(outputs, outputs.mean(dim=0), outputs[0])
