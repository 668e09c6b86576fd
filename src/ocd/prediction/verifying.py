"""Keep the best of an example's draws, by a score that needs no label.

    prediction = ocd.predict(inputs, draws=20, choose=score)   # (inputs, outputs) -> (K, B)

Where an answer can be checked without knowing it (against the part that was given, the mixture that
separated voices have to add up to, the nearest view), a draw that passes is worth more than the mean of
all. What is kept is one answer: it is no longer a draw from the distribution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction.result import Prediction

Choose = Callable[[Inputs, Tensor], Tensor]
"""(inputs (B, ...), outputs (K, B, ...)) -> how good each draw is, (K, B): the larger the better."""


def best_draws(prediction: Prediction, inputs: Inputs, choose: Choose) -> Prediction:
    """The draw of each example with the largest score, as a prediction of one draw; the first of those
    that are alike. A score that is no number loses. `mean_network` stays that of all draws. Raises
    OCDError for one draw alone, what cannot be called, scores of another shape than (K, B), or no
    number among those of an example."""
    if not callable(choose):
        raise OCDError(
            f"choose is {choose!r}: it must be a function (inputs, outputs) -> scores (K, B)"
        )
    wanted = tuple(prediction.outputs.shape[:2])
    if wanted[0] < 2:
        raise OCDError(
            "choose keeps the best of several draws, and there is one: draws must be 2 or more, and "
            "mode 'draws'"
        )
    scores = choose(inputs, prediction.outputs.clone())
    if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise OCDError(
            f"choose(inputs, outputs) returned {found}: it must return a score for every draw and "
            f"example, (K, B) = {wanted}, the larger the better"
        )
    if wanted[1] and bool((lost := scores.isnan().all(dim=0)).any()):
        first = int(lost.nonzero()[0])
        raise OCDError(
            f"choose gives no score for any draw of example {first} of this batch: all are NaN"
        )
    if scores.is_complex():
        raise OCDError("choose(inputs, outputs) returned complex numbers: scores must be real")
    numbers = scores.double().clamp_min(torch.finfo(torch.float64).min)  # NaN loses against -inf too
    best = numbers.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax(dim=0)
    every = torch.arange(wanted[1], device=prediction.outputs.device)
    best = best.to(every.device)
    scale = prediction.scale
    return Prediction(
        prediction.outputs[best, every][None],
        prediction.mean_network,
        prediction.base,
        None if scale is None else scale[best.to(scale.device), every.to(scale.device)][None],
        prediction.note or f"the best of {wanted[0]} draws by a score of the caller's, without labels",
    )
