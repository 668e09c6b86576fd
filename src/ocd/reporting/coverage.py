"""Are intervals right on this data? What central intervals of the draws cover, against what they claim.

The coverage of the central 90 % and 50 % on the test rows has an interval of its own. It is compared
with what is claimed, give or take `MARGIN` points:

* right: the claim is in the interval, and the interval is within the margin;
* slightly off: the claim is not in the interval, but the interval reaches into the margin;
* undecided: the claim is in the interval, which reaches beyond the margin: too few rows; or there is
  no interval, as rows, or the groups they are in, are fewer than `ocd.evaluation.FEWEST`;
* wrong: the whole interval is beyond the margin. The draws are not to be used as a distribution, or,
  where they are better as a whole than the base with residuals (CRPS), not for intervals.

Draws that are worse as a whole than these residuals are said to be, first of all, whatever they cover.
The worst of both levels counts. Where many targets have one value (counts, grades, mostly zeros), even
the right distribution covers more than it claims, and too much is not counted as wrong.
"""

from __future__ import annotations

import math
from statistics import mean
from typing import NamedTuple

import numpy as np

from ocd.evaluation import Json, paired_bootstrap
from ocd.reporting.distribution import OURS, PLAIN
from ocd.reporting.records import RunRecords
from ocd.reporting.verdict import statement_of
from ocd.reporting.wording import decimals

MARGIN = 5.0
"""Points of coverage that make no difference to most uses: an interval of 90 % may cover 85 to 95 %."""
LEVELS = (90, 50)
TIES = 0.05
"""Share of the test targets with one value from which intervals may cover too much."""
RIGHT, SLIGHTLY_OFF, UNDECIDED, WRONG = "right", "slightly off", "undecided", "wrong"
STATEMENTS = (RIGHT, SLIGHTLY_OFF, UNDECIDED, WRONG)  # from best to worst
OPENINGS = {
    RIGHT: "Intervals are right on this data",
    SLIGHTLY_OFF: "Intervals are slightly off on this data",
    UNDECIDED: "Intervals may be right on this data, but test rows are too few to be sure",
    WRONG: "Do not use the draws as a distribution here, intervals are wrong on this data",
}
CANNOT_BE_TOLD = "Whether intervals are right on this data cannot be told"
"""Where there are too few test rows, or groups of them, for any statement."""
WILSON = "Wilson's interval over the test rows"
BOOTSTRAP = "bootstrap over test rows and seeds"
ONLY_INTERVALS = "Do not use intervals of the draws here, they are wrong on this data"
"""Of draws that are wrong, but closer to the targets than what is to be used instead."""
DEVIATIONS = 1.959964  # of a normal distribution, on both sides of 95 %


class Covered(NamedTuple):
    """What the intervals of one level cover, in per cent, with its 95 % interval; None of too few rows.
    `how` it was made."""

    share: float
    interval: tuple[float, float] | None
    how: str


def judge_coverage(run: RunRecords, distribution: Json) -> Json:
    """The verdict about the draws as a distribution. `distribution`: the numbers of each seed."""
    ties, levels = _ties(run), _judged(run, distribution, OURS)
    statement = max((of["statement"] for of in levels.values()), key=STATEMENTS.index)
    verdict = {
        "statement": statement,
        "margin": MARGIN,
        "num_rows": run.evidence.num_examples,
        "levels": {str(level): of for level, of in levels.items()},
    }
    if not run.evidence.is_enough:
        few = run.evidence.sentence
        return verdict | {"sentence": f"{CANNOT_BE_TOLD}: {_levels(verdict)}{ties} {few}"}
    closer, farther = (_as_a_whole(distribution, kind) for kind in ("gain", "worse"))
    if statement != WRONG:
        before = f"{farther} " if farther else ""
        return verdict | {"sentence": f"{before}{OPENINGS[statement]}: {_levels(verdict)}{ties}"}
    opening = ONLY_INTERVALS if closer else OPENINGS[WRONG]
    texts = (_levels(verdict) + ties + _instead(run, distribution), closer or farther)
    return verdict | {"sentence": f"{opening}: {' '.join(text for text in texts if text)}"}


def _covered(run: RunRecords, distribution: Json, name: str, level: int) -> Covered:
    """Of one seed each row is a trial, and Wilson's interval is right near 0 and 100 % too. Of several
    seeds, or of rows that belong together, rows (or their groups) and seeds are resampled, where the
    predictions have the rows and these are not all alike; else each group is a trial.
    """
    share, evidence = mean(distribution[name][f"coverage_{level}"]), run.evidence
    if not evidence.is_enough:
        return Covered(share, None, "")
    alone = evidence.unit == "example"
    rows = run.of_seeds(f"covered_{level}/{name}")
    if rows is None or (alone and len(rows) < 2) or np.ptp(rows) == 0:
        how = WILSON if alone else f"Wilson's interval over {evidence.counted}"
        return Covered(share, wilson(share, evidence.num), how)
    ((low, high),) = 100 * paired_bootstrap(rows[None], together=run.together)
    seeds = " and seeds" if len(rows) > 1 else ""
    how = BOOTSTRAP if alone else f"bootstrap over {evidence.counted}{seeds}"
    return Covered(share, (float(low), float(high)), how)


def wilson(share: float, num: int) -> tuple[float, float]:
    """The 95 % interval of a share in per cent of `num` rows (Wilson 1927)."""
    part, squared = share / 100, DEVIATIONS**2
    centre = (part + squared / (2 * num)) / (1 + squared / num)
    inner = part * (1 - part) / num + squared / (4 * num**2)
    reach = DEVIATIONS * math.sqrt(max(inner, 0.0)) / (1 + squared / num)
    return 100 * max(0.0, centre - reach), 100 * min(1.0, centre + reach)


def _ties(run: RunRecords) -> str:
    """Words on a value that many test targets have; nothing where there is none."""
    found = [of.get("commonest") for of in run.predictions.values()]
    if not found or not found[0] or found[0]["share"] < TIES:
        return ""
    share, value = 100 * found[0]["share"], found[0]["value"]
    return (
        f" {share:.0f} % of the targets are exactly {value:g}: there even a right distribution covers "
        "more than it claims, and too many are not counted as wrong."
    )


def _judged(run: RunRecords, distribution: Json, name: str) -> dict[int, Json]:
    """Both levels of a distribution by the rule above."""
    ties = bool(_ties(run))
    return {level: _judge(level, _covered(run, distribution, name, level), ties) for level in LEVELS}


def _judge(level: int, covered: Covered, ties: bool = False) -> Json:
    """One level by the rule above."""
    share, interval, how = covered
    facts = {"coverage": share, "interval": interval and [*interval], "off": share - level, "how": how}
    if interval is None:
        return facts | {"statement": UNDECIDED}
    low, high = interval
    within = level - MARGIN <= low and high <= level + MARGIN
    if ties and low > level:
        statement = RIGHT
    elif high < level - MARGIN or low > level + MARGIN:
        statement = WRONG
    elif not low <= level <= high:
        statement = SLIGHTLY_OFF
    else:
        statement = RIGHT if within else UNDECIDED
    return facts | {"statement": statement}


def _levels(verdict: Json) -> str:
    """The numbers from which it is concluded."""
    levels = verdict["levels"]
    covers = " and ".join(_words(level, of) for level, of in levels.items())
    how = " and ".join(dict.fromkeys(of["how"] for of in levels.values()))
    targets = f"the central {covers} of the {verdict['num_rows']:,} test targets"
    if not how:
        return f"{targets}."
    right = f"up to {MARGIN:g} points off is taken as right"
    return f"{targets} (in brackets the 95 % interval, {how}; {right})."


def _words(level: str, of: Json) -> str:
    draws = " of OCD's draws" if level == str(LEVELS[0]) else ""
    if of["interval"] is None:
        return f"{level} %{draws} cover {of['coverage']:.1f} %"
    low, high = of["interval"]
    text = f"{level} %{draws} cover {of['coverage']:.1f} % ({low:.1f} to {high:.1f}"
    if of["statement"] in (SLIGHTLY_OFF, WRONG) or abs(of["off"]) > MARGIN:
        text += f", {abs(of['off']):.1f} points too {'many' if of['off'] > 0 else 'few'}"
    return f"{text})"


def _instead(run: RunRecords, distribution: Json) -> str:
    """A simple distribution to use in place of one that is wrong, if its intervals are not wrong."""
    if PLAIN not in distribution:
        return ""
    found = _judged(run, distribution, PLAIN)
    if any(of["statement"] == WRONG for of in found.values()):
        return ""
    shares = " and ".join(f"{of['coverage']:.1f} %" for of in found.values())
    return f" The base with split-conformal residuals covers {shares}: use that."


AS_A_WHOLE = {
    "gain": (
        "As a whole the draws are closer to the targets than the base with split-conformal residuals "
        "({crps}, a gain beyond doubt): of use for scenarios and expectations, not for intervals."
    ),
    "worse": (
        "As a whole the draws are farther from the targets than the base with split-conformal "
        "residuals ({crps}, worse beyond doubt): use these instead."
    ),
}
"""What the CRPS says of the draws, where it says something."""


def _as_a_whole(distribution: Json, statement: str) -> str:
    """That draws are closer to the targets ("gain"), or farther from them ("worse"), than the base with
    residuals; nothing where that is not beyond doubt."""
    against = distribution.get(PLAIN, {}).get("against")
    if not against or statement_of(against["interval"]) != statement:
        return ""
    ours, theirs = (mean(distribution[name]["crps"]) for name in (OURS, PLAIN))
    places = decimals([ours, theirs])
    crps = f"CRPS {theirs:.{places}f} → {ours:.{places}f}"
    return AS_A_WHOLE[statement].format(crps=crps)
