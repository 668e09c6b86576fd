"""Gains over the base: those that the paper published, and those of a run.

The paper's base and ours are two networks, so what is compared is not figures but gains, those of
each method over its own base. A gain is positive where the method is better than the base.
"""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import NamedTuple

from ocd.evaluation import Array, Json, MethodMetric, add_differences, resample
from ocd.reporting.methods import OWN, group, table_order, uses_label
from ocd.reporting.records import RunRecords
from ocd.reporting.wording import known_mean

HEADLINE = "ocd"  # the paper's own method: one draw
REPRODUCED, REACHED = "reproduced", "reached, with extensions that the paper has not"
SMALLER, LARGER = "smaller here", "larger here"
NOT_REPRODUCED, NO_GAIN, UNDECIDED = "not reproduced", "no gain published", "undecided"
STATUSES = (REPRODUCED, REACHED, LARGER, SMALLER, NOT_REPRODUCED, NO_GAIN, UNDECIDED)


class Compared(NamedTuple):
    """A method and a metric, as published and as measured here; gains are over each one's base."""

    method: str
    metric: str
    published: tuple[float, float | None]
    published_gain: float
    ours: list[float | None]  # one of each seed
    gain: float | None
    interval: list[float] | None  # 95 %, of the gain
    limit: float | None = None  # a gain above it is larger than the published one; None: none is
    extended: bool = False  # whether it is made with what the paper has not


def compare(run: RunRecords, results: Json) -> list[Compared]:
    """Metric by metric in the tables' order, the base first."""
    figures = results["published"]["methods"]
    with_label = uses_label(figures, results["uses_label"])
    methods = sorted(figures, key=lambda method: table_order(method, with_label))
    pairs = [
        (method, name) for name in results["metrics"] for method in methods if name in figures[method]
    ]
    paired: dict[MethodMetric, Array] = {}
    for method, name in pairs:
        if method == "base" or method not in results["methods"]:
            continue
        values = (run.of_seeds(f"value/{of}/{name}") for of in (method, "base"))
        add_differences(paired, (method, name), _sign(results, name), *values)
    resampled, extended = resample(paired, run.together), bool(extensions(run))
    enough = run.evidence.is_enough  # else an interval over seeds would be of the same few examples
    rows = []
    for method, name in pairs:
        gains = _gains(results, method, name)
        interval = resampled[method, name]["interval"] if (method, name) in resampled else None
        mean_there, deviation = figures[method][name]
        gain_there = _published_gain(results, method, name)
        rows.append(
            Compared(
                method,
                name,
                (mean_there, deviation),
                gain_there,
                results["methods"].get(method, {}).get(name, []),
                known_mean(gains),
                (interval or _two_errors(gains)) if enough else None,
                _limit(results, method, name),
                extended and group(method, with_label) == OWN,
            )
        )
    return rows


def _sign(results: Json, metric: str) -> int:
    return 1 if results["metrics"][metric]["higher_is_better"] else -1


def _published_gain(results: Json, method: str, metric: str) -> float:
    """0 where the paper has not got it."""
    figures = results["published"]["methods"]
    if metric not in figures.get(method, {}):
        return 0.0
    gain = _sign(results, metric) * (figures[method][metric][0] - figures["base"][metric][0])
    return round(gain, 10)  # 99.3 - 99.2 is a little less than 0.1


def _limit(results: Json, method: str, metric: str) -> float | None:
    """Above which a gain is not the published one, but larger: twice the published deviation of the
    gain, and half of what the paper's own method gains there. None for that method, and for one
    that leaves nothing to gain there: that ours gains more says only that our base leaves more.
    """
    figures = results["published"]["methods"]
    there, deviation = figures[method][metric]
    left = what_is_left(there, results, metric)
    if method == HEADLINE or left == 0:
        return None
    combined = math.hypot(deviation or 0, figures["base"][metric][1] or 0)
    most = max(2 * combined, _published_gain(results, HEADLINE, metric) / 2)
    return _published_gain(results, method, metric) + most


def what_is_left(value: float, results: Json, metric: str) -> float | None:
    """To gain, where there is a limit: a loss can fall to 0, a share rise to all."""
    facts = results["metrics"][metric]
    if not facts["higher_is_better"]:
        return max(value, 0.0)
    return max(100 - value, 0.0) if facts.get("unit") == "%" else None


def extensions(run: RunRecords) -> list[str]:
    """What this run's OCD has and the paper's has not, in plain words."""
    options, config = run.config.get("run_options", {}), run.config.get("config", {})
    sampling = config.get("sampling", {})  # a run of before there was a choice has none
    values = [sampling.get(name, 1) for name in ("scale_factor", "spread")]
    found = {
        "x itself in the condition": options.get("encode_x"),
        "augmented examples": options.get("augment"),
        "residuals of networks that have not seen the example": _folds(run) > 1,
        "Eq. 1 with Polyak's steps": config.get("overfit", {}).get("optimizer") == "polyak",
        "the base's own loss with a correction": config.get("training", {}).get("task_loss_weight"),
        "sampling settings chosen on held-out examples": None in values,
        "sampling settings other than 1": any(value not in (None, 1) for value in values),
    }
    return [text for text, there in found.items() if there]


def _folds(run: RunRecords) -> int:
    """Of a table's regression; a classification has no residuals to carry."""
    options = run.config.get("options", {})
    return 1 if options.get("kind") == "classification" else int(options.get("folds", 1))


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
    limit = math.inf if row.limit is None else row.limit
    if row.gain is not None and row.gain > limit and row.interval and row.interval[0] > 0:
        return LARGER
    if row.published_gain <= 0:
        return NO_GAIN
    if row.gain is None or row.interval is None:
        return UNDECIDED
    if min(row.gain, row.interval[0]) <= 0:
        return NOT_REPRODUCED
    if row.gain < row.published_gain - (row.published[1] or 0):
        return SMALLER
    return REACHED if row.extended else REPRODUCED
