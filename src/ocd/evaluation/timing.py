"""What a prediction costs: microseconds an example, with all that the base computes for new inputs.

Some bases keep what a frozen part answers (`ocd.base.keeps_answers`: the sentence encoder of texts). A
table then asks for the features of the test examples once, and every method but the first finds them:
its time would be that of a look-up, which nobody has who predicts for new inputs. So there each method
is timed on examples of which nothing is kept (`ocd.base.answers_anew`). Since that takes the part's
whole pass, they are some of the test examples, the same for all methods: as many as the base answers
in `LONG_ENOUGH` seconds, `FEWEST` at least.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

from ocd.base import answers_anew, keeps_answers
from ocd.baselines import UnchangedBase
from ocd.data import Examples, num_rows, resumable

FEWEST = 32
"""Examples on which a method is timed, if there are as many."""
LONG_ENOUGH = 1.0
"""Seconds of a pass of the base: longer ones are not worth their time."""
MOST_SECONDS = 2.0
"""A prediction that is timed is not made again after these."""


def timed_examples(base: nn.Module, test: Examples) -> Examples | None:
    """The test examples on which methods are timed apart, spread evenly over all; None where a base
    keeps nothing, and each prediction of the test examples is timed itself."""
    if not keeps_answers(base):
        return None
    few = _spread(test, FEWEST)
    seconds = seconds_anew(lambda: UnchangedBase(base).predict(few.inputs), repeats=2)
    return _spread(test, max(FEWEST, int(len(few) * LONG_ENOUGH / seconds)))


def seconds_anew(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the work where nothing is kept of its inputs: the median of `repeats`, of fewer where
    that would take longer than `MOST_SECONDS`. Nothing of it is resumed."""
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < MOST_SECONDS:
        with answers_anew(), resumable(None) as clock:
            work()
            seconds.append(clock.seconds)
    return median(seconds)


def how_timed(timed: Examples, test: Examples) -> str:
    """A line for the report."""
    some = f"{len(timed):,} of the {len(test):,}" if len(timed) < len(test) else f"the {len(test):,}"
    return (
        f"µs per example: of {some} test examples as if they were new, so that the pass of the base's "
        "frozen part is in every method's; a run makes it once for all methods"
    )


def _spread(examples: Examples, number: int) -> Examples:
    total = num_rows(examples.inputs)
    places = torch.linspace(0, total - 1, min(number, total)).round().long()
    return Examples(*examples.rows(places))
