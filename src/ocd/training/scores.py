"""Proper scores of draws: how well K answers describe what one input's target may be.

A proper score is smallest, on average, for draws from the target's own distribution (Gneiting & Raftery
2007), where the loss of their mean asks for the mean alone. Which one fits is a question of the target:

* `crps` of a number: mean |x_k - y| - mean |x_k - x_l| / 2;
* `energy` of a vector, an image, a series: the same with Euclidean distances over all its numbers, so
  that its parts have to belong together;
* `log` of a class: -log of the draws' mean probability of it.

The distances between draws are averaged over pairs of different draws, so that few draws are judged, on
average, as many would be: what is trained with two draws is right for a hundred. Balanced draws
(ocd.generator.placement) are farther apart than chance draws of the same distribution, by the root of
K / (K - 1), and their distances are shortened by that before.

What is not known is not scored: numbers of a target that are NaN are left out of its score, and a
target of which nothing is known has none (NaN).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.data import Targets
from ocd.errors import OCDError

GOALS = ("auto", "answer", "distribution")
DrawScore = Callable[[Tensor, Tensor, bool], Tensor]
"""(outputs of K draws (B, K, ...), targets (B, ...), whether draws are balanced) -> a score for each
example, (B,)."""


def energy_scores(draws: Tensor, targets: Tensor, balanced: bool = False) -> Tensor:
    """Energy score of draws (B, K, ...) for targets (B, ...): (B,), in the unit of the outputs. Of one
    number it is the CRPS. One draw has its distance from the target. Numbers that are NaN in a target
    are left out."""
    draws = draws[..., None].flatten(2)  # also of outputs (B,), one number each
    targets = targets[..., None].flatten(1)[:, None].to(draws)
    draws, targets = _of_known(draws, targets)
    error = _distance(draws - targets).mean(dim=1)
    count = draws.shape[1]
    if count == 1:
        return error
    apart = torch.zeros_like(error)
    for first in range(count - 1):  # one draw against those after it: all pairs at once are K² vectors
        apart = apart + _distance(draws[:, first, None] - draws[:, first + 1 :]).sum(dim=1)
    return error - apart / (count * (count - 1)) * closer(count, balanced)


def closer(num_draws: int, balanced: bool) -> float:
    """What the distances between draws are multiplied by, to be those of chance draws."""
    return ((num_draws - 1) / num_draws) ** 0.5 if balanced else 1.0


def log_scores(draws: Tensor, targets: Tensor, balanced: bool = False) -> Tensor:
    """-log of the mean probability that the logits of draws (B, K, C) give to classes (B,): (B,). NaN
    for a number that is none of the C classes, as those that a loss ignores are. `balanced` draws are
    judged as others."""
    known = known_rows(targets, draws.shape[-1])
    places = torch.where(known, targets.long(), 0)[:, None, None]
    chosen = draws.log_softmax(dim=-1).gather(2, places.expand(-1, draws.shape[1], 1))
    mean: Tensor = chosen[..., 0].logsumexp(dim=1)
    scores = torch.tensor(float(draws.shape[1]), device=draws.device).log() - mean
    return torch.where(known, scores, torch.nan)


def known_rows(targets: Tensor, num_classes: int | None = None) -> Tensor:
    """Of which targets (B, ...) something is known, (B,): not all numbers are NaN; a class is one of
    `num_classes`, where targets are classes."""
    if num_classes is None or targets.is_floating_point():
        return ~targets[..., None].flatten(1).isnan().all(dim=1)
    classes = targets.long()
    return (classes >= 0) & (classes < num_classes)


def _of_known(draws: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Draws (B, K, F) and targets (B, 1, F), both 0 where a target is not known, so that no distance
    has a part there; NaN where nothing of a target is known."""
    unknown = targets.isnan()
    if not bool(unknown.any()):
        return draws, targets
    draws, targets = draws.masked_fill(unknown, 0.0), targets.masked_fill(unknown, 0.0)
    return draws, targets.masked_fill(unknown.all(dim=-1, keepdim=True), torch.nan)


def _distance(difference: Tensor) -> Tensor:
    """Euclidean length (B, K) of differences (B, K, F), whose gradient is finite where it is 0. What is
    added for it goes with the example's own numbers, where they are small."""
    squared = difference.square().sum(dim=-1)
    size = squared.detach().mean(dim=1, keepdim=True).clamp_max(1.0)
    return (squared + (1e-12 * size + 1e-37)).sqrt()


def check_goal(goal: str, solver: str, score_weight: float) -> None:
    """Raises OCDError for a goal that there is not, and for a generator of one step without a score to
    learn from."""
    if goal not in GOALS:
        raise OCDError(f"goal is {goal!r}: use one of {', '.join(GOALS)}")
    if solver == "one_step" and not score_weight:
        raise OCDError(
            "diffusion.solver 'one_step' learns from a score of draws alone: set training.score_weight "
            "to 1"
        )


def kind_of_score(output: Tensor, targets: Targets) -> str | None:
    """`crps`, `energy` or `log` by the form of the base's answers (B, ...) and the targets (B, ...);
    None where no score is known for them: targets of other shapes, or of several tensors, and classes
    (whole numbers or Booleans) of outputs with a single column, which are no logits of classes."""
    if not isinstance(targets, Tensor):
        return None
    if targets.is_floating_point() and targets.shape == output.shape:
        return "crps" if output[0].numel() == 1 else "energy"
    if not targets.is_floating_point() and output.dim() == 2 and targets.shape == output.shape[:1]:
        return "log" if output.shape[1] > 1 else None
    return None


_SCORES: dict[str, DrawScore] = {"crps": energy_scores, "energy": energy_scores, "log": log_scores}


def score_of(kind: str) -> DrawScore:
    """The score of a kind."""
    return _SCORES[kind]


def distribution_score(goal: str, output: Tensor, targets: Targets) -> str | None:
    """The kind of score by which draws are judged; None where the answer is asked for.

    "auto" asks for a distribution where an answer has several numbers that belong together (`energy`),
    and else for the answer. Raises OCDError where a distribution is asked for and no score is known.
    """
    kind = kind_of_score(output, targets)
    if goal == "answer" or (goal == "auto" and kind != "energy"):
        return None
    if kind is None:
        raise OCDError(
            f"goal is 'distribution', but no score is known for {_in_words(targets)}: it takes "
            f"floating numbers in the shape of the outputs, {_shape(output)}, or classes (B,) of "
            "logits (B, C) with C of 2 or more; use 'answer'"
        )
    return kind


def _shape(tensor: Tensor) -> str:
    """The shape of a batch in words, such as (B, 3)."""
    return f"({', '.join(['B', *map(str, tensor.shape[1:])])}{',' * (tensor.dim() == 1)})"


def _in_words(targets: Targets) -> str:
    if not isinstance(targets, Tensor):
        return "targets of several tensors"
    return f"these targets, {str(targets.dtype).removeprefix('torch.')} {_shape(targets)}"
