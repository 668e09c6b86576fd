"""Does it help? OCD's ensemble against the base and against the best of its baselines.

The verdict is about the task's loss on each test example (the paper compares means, Sec. 4), and
claims no more than a paired bootstrap over test examples and seeds allows: "gain" or "worse" where
the 95 % interval of the difference excludes zero, "no gain" where it does not, "undecided" where
there is no interval, as where test examples, or the groups they are in, are too few
(ocd.reporting.evidence).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from ocd.evaluation import Array, Json, MethodMetric, add_differences, resample
from ocd.reporting.methods import BASELINES, group, number, title
from ocd.reporting.parts import Parts, compare_parts, is_unmoved, parts_sentence
from ocd.reporting.records import RunRecords
from ocd.reporting.wording import counted, decimals, known_mean, ratio, times, words

DRAW = "ocd"  # one draw, the method of the paper's tables
AGAINST_BASE = "base"
EQUAL_COST = "best baseline of at most equal cost"
ANY_COST = "best baseline at any cost"
NOT_TESTED = "altogether, as not every seed has its losses"
NOT_FINITE = "altogether, as a loss is not finite"
COST_UNKNOWN = "at equal cost, as not all costs are known"
COST_SLACK = 1.1  # the same work, timed twice, differs by about that much
COSTS = ("microseconds", "training_seconds")  # of a prediction, of getting the method


class Opponent(NamedTuple):
    method: str
    why: str


def make_verdict(run: RunRecords, results: Json) -> Json:
    """OCD's ensemble against all its opponents; a positive difference means that OCD is better."""
    name = _ensemble(results)
    baselines, tested, left_out = _baselines(run, results, name)
    against = _compare(run, results, name, [Opponent("base", AGAINST_BASE), *baselines])
    one_draw = _compare(run, results, DRAW, [Opponent(other, "") for other in ("base", *tested)], [])
    parts = compare_parts(run, name)
    facts = {key: against[0][key] for key in ("metric", "difference", "interval", "statement")}
    verdict = {"comparison": f"{name} vs base", **facts}
    verdict |= {"against": against, "one_draw": one_draw, "left_out": left_out}
    verdict |= {"parts": parts.gains if parts else {}, "evidence": run.evidence.as_json()}
    return verdict | {"sentence": _paragraph(run, results, name, verdict, parts)}


def _ensemble(results: Json) -> str:
    names = [name for name in results["methods"] if re.fullmatch(r"ocd_ensemble_\d+", name)]
    return max(names, key=number, default="ocd_ensemble_5")


def loss_name(run: RunRecords, results: Json) -> str:
    """The metric that is the mean of the losses per example, else "loss"."""
    losses = run.of_seeds("loss/base")
    for metric, values in results["methods"].get("base", {}).items():
        means = [None] * len(values) if losses is None else losses.mean(axis=1)
        pairs = list(zip(values, means, strict=True))
        if all(None not in pair and np.isclose(pair[1], pair[0], rtol=1e-3) for pair in pairs):
            return str(metric)
    return "loss"


# ---- baselines --------------------------------------------------------------------------


def _baselines(
    run: RunRecords, results: Json, name: str
) -> tuple[list[Opponent], list[str], dict[str, str]]:
    """The best baseline of at most equal cost and the best at any cost; all that were tested; and those
    that were left out, with what they were left out of.

    The best is chosen by the loss on the test examples themselves. That favours the baselines: what
    is said against them has to hold against the luckiest of them.
    """
    means: dict[str, float] = {}
    equal: list[str] = []
    left_out: dict[str, str] = {}
    for baseline in results["methods"]:
        if group(baseline, results["uses_label"]) != BASELINES:
            continue
        losses = run.of_seeds(f"loss/{baseline}")
        if losses is None or not np.isfinite(losses).all():
            left_out[baseline] = NOT_TESTED if losses is None else NOT_FINITE
            continue
        means[baseline] = float(losses.mean())
        no_more = costs_no_more(results["costs"][baseline], results["costs"].get(name, {}))
        if no_more is None:
            left_out[baseline] = COST_UNKNOWN
        elif no_more:
            equal.append(baseline)
    best = [Opponent(min(equal, key=means.__getitem__), EQUAL_COST)] if equal else []
    winner = min(means, key=means.__getitem__, default=None)
    if winner is not None and winner not in (opponent.method for opponent in best):
        best.append(Opponent(winner, ANY_COST))
    return best, list(means), left_out


def costs_no_more(baseline: Mapping[str, Any], ours: Mapping[str, Any]) -> bool | None:
    """Whether predicting and training cost the baseline at most what they cost us; None: unknown."""
    pairs = [(baseline.get(key), ours.get(key)) for key in COSTS]
    known = [(cost, limit) for cost, limit in pairs if cost is not None and limit is not None]
    if any(cost > COST_SLACK * limit for cost, limit in known):
        return False
    return True if len(known) == len(pairs) else None


# ---- comparisons ---------------------------------------------------------------------


def _compare(
    run: RunRecords,
    results: Json,
    name: str,
    opponents: list[Opponent],
    metrics: Collection[str] | None = None,
) -> list[Json]:
    """What a verdict's "against" holds, one for each opponent, all from the same resamples.

    Of the loss and of `metrics`, by default all.
    """
    signs = {
        metric: 1 if of["higher_is_better"] else -1
        for metric, of in results["metrics"].items()
        if metrics is None or metric in metrics
    }
    paired: dict[MethodMetric, Array] = {}  # "" stands for the loss
    for opponent, _ in opponents:
        losses = (run.of_seeds(f"loss/{method}") for method in (name, opponent))
        add_differences(paired, (opponent, ""), -1, *losses)
        for metric, sign in signs.items():
            values = (run.of_seeds(f"value/{method}/{metric}") for method in (name, opponent))
            add_differences(paired, (opponent, metric), sign, *values)
    found = resample(paired, run.together)
    loss_metric, against = loss_name(run, results), []
    for baseline, why in opponents:
        loss = found.get((baseline, ""), {"difference": None, "interval": None})
        facts = {
            "baseline": baseline,
            "title": title(baseline),
            "why": why,
            "metric": loss_metric,
            **loss,
        }
        facts["statement"] = statement_of(loss["interval"])
        facts["metrics"] = {
            metric: found[baseline, metric] for metric in signs if (baseline, metric) in found
        }
        against.append(facts)
    return against


def statement_of(interval: list[float] | None) -> str:
    """What a 95 % interval of a difference says: gain, worse, no gain, or undecided where there is
    none."""
    if interval is None:
        return "undecided"
    low, high = interval
    return "gain" if low > 0 else "worse" if high < 0 else "no gain"


def _why_undecided(run: RunRecords, name: str) -> str:
    for method in ("base", name):
        losses = run.of_seeds(f"loss/{method}")
        if losses is None:
            return f"the predictions lack `{method}`'s loss of each test example; predict again"
        if not np.isfinite(losses).all():
            return f"a loss of `{method}` is not finite"
    return f"{run.evidence.why_not}: no gain can be told, against the base or any other method"


# ---- words ---------------------------------------------------------------------------


def _paragraph(run: RunRecords, results: Json, name: str, verdict: Json, parts: Parts | None) -> str:
    base, *baselines = verdict["against"]
    sentences = [
        f"Undecided: {_so_far(base)}{_why_undecided(run, name)}."
        if base["statement"] == "undecided"
        else _against_base(run, results, name, base)
    ]
    if parts and base["statement"] != "undecided":
        sentences.append(parts_sentence(parts, base))
    elif base["difference"] and is_unmoved(run, name):
        sentences.append(
            "OCD makes no move here: all of this difference is the common move's, which is the layer "
            "fine-tuned once for all inputs."
        )
    at_equal_cost = [baseline for baseline in baselines if baseline["why"] == EQUAL_COST]
    if not at_equal_cost:
        sentences.append("No baseline is known to be of at most equal cost.")
    for baseline in baselines:
        if baseline["statement"] != "undecided":
            sentences.append(
                _against_baseline(results, name, baseline, best_of_all=baselines == at_equal_cost)
            )
    for reason in dict.fromkeys(verdict["left_out"].values()):
        listed = [f"`{method}`" for method, of in verdict["left_out"].items() if of == reason]
        sentences.append(f"Left out {reason}: {', '.join(listed)}.")
    return " ".join(sentences)


def _so_far(facts: Json) -> str:
    """The difference where there is one, but no interval to judge it by."""
    size = facts["difference"]
    if size is None:
        return ""
    return (
        f"base minus ensemble is {size:.{decimals([size])}f} in {words(facts['metric'])} per test "
        "example, but "
    )


def _against_base(run: RunRecords, results: Json, name: str, facts: Json) -> str:
    ocd = f"on `{results['task']}`, the ensemble of {number(name)} OCD draws"
    opening = {
        "gain": f"Gain: {ocd} beats the base",
        "no gain": f"No gain: {ocd} cannot be told from the base",
        "worse": f"Worse: {ocd} loses against the base",
    }[facts["statement"]]
    size, (low, high) = facts["difference"], facts["interval"]
    places = decimals([size])
    losses = run.of_seeds("loss/base")
    assert losses is not None  # else there were no difference
    over = f"{run.evidence.over}{' and seeds' if len(losses) > 1 else ''}"
    changes = []
    for metric, of in results["metrics"].items():
        pair = [known_mean(results["methods"].get(key, {}).get(metric, [])) for key in ("base", name)]
        if None not in pair:
            before, after = (f"{v:.{decimals(pair, of.get('unit', ''))}f}" for v in pair)
            changes.append(f"{words(metric)} {before} → {after} {of.get('unit', '')}".strip())
    return (
        f"{opening}: base minus ensemble is {size:.{places}f} in {words(facts['metric'])} per "
        f"test example (paired bootstrap over {over}, 95 % interval {low:.{places}f} to "
        f"{high:.{places}f}, {losses.shape[1]:,} test examples, {counted(run.seeds, 'seed')}; "
        f"positive: OCD is better); over all, {', '.join(changes[:2])}."
    )


def _against_baseline(results: Json, name: str, facts: Json, *, best_of_all: bool) -> str:
    size, (low, high) = facts["difference"], facts["interval"]
    places = decimals([size])
    both = " and at any cost" if best_of_all else ""
    ours, theirs = results["costs"][name], results["costs"][facts["baseline"]]
    ratios = [ratio(theirs[key], ours[key]) for key in COSTS]
    price = ""
    if facts["why"] == ANY_COST and None not in ratios:
        predicting, training = map(times, ratios)
        price = f", {predicting} × OCD's time to predict and {training} × its training"
    return (
        f"Against the {facts['why']}{both}, {facts['title']} (`{facts['baseline']}`{price}): "
        f"{facts['statement']}, {size:+.{places}f} in {words(facts['metric'])} "
        f"({low:+.{places}f} to {high:+.{places}f})."
    )
