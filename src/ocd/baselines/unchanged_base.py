"""The base as it is: what every other method is compared with.

It runs without a capture, so that its time is that of the user's own forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ocd.base import run_without_delta
from ocd.data import Inputs
from ocd.prediction import Prediction, predict_in_chunks


def base_outputs(base: nn.Module, inputs: Inputs) -> Tensor:
    """f(x) of any number of inputs, in chunks: (B, ...)."""
    device = next(base.parameters()).device

    def work(rows: Inputs, where: slice) -> Prediction:
        outputs = run_without_delta(base, rows)
        return Prediction(outputs[None], outputs)

    return predict_in_chunks(inputs, device, work).mean_network


@dataclass(frozen=True)
class UnchangedBase:
    """f(x; θ): the base without any delta, in eval mode. Its one draw (1, B, ...) is `base` too."""

    base: nn.Module

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = base_outputs(self.base, inputs)
        return Prediction(outputs[None], outputs, outputs)
