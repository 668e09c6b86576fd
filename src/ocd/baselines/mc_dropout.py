"""Monte Carlo dropout (Gal & Ghahramani, ICML 2016): the base with its dropout left on."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ocd.baselines.temperature import base_outputs
from ocd.data import Inputs, call
from ocd.errors import OCDError
from ocd.prediction import Prediction, predict_in_chunks

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


@dataclass(frozen=True)
class MCDropout:
    """Draws of the base's own dropout. Raises OCDError for a base that has none."""

    base: nn.Module

    def __post_init__(self) -> None:
        if not any(module.p > 0 for module in self.base.modules() if isinstance(module, DROPOUTS)):
            raise OCDError("Monte Carlo dropout needs a base that was trained with dropout")

    @torch.no_grad()
    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        noisy = copy.deepcopy(self.base).eval()  # the base itself stays in eval mode
        for module in noisy.modules():
            if isinstance(module, DROPOUTS):
                module.train()
        device = next(noisy.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)

            def work(rows: Inputs, where: slice) -> Prediction:
                outputs = torch.stack([call(noisy, rows) for _ in range(draws)])
                return Prediction(outputs, outputs.mean(dim=0))

            prediction = predict_in_chunks(inputs, device, work, size=4096)
        return Prediction(prediction.outputs, prediction.mean_network, base_outputs(self.base, inputs))
