"""What a prediction costs where the base keeps the answers of a frozen part (`ocd.base.keeps_answers`).

    clock = AnewClock(base, test)
    clock.microseconds(method.predictor.predict, draws, repeats=3)   # an example, as if it were new

Such a base (the sentence encoder of texts and a head) computes the features of the test examples once
for a whole table. Every method but the first finds them: its time would be that of a look-up, which
nobody has who predicts for new inputs. So each method predicts once more, where nothing is known of its
inputs (`ocd.base.answers_anew`). Its cost is its own time, and for each example that it sends through
the part the price of that: seconds an example, measured once, the same for all methods. A part is most
of what such a base computes; if each method's pass through it were timed, what else the machine does at
that moment would say which of two methods is the cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

from ocd.base import answers_anew, keeps_answers
from ocd.baselines import UnchangedBase
from ocd.data import Examples, Inputs, num_rows, resumable

FEWEST = 32
"""Examples on which methods are timed, if there are as many."""
LONG_ENOUGH = 1.0
"""Seconds of a pass of the base: longer ones are not worth their time."""
MOST_SECONDS = 2.0
"""A prediction that is timed is not made again after these."""


class AnewClock:
    """Times methods on `examples`, some of the test examples, spread evenly over all: as many as the
    base answers in `LONG_ENOUGH` seconds, `FEWEST` at least."""

    def __init__(self, base: nn.Module, test: Examples) -> None:
        self._prices: dict[int, float] = {}  # seconds an example, by the size of the part
        self.num_test, self.examples = len(test), _spread(test, FEWEST)
        predict = UnchangedBase(base).predict
        seconds = self.seconds(predict, repeats=2)
        self.examples = _spread(test, int(len(self.examples) * LONG_ENOUGH / seconds))
        self._prices.clear()  # of many examples it is better known
        self.seconds(predict, repeats=3)

    @classmethod
    def of(cls, base: nn.Module, test: Examples) -> AnewClock | None:
        """None for a base that keeps nothing: there predictions of the test examples are timed."""
        return cls(base, test) if keeps_answers(base) else None

    def microseconds(self, predict: Callable[..., Any], draws: int, repeats: int) -> float:
        """Of `predict(inputs, draws)`, for each example."""
        found = self.seconds(lambda inputs: predict(inputs, draws), repeats)
        return 1e6 * found / len(self.examples)

    def seconds(self, predict: Callable[[Inputs], Any], repeats: int) -> float:
        """Of a prediction of the examples: the median of `repeats`, of fewer where these would take
        longer than `MOST_SECONDS`, and the price of what it sends through the part. A part of a size
        that is met here first has as its price the least of these. Nothing of it is resumed."""
        own: list[float] = []
        priced: dict[int, list[float]] = {}
        passed, spent = {}, 0.0
        while not own or (len(own) < repeats and spent < MOST_SECONDS):
            with answers_anew() as anew, resumable(None) as clock:
                predict(self.examples.inputs)
                taken = clock.seconds
            spent += taken
            own.append(taken - sum(part.seconds for part in anew.passes.values()))
            passed = {size: part.examples for size, part in anew.passes.items()}
            for size, part in anew.passes.items():
                priced.setdefault(size, []).append(part.seconds / part.examples)
        self._prices = {size: min(found) for size, found in priced.items()} | self._prices
        return median(own) + sum(number * self._prices[size] for size, number in passed.items())

    def __str__(self) -> str:
        """A line for the report."""
        some = f"{len(self.examples):,} of " if len(self.examples) < self.num_test else ""
        return (
            f"µs per example: of {some}the {self.num_test:,} test examples as if they were new. The "
            "base's frozen part, which a run asks once for all methods, is counted in each: its pass "
            f"takes {1e6 * max(self._prices.values(), default=0.0):,.0f} µs of an example"
        )


def _spread(examples: Examples, number: int) -> Examples:
    total = num_rows(examples.inputs)
    places = torch.linspace(0, total - 1, min(max(number, FEWEST), total)).round().long()
    return Examples(*examples.rows(places))
