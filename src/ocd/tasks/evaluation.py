"""Every method of the table on the test examples. Labels go to the metrics and to the bound only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ocd.controls import nearest_neighbor, overfit_test
from ocd.inputs import Examples, Inputs, num_rows, take_rows, to_device
from ocd.layers import run_without_delta
from ocd.model import OCD
from ocd.overfitting import OverfitConfig, example_losses
from ocd.tasks.base import Task

Fitted = Mapping[str, tuple[OCD, OverfitConfig]]
BATCH = 256


def evaluate(
    task: Task, test: Examples, training: Examples, fitted: Fitted, num_draws: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metrics and microseconds an example of every method, and losses of each test example.

    `fitted`: role ("main", "alternative") -> a fitted OCD and how its examples were overfitted.
    """
    ocd, overfit = fitted["main"]
    opened = ocd.opened
    assert opened is not None  # it is fitted
    inputs, targets = test.inputs, test.targets
    timer = _Timer(num_rows(inputs))
    many = f"_{num_draws}"
    outputs: dict[str, Tensor] = {}
    ocd.predict(take_rows(inputs, slice(0, BATCH)))  # the first call imports and warms up: not timed
    outputs["base"] = timer("base", lambda: _base_outputs(ocd, inputs), repeats=5)
    one = timer("ocd", lambda: ocd.predict(inputs, draws=1))
    drawn = timer("ocd_ensemble" + many, lambda: ocd.predict(inputs, draws=num_draws))
    outputs["ocd"] = one.outputs[0]
    outputs["ocd_ensemble" + many] = task.join_draws(drawn.outputs)
    outputs["ocd_mean_network" + many] = drawn.mean_network
    if ocd.config.diffusion.prediction == "x0":
        outputs["ocd_mean"] = timer("ocd_mean", lambda: ocd.predict(inputs, mode="mean")).mean
    bound = timer("overfit_test", lambda: overfit_test(opened, task.loss, overfit, inputs, targets))
    outputs["overfit_test"] = bound.mean
    outputs["no_scale"] = ocd.predict(inputs, draws=1, use_mean_scale=True).mean
    outputs["nearest_neighbor"] = timer(
        "nearest_neighbor",
        lambda: nearest_neighbor(opened, task.loss, overfit, training, inputs),
    ).mean
    if "alternative" in fitted:
        other = fitted["alternative"][0].predict(inputs, draws=num_draws)
        outputs["alternative_layer"] = other.outputs[0]
        outputs["alternative_layer_ensemble" + many] = task.join_draws(other.outputs)
    outputs = {method: output.cpu() for method, output in outputs.items()}
    methods = {
        method: {name: metric.fn(output, targets) for name, metric in task.metrics.items()}
        for method, output in outputs.items()
    }

    def losses(output: Tensor) -> Tensor:
        return example_losses(task.loss, output, targets).float()

    tensors = {
        "base_loss": losses(outputs["base"]),
        "ensemble_loss": losses(outputs["ocd_ensemble" + many]),
        "bound_loss": losses(outputs["overfit_test"]),
        "draw_loss": torch.stack([losses(output) for output in drawn.outputs.cpu()]),
    }
    return {"methods": methods, "costs": timer.costs, "num_test": num_rows(inputs)}, tensors


def _base_outputs(ocd: OCD, inputs: Inputs) -> Tensor:
    device = next(ocd.base.parameters()).device
    parts = [
        run_without_delta(ocd.base, to_device(take_rows(inputs, slice(i, i + BATCH)), device))
        for i in range(0, num_rows(inputs), BATCH)
    ]
    return torch.cat(parts)


class _Timer:
    """Microseconds an example of each method."""

    def __init__(self, num_examples: int) -> None:
        self.num_examples = num_examples
        self.costs: dict[str, float] = {}

    def __call__(self, method: str, work: Callable[[], Any], repeats: int = 1) -> Any:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            result = work()
            seconds.append(time.perf_counter() - start)
        self.costs[method] = 1e6 * median(seconds) / self.num_examples
        return result
