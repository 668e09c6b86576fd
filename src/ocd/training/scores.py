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
    number it is the CRPS. One draw has its distance from the target."""
    draws = draws.reshape(*draws.shape[:2], -1)  # also of outputs (B,), one number each
    targets = targets.reshape(len(targets), 1, -1).to(draws)
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
    """-log of the mean probability that the logits of draws (B, K, C) give to classes (B,): (B,).
    `balanced` draws are judged as others."""
    chosen = draws.log_softmax(dim=-1).gather(2, targets[:, None, None].expand(-1, draws.shape[1], 1))
    mean: Tensor = chosen[..., 0].logsumexp(dim=1)
    return torch.tensor(float(draws.shape[1]), device=draws.device).log() - mean


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
    None where no score is known for them: targets of other shapes, or of several tensors."""
    if not isinstance(targets, Tensor):
        return None
    if targets.is_floating_point() and targets.shape == output.shape:
        return "crps" if output[0].numel() == 1 else "energy"
    if not targets.is_floating_point() and output.dim() == 2 and targets.shape == output.shape[:1]:
        return "log"
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
            "goal is 'distribution', but no score is known for these targets: it takes numbers in the "
            f"shape of the outputs, {tuple(output.shape)}, or classes (B,) of logits; use 'answer'"
        )
    return kind
