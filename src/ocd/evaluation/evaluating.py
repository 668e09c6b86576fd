"""Run every method of the table on the test examples, and judge what it predicts.

`Comparison` says what there is to run; the result has a number for each method and metric:

    evaluation = evaluate(comparison, test)
    evaluation.numbers["methods"]["ocd_ensemble_5"]["accuracy"]    # 98.9
    evaluation.tensors["loss/ocd_ensemble_5"]                      # (N,), for the report's intervals
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from torch import Tensor

from ocd.data import Examples, num_rows, take_rows
from ocd.errors import OCDError
from ocd.evaluation.baseline_methods import USES_LABEL, prepare_methods
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.distributions import distribution_predictors, score_distributions
from ocd.evaluation.method import Method
from ocd.evaluation.per_example import per_example_values
from ocd.evaluation.views import pick_views
from ocd.prediction import Prediction


@dataclass(frozen=True)
class Evaluation:
    """What a seed's predictions file holds.

    `numbers`: values by method and metric, costs and sizes, as JSON has them. `tensors`: values of each
    test example, (N,), by name. `views`: images (M, 3, H, W) for the report, whole numbers to 255; {}
    where outputs are no images. `notes`: lines for the report.
    """

    numbers: dict[str, Any]
    tensors: dict[str, Tensor]
    views: dict[str, Tensor]
    notes: list[str]


@dataclass(frozen=True)
class _Outputs:
    """Outputs (N, ...) by method, the microseconds an example that they took, and OCD's draws."""

    by_method: dict[str, Tensor]
    costs: dict[str, float]
    draws: Tensor


def evaluate(comparison: Comparison, test: Examples) -> Evaluation:
    """Run every method on the test examples, and judge its outputs.

    A method that raises an OCDError is left out, with the reason in `numbers["skipped"]`. Errors of the
    base and of OCD's own variants are raised: without these there is no table. `numbers["costs"]` are
    microseconds an example; the base's is the median of five predictions.
    """
    criteria, targets = comparison.criteria, test.targets
    table = prepare_methods(comparison)
    methods = table.for_labels(targets)
    outputs = _run(methods, comparison, test, table.skipped)
    numbers: dict[str, Any] = {
        "methods": {
            name: {metric: facts.fn(output, targets) for metric, facts in criteria.metrics.items()}
            for name, output in outputs.by_method.items()
        },
        "costs": outputs.costs,
        "training_seconds": {name: methods[name].training_seconds for name in outputs.by_method},
        "parameters": {name: methods[name].parameters for name in outputs.by_method},
        "uses_label": [name for name in USES_LABEL if name in outputs.by_method],
        "skipped": table.skipped,
        "num_test": num_rows(test.inputs),
    }
    tensors = per_example_values(criteria, targets, outputs.by_method, outputs.draws)
    if criteria.has_distribution:
        predictors = {name: method.predictor for name, method in methods.items()}
        distributions = distribution_predictors(comparison, predictors)
        numbers["distribution"], scores = score_distributions(distributions, test, table.skipped)
        tensors |= scores
    views = pick_views(outputs.by_method, targets) if criteria.has_views else {}
    return Evaluation(numbers, tensors, views, table.notes)


def _run(
    methods: dict[str, Method], comparison: Comparison, test: Examples, skipped: dict[str, str]
) -> _Outputs:
    """Every method's outputs. Reasons why a method has none are added to `skipped`."""
    ensemble = f"ocd_ensemble_{comparison.settings.num_draws}"
    join = comparison.criteria.join_draws
    comparison.fits.main.predict(take_rows(test.inputs, slice(0, 256)))  # imports; warms up, not timed
    by_method: dict[str, Tensor] = {}
    costs: dict[str, float] = {}
    drawn: Prediction | None = None
    for name, method in methods.items():
        if method.uses_mean_network:  # of the same draws as the ensemble before it
            assert drawn is not None
            by_method[name] = drawn.mean_network.cpu()
            continue
        try:
            prediction, costs[name] = _timed(method, test, repeats=5 if name == "base" else 1)
        except OCDError as error:
            if name == "base" or name.startswith("ocd"):
                raise
            skipped[name] = str(error)
            continue
        by_method[name] = method.combine(prediction, join).cpu()
        if name == ensemble:
            drawn = prediction
    assert drawn is not None
    return _Outputs(by_method, costs, drawn.outputs.cpu())


def _timed(method: Method, test: Examples, repeats: int) -> tuple[Prediction, float]:
    """A method's prediction, and the microseconds that it takes an example."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        prediction = method.predictor.predict(test.inputs, method.draws)
        seconds.append(time.perf_counter() - start)
    return prediction, 1e6 * median(seconds) / len(test)
