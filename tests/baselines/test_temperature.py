"""Temperature scaling finds a temperature that is known."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from helpers import LOSS, digits, digits_base, test_digits
from ocd import Examples, OCDError
from ocd.baselines import fit_temperature
from ocd.baselines.temperature import TemperatureScaled

NUM_CLASSES = 4


def scaler(factor: float, num_classes: int = NUM_CLASSES) -> nn.Module:
    """Gives its inputs times a factor."""
    base = nn.Linear(num_classes, num_classes, bias=False)
    base.weight.data = factor * torch.eye(num_classes)
    return base


def calibrated(count: int) -> Examples:
    """Logits, and classes drawn from their own probabilities."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, NUM_CLASSES, generator=generator)
    return Examples(logits, logits.softmax(1).multinomial(1, generator=generator)[:, 0])


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0, 30.0])
def test_a_known_temperature_is_found(factor):
    examples = calibrated(40_000)
    found = fit_temperature(scaler(factor), LOSS, examples, num_examples=40_000)
    assert found.temperature == pytest.approx(factor, rel=0.03)
    p = found.predict(examples.inputs[:300])
    assert torch.allclose(p.outputs[0], factor * examples.inputs[:300] / found.temperature, atol=1e-4)
    assert torch.allclose(p.base, factor * examples.inputs[:300])


def test_it_is_the_best_temperature_of_the_first_examples():
    examples, base = digits(100), digits_base()
    with torch.no_grad():
        logits = base(examples.inputs[:60])

    def mean_loss(log_temperature: float) -> float:
        scaled = logits.double() / torch.tensor(log_temperature).double().exp()
        return LOSS(scaled, examples.targets[:60]).mean().item()

    best = minimize_scalar(mean_loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-6}).x
    found = fit_temperature(base, LOSS, examples, num_examples=60).temperature
    assert found == pytest.approx(float(torch.tensor(best).exp()), rel=1e-3)
    assert found != pytest.approx(fit_temperature(base, LOSS, examples).temperature, rel=1e-3)


def test_the_predicted_class_does_not_change():
    base, inputs = digits_base(), test_digits(100).inputs
    p = TemperatureScaled(base, 7.0).predict(inputs)
    assert torch.equal(p.mean.argmax(dim=1), p.base.argmax(dim=1))
    assert (p.mean.softmax(1).max(dim=1).values < p.base.softmax(1).max(dim=1).values).all()


@pytest.mark.parametrize(
    ("base", "targets"),
    [
        (scaler(1.0), torch.zeros(20, NUM_CLASSES)),
        (scaler(1.0), torch.zeros(20)),
        (nn.Sequential(scaler(1.0), nn.Unflatten(1, (2, 2))), torch.zeros(20).long()),
        (nn.Sequential(nn.Linear(NUM_CLASSES, 1), nn.Flatten(0)), torch.zeros(20).long()),
    ],
    ids=["regression", "one number", "positions", "no classes"],
)
def test_outputs_that_are_no_logits_are_refused(base, targets):
    with pytest.raises(OCDError, match="temperature scaling is for classifiers: logits") as caught:
        fit_temperature(base, LOSS, Examples(torch.randn(20, NUM_CLASSES), targets))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "always",
    ["right", "wrong"],
)
def test_a_loss_without_a_minimum_is_refused(always):
    """Where every class is right, a smaller temperature is always better; where none is, a larger."""
    logits = calibrated(200).inputs
    targets = logits.argmax(dim=1) if always == "right" else logits.argmin(dim=1)
    with pytest.raises(OCDError, match="found no minimum"):
        fit_temperature(scaler(1.0), LOSS, Examples(logits, targets))
