"""Temperature scaling (Guo et al., ICML 2017): the cheapest cure of a badly calibrated classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import Loss, example_losses, run_without_delta
from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction, predict_in_chunks


def base_outputs(base: nn.Module, inputs: Inputs) -> Tensor:
    """f(x) of any number of inputs, by chunks: (B, ...)."""
    device = next(base.parameters()).device

    def work(rows: Inputs, where: slice) -> Prediction:
        outputs = run_without_delta(base, rows)
        return Prediction(outputs[None], outputs)

    return predict_in_chunks(inputs, device, work).mean_network


@dataclass(frozen=True)
class BaseAlone:
    """The base itself, as one more row of the table."""

    base: nn.Module

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = base_outputs(self.base, inputs)
        return Prediction(outputs[None], outputs, outputs)


@dataclass(frozen=True)
class TemperatureScaled:
    """f(x) / temperature: one number for all examples. No class changes, only how sure it is."""

    base: nn.Module
    temperature: float

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        outputs = base_outputs(self.base, inputs)
        scaled = outputs / self.temperature
        return Prediction(scaled[None], scaled, outputs)


def fit_temperature(
    base: nn.Module, loss: Loss, training: Examples, num_examples: int = 8192
) -> TemperatureScaled:
    """The temperature that minimises the loss on (at most `num_examples`) training examples.

    Raises OCDError for outputs that are not logits (B, C), or a loss that has no finite minimum.
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
    if not 0.02 < temperature < 50:  # all right, or all wrong, however sure
        raise OCDError(f"temperature scaling found no minimum (temperature {temperature:.3g})")
    return TemperatureScaled(base, temperature)
