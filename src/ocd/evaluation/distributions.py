"""Draws as a distribution of a continuous target, beside other ways to have one.

One draw is a sample of p(delta | x), so that f(x; θ + delta) is one of the target, as far as Eq. 1
meets it. Judged by the continuous ranked probability score and by what central intervals cover.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ocd.baselines import BaseAlone, Boosting, Conformal, DeepEnsemble, Generated, MCDropout
from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Predictor, crps_per_example, interval_coverage

NUM_DRAWS = 100
LEVELS = (50, 90)  # per cent of the central intervals
COVERAGES = tuple(range(5, 100, 5))  # of the figure


def make_distributions(
    ocd: Generated, residuals: Tensor | None, baselines: dict[str, Any]
) -> dict[str, Any]:
    """Name -> what predicts samples. `residuals` (N, ...): of the base, on examples that it was not
    trained on. `baselines`: those of the table that have a distribution, by name."""
    base = BaseAlone(ocd.ocd.base)
    found: dict[str, Any] = {"ocd": ocd}
    if residuals is not None:
        found["base_conformal"] = Conformal(base, residuals)
    for name, baseline in baselines.items():
        if isinstance(baseline, Boosting) and baseline.residuals is not None:
            found["boosting_conformal"] = Conformal(baseline, baseline.residuals)
        elif isinstance(baseline, DeepEnsemble | MCDropout):
            found[name] = baseline
    return found


def samples_of(predictor: Predictor, inputs: Inputs) -> Tensor:
    """(K, N, ...). Of a deep ensemble, whose members are few: quantiles of a normal distribution."""
    outputs = predictor.predict(inputs, NUM_DRAWS).outputs.cpu()
    if not isinstance(predictor, DeepEnsemble):
        return outputs
    levels = torch.arange(1, NUM_DRAWS + 1, dtype=torch.float64) / (NUM_DRAWS + 1)
    quantiles = torch.special.ndtri(levels).to(outputs).view(-1, *[1] * (outputs.dim() - 1))
    return outputs.mean(dim=0) + quantiles * outputs.std(dim=0)


def judge_distributions(
    distributions: dict[str, Any], test: Examples, skipped: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers by name (CRPS, mean width and coverage of central intervals in per cent), and the CRPS of
    each example, (N,), as `crps/NAME`."""
    numbers: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, predictor in distributions.items():
        try:
            draws = samples_of(predictor, test.inputs)
        except OCDError as error:
            skipped[f"distribution of {name}"] = str(error)
            continue
        scores = crps_per_example(draws, test.targets)
        tensors[f"crps/{name}"] = scores.float()
        numbers[name] = {"crps": float(scores.mean())}
        for level in LEVELS:
            low, high = draws.double().quantile(
                torch.tensor([50 - level / 2, 50 + level / 2], dtype=torch.float64) / 100, dim=0
            )
            numbers[name][f"coverage_{level}"] = interval_coverage(draws, test.targets, level)
            numbers[name][f"width_{level}"] = float((high - low).mean())
        numbers[name]["coverages"] = [
            interval_coverage(draws, test.targets, level) for level in COVERAGES
        ]
    return numbers, tensors
