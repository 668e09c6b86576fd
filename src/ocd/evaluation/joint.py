"""Draws of whole answers beside other ways to draw them, where an answer's numbers belong together.

OCD's draws are compared with what is trivial (the base's answer with residuals of other examples), what
needs other bases or dropout, and what learns the output itself as long as OCD learnt weights: heads of
normal distributions and quantiles, and a conditional diffusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ocd.baselines import (
    DRAWN,
    DeepEnsemble,
    NearestResiduals,
    OCDVariant,
    ResidualDraws,
    UnchangedBase,
    flat_inputs,
)
from ocd.data import Examples, take_rows
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.distributions import MakePredictor, Scored, base_residuals, score_each
from ocd.evaluation.joint_scores import judge_draws
from ocd.evaluation.method import MethodTable
from ocd.prediction import Prediction, Predictor

NUM_DRAWS = 50
SHOWN_METHODS = ("ocd", "base_residuals", "output_diffusion")
"""Whose draws a report shows."""
NUM_SHOWN, DRAWS_SHOWN = 8, 6
"""Test examples whose draws are kept for the report, and how many draws."""


def joint_predictors(comparison: Comparison, table: MethodTable) -> dict[str, MakePredictor]:
    """Everything that draws whole answers, by name, to be made where it is not scored yet."""
    ocd = comparison.fits.main
    found: dict[str, MakePredictor] = {
        "ocd": lambda: OCDVariant(ocd),
        "base": lambda: UnchangedBase(ocd.base),
        "base_residuals": partial(_residuals, comparison),
        "nearest_residuals": partial(_nearest, comparison),
    }
    for name in table.names:
        if name in DRAWN or name.startswith(("deep_ensemble_", "mc_dropout_")):
            found[name] = partial(_of_table, table, name)
    return found


def _residuals(comparison: Comparison) -> Predictor | None:
    residuals = base_residuals(comparison)
    return None if residuals is None else ResidualDraws(comparison.fits.main.base, residuals)


def _nearest(comparison: Comparison) -> Predictor | None:
    residuals = base_residuals(comparison)
    if residuals is None:
        return None
    known = flat_inputs(comparison.training.examples.inputs)
    return NearestResiduals(comparison.fits.main.base, known, residuals)


def _of_table(table: MethodTable, name: str) -> Predictor | None:
    method = table.method(name)
    return None if method is None else method.predictor


def score_joint(
    predictors: Mapping[str, MakePredictor], test: Examples, base: Tensor, skipped: dict[str, str]
) -> Scored:
    """Numbers by predictor (ocd.evaluation.joint_scores), and of each test example (N,) the energy
    score as `energy/NAME`. `base` (N, ...): the base's answers, which the classifier of the two-sample
    test is told. A predictor that raises an OCDError is added to `skipped`."""
    draw = partial(_draws, test=test, count=NUM_DRAWS)

    def judge(found: Prediction) -> Scored:
        return judge_draws(found.outputs.cpu(), test.targets, base, found.balanced)

    return score_each("joint distribution", predictors, draw, judge, skipped)


def _draws(predictor: Predictor, test: Examples, count: int) -> Prediction:
    """K draws: the members of an ensemble are its draws, and a base has one answer."""
    alone = isinstance(predictor, UnchangedBase | DeepEnsemble)
    return predictor.predict(test.inputs, 1 if alone else count)


def shown_draws(
    predictors: Mapping[str, MakePredictor],
    test: Examples,
    compose: Callable[[Any, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Whole answers of some test examples as `compose` makes them of inputs and answers: `truth`
    (M, ...), `base` (M, ...), and by name draws (K, M, ...)."""
    places = torch.linspace(0, len(test) - 1, min(NUM_SHOWN, len(test))).round().long()
    few = Examples(take_rows(test.inputs, places), test.targets[places])
    found = {"truth": compose(few.inputs, few.targets)}
    for name in ("base", *SHOWN_METHODS):
        make = predictors.get(name)
        predictor = None if make is None else make()
        if predictor is None:
            continue
        draws = _draws(predictor, few, DRAWS_SHOWN).outputs.cpu()
        whole = torch.stack([compose(few.inputs, one) for one in draws])
        found[name] = whole[0] if name == "base" else whole
    return {name: values.float().contiguous() for name, values in found.items()}
