"""Draws as a distribution of a continuous target, beside other ways to predict one.

A delta is drawn from p(delta | x), and so is f(x; θ + delta) from the target's distribution, as far as
Eq. 1 reaches the target. Distributions are judged by their continuous ranked probability score
(CRPS), and by what their central intervals cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ocd.baselines import (
    Boosting,
    Conformal,
    DeepEnsemble,
    OCDVariant,
    UnchangedBase,
    base_outputs,
)
from ocd.data import Examples, Inputs, State, remembered
from ocd.errors import OCDError
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.method import MethodTable
from ocd.prediction import (
    Predictor,
    covered_by_interval,
    crps_per_example,
    interval_coverage,
    interval_width,
)

NUM_DRAWS = 100
LEVELS = (50, 90)
"""Per cent of the central intervals in the table."""
MakePredictor = Callable[[], Predictor | None]
"""None where there is none after all: it could not be fitted."""
T = TypeVar("T")
Scored = tuple[dict[str, Any], dict[str, Tensor]]
"""Numbers, and tensors of the test examples."""
COVERAGES = tuple(range(5, 100, 5))
"""Per cent of the central intervals in the figure."""


def distribution_predictors(comparison: Comparison, table: MethodTable) -> dict[str, MakePredictor]:
    """Everything that predicts a distribution, by name, to be made where it is not scored yet."""
    ocd = comparison.fits.main
    found: dict[str, MakePredictor] = {"ocd": lambda: OCDVariant(ocd)}
    found["base_conformal"] = lambda: _conformal_base(comparison)
    for name in table.names:
        if name == "boosting":
            found["boosting_conformal"] = lambda: _conformal_boosting(table)
        elif name.startswith(("deep_ensemble_", "mc_dropout_")):
            found[name] = partial(_predictor, table, name)
    return found


def _conformal_base(comparison: Comparison) -> Predictor | None:
    residuals = base_residuals(comparison)
    base = UnchangedBase(comparison.fits.main.base)
    return None if residuals is None else Conformal(base, residuals)


def _conformal_boosting(table: MethodTable) -> Predictor | None:
    trees = _predictor(table, "boosting")
    if not isinstance(trees, Boosting) or trees.residuals is None:
        return None
    return Conformal(trees, trees.residuals)


def _predictor(table: MethodTable, name: str) -> Predictor | None:
    method = table.method(name)
    return None if method is None else method.predictor


def base_residuals(comparison: Comparison) -> Tensor | None:
    """Residuals as large as on unseen examples, (M, ...) for M training examples: of the bases that
    have not seen them, or of targets that a task makes for this. None where there are neither: the base
    was fitted on the labels, and its own residuals are too small."""
    training = comparison.training
    if training.residuals is not None:
        return training.residuals
    if not training.has_other_targets:
        return None
    outputs = base_outputs(comparison.fits.main.base, training.examples.inputs)
    return training.examples.targets - outputs.cpu()


def draws_of(predictor: Predictor, inputs: Inputs) -> Tensor:
    """Draws (K, N, ...) of a predictor's distribution, K = `NUM_DRAWS`.

    A deep ensemble has few members. Its draws are quantiles of the normal distribution that has the
    members' mean and standard deviation.
    """
    outputs = predictor.predict(inputs, NUM_DRAWS).outputs.cpu()
    if not isinstance(predictor, DeepEnsemble):
        return outputs
    levels = torch.arange(1, NUM_DRAWS + 1, dtype=torch.float64) / (NUM_DRAWS + 1)
    quantiles = torch.special.ndtri(levels).to(outputs).view(-1, *[1] * (outputs.dim() - 1))
    return outputs.mean(dim=0) + quantiles * outputs.std(dim=0)


def score_distributions(
    predictors: Mapping[str, MakePredictor], test: Examples, skipped: dict[str, str]
) -> Scored:
    """Numbers by predictor; of each test example, (N,), the CRPS as `crps/NAME`, and whether the
    central interval of each of `LEVELS` covers its target as `covered_90/NAME`.

    The numbers are the CRPS, and the coverage (per cent) and mean width of central intervals; CRPS and
    width are in the target's unit. A predictor that raises an OCDError is added to `skipped`.
    """
    draw = partial(draws_of, inputs=test.inputs)
    return score_each("distribution", predictors, draw, partial(_judged, test.targets), skipped)


def commonest(targets: Tensor) -> dict[str, float]:
    """The value that most targets have, and their share: of counts, grades and sums that are mostly
    zero it is large, and intervals of a right distribution cover more than they claim."""
    values, counts = targets.unique(return_counts=True)
    most = int(counts.argmax())
    return {"value": float(values[most]), "share": float(counts[most]) / targets.numel()}


def score_each(
    what: str,
    predictors: Mapping[str, MakePredictor],
    draw: Callable[[Predictor], T],
    judge: Callable[[T], Scored],
    skipped: dict[str, str],
) -> Scored:
    """Numbers of each predictor by its name, and its tensors of the test examples as `SCORE/NAME`.
    `what` each has, for what a killed process leaves to the next, and for `skipped`: the predictors
    that raised an OCDError. One that there is not after all has none."""
    numbers: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, make in predictors.items():
        scored = remembered(f"{what} of {name}", partial(_scored, make, draw, judge))
        if "skipped" in scored:
            skipped[f"{what} of {name}"] = scored["skipped"]
        elif scored:
            numbers[name] = scored["numbers"]
            tensors |= {f"{kind}/{name}": values for kind, values in scored["tensors"].items()}
    return numbers, tensors


def _scored(make: MakePredictor, draw: Callable[[Predictor], T], judge: Callable[[T], Scored]) -> State:
    """Numbers and tensors of one predictor; the reason why there are none; {} without a predictor."""
    try:
        predictor = make()
        if predictor is None:
            return {}
        draws = draw(predictor)
    except OCDError as error:
        return {"skipped": str(error)}
    numbers, tensors = judge(draws)
    return {"numbers": numbers, "tensors": tensors}


def _judged(targets: Tensor, draws: Tensor) -> Scored:
    scores = crps_per_example(draws, targets)
    numbers = {"crps": float(scores.mean())} | _interval_numbers(draws, targets)
    covered = {
        f"covered_{level}": covered_by_interval(draws, targets, level).float() for level in LEVELS
    }
    return numbers, {"crps": scores.float(), **covered}


def _interval_numbers(draws: Tensor, targets: Tensor) -> dict[str, Any]:
    """Coverage and width of the central intervals of draws (K, N, ...)."""
    numbers: dict[str, Any] = {}
    for level in LEVELS:
        numbers[f"coverage_{level}"] = interval_coverage(draws, targets, level)
        numbers[f"width_{level}"] = interval_width(draws, level)
    numbers["coverages"] = [interval_coverage(draws, targets, level) for level in COVERAGES]
    return numbers
