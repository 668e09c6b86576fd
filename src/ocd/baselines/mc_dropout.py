"""Monte Carlo dropout (Gal & Ghahramani, ICML 2016): the base predicts with its dropout on.

Each draw drops other activations. It costs nothing to train, and K passes of the whole base to predict.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ocd.base import independent_copy
from ocd.baselines.unchanged_base import base_outputs
from ocd.data import GlobalRandom, Inputs, call
from ocd.errors import OCDError
from ocd.prediction import Prediction, predict_in_chunks

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


@dataclass(frozen=True)
class MCDropout:
    """Outputs (K, B, ...) of the base under K random dropout masks.

    `mean_network` is the mean of the outputs. Batch norm and the base itself stay in eval mode. Raises
    OCDError for a base without dropout.
    """

    base: nn.Module

    def __post_init__(self) -> None:
        if not any(module.p > 0 for module in self.base.modules() if isinstance(module, DROPOUTS)):
            raise OCDError("Monte Carlo dropout needs a base that was trained with dropout")

    @torch.no_grad()
    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        noisy = independent_copy(self.base).eval()  # the base itself stays in eval mode
        for module in noisy.modules():
            if isinstance(module, DROPOUTS):
                module.train()
        device = next(noisy.parameters()).device
        # Dropout knows only the global generator of its device.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)

            def work(rows: Inputs, where: slice) -> Prediction:
                outputs = torch.stack([call(noisy, rows) for _ in range(draws)])
                return Prediction(outputs, outputs.mean(dim=0))

            random = GlobalRandom(device)
            prediction = predict_in_chunks(inputs, device, work, 4096, random)
        return Prediction(prediction.outputs, prediction.mean_network, base_outputs(self.base, inputs))
