"""Gains over the base: those that the paper published, and those of a run.

The paper's base and ours are two networks, so what is compared is not figures but gains, those of
each method over its own base. A gain is positive where the method is better than the base.
"""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import NamedTuple

from ocd.reporting.methods import table_order, uses_label
from ocd.reporting.records import Array, Json, RunRecords
from ocd.reporting.verdict import Pair, add_differences, resample
from ocd.reporting.wording import known_mean

REPRODUCED, SMALLER, NOT_REPRODUCED = "reproduced", "smaller here", "not reproduced"
NO_GAIN, UNDECIDED = "no gain published", "undecided"
STATUSES = (REPRODUCED, SMALLER, NOT_REPRODUCED, NO_GAIN, UNDECIDED)


class Compared(NamedTuple):
    """A method and a metric, as published and as measured here; gains are over each one's base."""

    method: str
    metric: str
    published: tuple[float, float | None]
    published_gain: float
    ours: list[float | None]  # one of each seed
    gain: float | None
    interval: list[float] | None  # 95 %, of the gain


def compare(run: RunRecords, results: Json) -> list[Compared]:
    """Metric by metric in the tables' order, the base first."""
    figures = results["published"]["methods"]
    with_label = uses_label(figures, results["uses_label"])
    methods = sorted(figures, key=lambda method: table_order(method, with_label))
    pairs = [
        (method, name) for name in results["metrics"] for method in methods if name in figures[method]
    ]
    paired: dict[Pair, Array] = {}
    for method, name in pairs:
        if method == "base" or method not in results["methods"]:
            continue
        values = (run.of_seeds(f"value/{of}/{name}") for of in (method, "base"))
        add_differences(paired, (method, name), _sign(results, name), *values)
    resampled = resample(paired)
    rows = []
    for method, name in pairs:
        gains = _gains(results, method, name)
        interval = resampled[method, name]["interval"] if (method, name) in resampled else None
        mean_there, deviation = figures[method][name]
        gain_there = _sign(results, name) * (mean_there - figures["base"][name][0])
        rows.append(
            Compared(
                method,
                name,
                (mean_there, deviation),
                round(gain_there, 10),  # 99.3 - 99.2 is a little less than 0.1
                results["methods"].get(method, {}).get(name, []),
                known_mean(gains),
                interval or _two_errors(gains),
            )
        )
    return rows


def _sign(results: Json, metric: str) -> int:
    return 1 if results["metrics"][metric]["higher_is_better"] else -1


def _gains(results: Json, method: str, metric: str) -> list[float]:
    """Of each seed that knows both."""
    base = results["methods"]["base"].get(metric, [])
    ours = results["methods"].get(method, {}).get(metric, [None] * len(base))
    sign, pairs = _sign(results, metric), zip(ours, base, strict=True)
    return [sign * (one - other) for one, other in pairs if one is not None and other is not None]


def _two_errors(gains: list[float]) -> list[float] | None:
    """Where there are no values of each example: two standard errors over the seeds."""
    if len(gains) < 2:
        return None
    reach = 2 * stdev(gains) / math.sqrt(len(gains))
    return [mean(gains) - reach, mean(gains) + reach]


def judge(row: Compared) -> str:
    """What became of a published gain; the rule is in the report's legend."""
    if row.published_gain <= 0:
        return NO_GAIN
    if row.gain is None or row.interval is None:
        return UNDECIDED
    if min(row.gain, row.interval[0]) <= 0:
        return NOT_REPRODUCED
    return REPRODUCED if row.gain >= row.published_gain - (row.published[1] or 0) else SMALLER
