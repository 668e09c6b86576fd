"""Deep ensemble (Lakshminarayanan et al., NeurIPS 2017): several bases from several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ocd.baselines.temperature import base_outputs
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction


@dataclass(frozen=True)
class DeepEnsemble:
    """The outputs of all bases, (K, B, ...). It costs K times the training and K times the answer."""

    bases: Sequence[nn.Module]

    def __post_init__(self) -> None:
        if not self.bases:
            raise OCDError("a deep ensemble needs at least one base")

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        outputs = torch.stack([base_outputs(base, inputs) for base in self.bases])
        # Averaged weights of networks that were trained apart mean nothing: the averaged answer.
        return Prediction(outputs, outputs.mean(dim=0), outputs[0])
