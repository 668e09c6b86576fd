"""Values of each test example, for the report's intervals and figures: losses, metrics, uncertainty."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.base import example_losses
from ocd.evaluation.criteria import Criteria
from ocd.prediction import mutual_information, predictive_entropy, softmax_entropy, spread

ERROR_QUANTILE = 0.9
"""Of a regression: an example counts as an error of the base if its loss is among the largest tenth."""


def per_example_values(
    criteria: Criteria, targets: Tensor, outputs: dict[str, Tensor], draws: Tensor
) -> dict[str, Tensor]:
    """Tensors (N,) by name, for N test examples; `draw_loss` is (K, N).

    `outputs`: by method, (N, ...). `draws`: OCD's outputs (K, N, ...). The names are `loss/METHOD`,
    `value/METHOD/METRIC`, `uncertainty/SCORE`, `draw_loss` and `base_error` (1 where the base errs);
    for a metric of answers also `answer/METHOD`, the class, and `answer`, the right one.
    """
    tensors: dict[str, Tensor] = {}
    for name, output in outputs.items():
        tensors[f"loss/{name}"] = example_losses(criteria.loss, output, targets).float()
        for metric_name, metric in criteria.metrics.items():
            if metric.per_example is not None:
                values = metric.per_example(output, targets)
                tensors[f"value/{name}/{metric_name}"] = values.float()
    if any(metric.of_answers for metric in criteria.metrics.values()):
        tensors["answer"] = targets.float()
        tensors |= {f"answer/{name}": output.argmax(dim=1).float() for name, output in outputs.items()}
    losses = [example_losses(criteria.loss, draw, targets) for draw in draws]
    tensors["draw_loss"] = torch.stack(losses)
    scores = _uncertainties(criteria, outputs["base"], draws)
    tensors |= {f"uncertainty/{name}": values.float() for name, values in scores.items()}
    if criteria.classifies:
        errs = outputs["base"].argmax(dim=1) != targets
    else:
        errs = tensors["loss/base"] >= tensors["loss/base"].quantile(ERROR_QUANTILE)
    tensors["base_error"] = errs.float()
    return {name: values.contiguous() for name, values in tensors.items()}


def _uncertainties(criteria: Criteria, base: Tensor, draws: Tensor) -> dict[str, Tensor]:
    """Scores (N,) that are larger where an example is less certain. `base`: its outputs (N, ...)."""
    if not criteria.classifies:
        return {"spread": spread(draws)}
    return {
        "base_entropy": softmax_entropy(base),
        "spread": spread(draws.softmax(dim=-1)),
        "predictive_entropy": predictive_entropy(draws),
        "mutual_information": mutual_information(draws),
    }
