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
from ocd.training import task_excerpt


def settle_sampling(
    fitted: FittedGenerator,
    overfitter: Overfitter,
    examples: HeldOut | None,
    join: Join,
    config: SamplingConfig,
) -> str:
    """Set the generator's scale factor and spread; returns a line that says how they were chosen.

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
    if config.coverage and config.spread is None:
        return choose_spread_by_coverage(fitted, examples, config, size, judge)
    return choose_sampling(fitted, examples, judge, config, size)
