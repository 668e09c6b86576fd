"""Temperature scaling (Guo et al., ICML 2017): the cheapest way to calibrate a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import Loss, example_losses
from ocd.baselines.unchanged_base import base_outputs
from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction


@dataclass(frozen=True)
class TemperatureScaled:
    """f(x) / temperature, with one temperature for all examples.

    The predicted class stays; only its probability changes.
    """

    base: nn.Module
    temperature: float

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = base_outputs(self.base, inputs)
        scaled = outputs / self.temperature
        return Prediction(scaled[None], scaled, outputs)


def fit_temperature(
    base: nn.Module, loss: Loss, training: Examples, num_examples: int = 8192
) -> TemperatureScaled:
    """The temperature that minimises the mean loss of the first `num_examples` training examples.

    Found by L-BFGS in log temperature. Examples whose outputs are not finite are left out. Raises
    OCDError for outputs that are not logits (B, C), and where the loss has no minimum, as with a
    classifier that is right on every example.
    """
    inputs, targets = training.rows(slice(0, num_examples))
    outputs = base_outputs(base, inputs)
    targets = targets.to(outputs.device)
    good = outputs.reshape(len(outputs), -1).isfinite().all(dim=1)
    outputs, targets = outputs[good], targets[good]
    if outputs.dim() != 2 or targets.is_floating_point():
        raise OCDError("temperature scaling is for classifiers: logits (B, C) and class targets")
    log_temperature = torch.zeros((), device=outputs.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = example_losses(loss, outputs / log_temperature.exp(), targets).mean()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    temperature = float(log_temperature.detach().exp())
    if not 0.02 < temperature < 50:  # every prediction is right, or every one is wrong
        raise OCDError(f"temperature scaling found no minimum (temperature {temperature:.3g})")
    return TemperatureScaled(base, temperature)
