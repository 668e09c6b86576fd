"""The table's methods: none but the bound can see a test label."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from helpers import DIGITS, LOSS, digits, fitted, test_digits
from ocd import Examples
from ocd.overfitting import OverfitConfig
from ocd.tasks.base import Metric
from ocd.tasks.evaluation import evaluate

OUTPUTS = Metric(lambda outputs, targets: outputs.clone(), higher_is_better=True)  # type: ignore[arg-type, return-value]
TASK = dataclasses.replace(DIGITS, metrics={"outputs": OUTPUTS})
FITTED = {"main": {"layer": "fc1"}, "alternative": {"layer": "fc2"}}
METHODS = {
    "base", "ocd", "ocd_ensemble_3", "ocd_mean_network_3", "ocd_mean", "overfit_test",
    "nearest_neighbor", "no_scale", "alternative_layer", "alternative_layer_ensemble_3",
}  # fmt: skip


def run(test: Examples, task=TASK, num_draws: int = 3):
    config = OverfitConfig(lr=0.02)
    both = {role: (fitted(settings), config) for role, settings in FITTED.items()}
    return evaluate(task, test, digits(60), both, num_draws)


def test_labels_reach_the_bound_alone():
    test = test_digits(30)
    shuffled = Examples(test.inputs, test.targets.roll(1))
    assert not torch.equal(shuffled.targets, test.targets)
    one, other = run(test)[0]["methods"], run(shuffled)[0]["methods"]
    assert one.keys() == other.keys() == METHODS
    for name in METHODS - {"overfit_test"}:
        assert torch.equal(one[name]["outputs"], other[name]["outputs"]), name
    assert not torch.allclose(one["overfit_test"]["outputs"], other["overfit_test"]["outputs"])


def test_methods_are_what_their_names_say():
    test = test_digits(30)
    results, tensors = run(test)
    outputs = {name: values["outputs"] for name, values in results["methods"].items()}
    ocd = fitted(FITTED["main"])
    three = ocd.predict(test.inputs, draws=3)
    expected = {
        "base": three.base,
        "ocd": three.outputs[0],
        "ocd_ensemble_3": three.outputs.softmax(-1).mean(0).log(),
        "ocd_mean_network_3": three.mean_network,
        "ocd_mean": ocd.predict(test.inputs, mode="mean").mean,
        "no_scale": ocd.predict(test.inputs, draws=1, use_mean_scale=True).mean,
        "alternative_layer": fitted(FITTED["alternative"]).predict(test.inputs, draws=1).mean,
    }
    for name, values in expected.items():
        assert torch.allclose(outputs[name], values, atol=1e-4), name
    for name, method in [
        ("base_loss", "base"),
        ("ensemble_loss", "ocd_ensemble_3"),
        ("bound_loss", "overfit_test"),
    ]:
        assert torch.allclose(tensors[name], LOSS(outputs[method], test.targets), atol=1e-5)
    draws = torch.stack([LOSS(output, test.targets) for output in three.outputs])
    assert torch.allclose(tensors["draw_loss"], draws, atol=1e-4)
    assert results["num_test"] == 30


def test_metrics_are_the_tasks_and_costs_are_microseconds():
    test = test_digits(30)
    results, tensors = run(test, DIGITS, num_draws=1)
    for values in results["methods"].values():
        assert values.keys() == DIGITS.metrics.keys()
    base = results["methods"]["base"]["cross_entropy"]
    assert base == pytest.approx(tensors["base_loss"].mean().item(), rel=1e-5)
    assert all(0 < cost < 1e6 for cost in results["costs"].values())


def test_no_mean_in_one_pass_where_the_noise_is_predicted():
    config = OverfitConfig(lr=0.02)
    released = fitted({"overfit.lr": 5e-4}, "released")
    results, _ = evaluate(TASK, test_digits(6), digits(10), {"main": (released, config)}, 1)
    assert "ocd_mean" not in results["methods"]
    assert "alternative_layer" not in results["methods"]
