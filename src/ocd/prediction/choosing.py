"""The last step of a fit: how draws are taken, by what is configured and what is held out."""

from __future__ import annotations

from ocd.data import take_rows
from ocd.lessons import Overfitter
from ocd.prediction.coverage import choose_spread_by_coverage
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut
from ocd.prediction.sampling import (
    NUM_DRAWS,
    EnsembleLoss,
    Join,
    SamplingConfig,
    choose_sampling,
    keep_sampling,
)
from ocd.prediction.scoring import choose_by_score
from ocd.training import distribution_score, task_excerpt


def settle_sampling(
    fitted: FittedGenerator,
    overfitter: Overfitter,
    examples: HeldOut | None,
    join: Join,
    config: SamplingConfig,
    goal: str = "answer",
) -> str:
    """Set the generator's scale factor and spread; returns a line that says how they were chosen.

    `goal`: what draws are for (OCDConfig.goal), the loss of their mean or a proper score of them.

    `examples`: that the generator was not trained on, None where there are none. With
    `sampling.coverage` the spread is chosen by intervals, else both by the loss of an ensemble whose
    draws are `join`ed; what is configured is kept.
    """
    if config.is_settled or examples is None:
        return keep_sampling(fitted, config)
    first = take_rows(examples.inputs, slice(0, 1))
    size = overfitter.config.chunk_size or fitted.chunk_size(NUM_DRAWS, lambda: first)
    excerpt_size = task_excerpt(overfitter.config.excerpt)
    judge = EnsembleLoss(overfitter.loss, join, overfitter.problem.excerpt, excerpt_size)
    if _wants_distribution(fitted, examples, goal):
        return choose_by_score(fitted, examples, judge, config, size)
    if config.coverage and config.spread is None:
        return choose_spread_by_coverage(fitted, examples, config, size, judge)
    return choose_sampling(fitted, examples, judge, config, size)


def _wants_distribution(fitted: FittedGenerator, examples: HeldOut, goal: str) -> bool:
    """Whether draws are judged by a score of them. Raises OCDError where that is asked for and there is
    none for such targets."""
    few = next(iter(examples.chunks(fitted, 1)))
    frozen, capture = few[0].frozen, few[3]
    output = (frozen.capture(few[1]) if capture is None else capture).output
    return distribution_score(goal, frozen.outputs.named(output), few[2]) is not None
