"""A run's records -> results.json: every method's metrics by seed, costs, uncertainty, the verdict.

Metrics are lists with one value a seed, None where a seed has none. Costs are means over seeds:
microseconds of a prediction, seconds of training, number of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

from ocd.data import seconds_by_phase
from ocd.evaluation import Json
from ocd.reporting.asked import asked_for
from ocd.reporting.coverage import judge_coverage
from ocd.reporting.distribution import distribution_results
from ocd.reporting.error_ranking import rank_errors
from ocd.reporting.joint import joint_results, judge_joint
from ocd.reporting.methods import table_order, uses_label
from ocd.reporting.opening import data_facts, quick_facts
from ocd.reporting.records import RunRecords
from ocd.reporting.training_figures import LayerScore
from ocd.reporting.verdict import make_verdict
from ocd.reporting.wording import known_mean, of_seeds, ratio

FIRST_METRICS = (
    "si_sdri",
    "sdri",
    "cross_entropy",
    "accuracy",
    "calibration_error",
    "brier",
    "rmse",
    "mse",
    "psnr",
)
PHASES = ("base", "select", "overfit", "train", "predict")
COSTS = {"microseconds": "costs", "training_seconds": "training_seconds", "parameters": "parameters"}
"""Name in results.json -> name in a seed's predictions."""


def make_results(run: RunRecords) -> Json:
    names = {name: None for seed in run.seeds for name in run.predictions[seed]["methods"]}
    with_label = uses_label(
        names, {name for found in run.predictions.values() for name in found.get("uses_label", [])}
    )
    metrics = _in_order(run.config["metrics"])
    methods = {
        name: {metric: [_value(run, seed, name, metric) for seed in run.seeds] for metric in metrics}
        for name in sorted(names, key=lambda name: table_order(name, with_label))
    }
    seconds = {phase: [_seconds(run, phase, seed) for seed in run.seeds] for phase in _phases(run)}
    results: Json = {
        "task": run.config["task"],
        "preset": run.config["preset"],
        "seeds": run.seeds,
        "layer": ", ".join(dict.fromkeys(_layer(run, seed) for seed in run.seeds)),
        "examples": run.config.get("examples", {}),
        "metrics": metrics,
        "methods": methods,
        "uses_label": [name for name in methods if name in with_label],
        "skipped": _skipped(run),
        "seconds": {phase: known_mean(values) for phase, values in seconds.items()},
        "seconds_by_seed": seconds,
        "costs": {name: _costs(run, name) for name in methods},
        "uncertainty": rank_errors(run),
        "published": run.config.get("published"),
    }
    verdict = make_verdict(run, results)
    if data := data_facts(run):
        verdict["data"] = data
    if quick := quick_facts(run):
        verdict["quick"] = quick
    if distribution := distribution_results(run):
        results["distribution"] = distribution
        verdict["distribution"] = judge_coverage(run, distribution)
    if joint := joint_results(run):
        results["joint"] = joint
        verdict["joint"] = judge_joint(joint, run.evidence)
    verdict["asked"] = asked_for(run, results, verdict)
    return results | {"verdict": verdict}


def _in_order(metrics: Json) -> Json:
    """The tables' order, what is read first in front: a configuration on disk is sorted by name."""
    known = {name: metrics[name] for name in FIRST_METRICS if name in metrics}
    return known | metrics


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _value(run: RunRecords, seed: int, method: str, metric: str) -> float | None:
    return _finite(run.predictions[seed]["methods"].get(method, {}).get(metric))


def _costs(run: RunRecords, method: str) -> Json:
    """What a method costs, mean over the seeds that know it, and how many times the base's."""

    def cost(of: str, key: str) -> float | None:
        found = [predictions.get(key, {}).get(of) for predictions in run.predictions.values()]
        return known_mean([_finite(value) for value in found])

    costs = {name: cost(method, key) for name, key in COSTS.items()}
    return costs | {f"{n}_ratio": ratio(costs[n], cost("base", key)) for n, key in COSTS.items()}


def _skipped(run: RunRecords) -> dict[str, str]:
    """Why methods were left out, with the seeds where not all left them out for that reason."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for seed, predictions in run.predictions.items():
        for method, reason in predictions.get("skipped", {}).items():
            seeds.setdefault((method, reason), []).append(seed)
    reasons: dict[str, list[str]] = {}
    for (method, reason), of in seeds.items():
        reasons.setdefault(method, []).append(f"{reason}{of_seeds(of, run.seeds)}")
    return {method: "; ".join(texts) for method, texts in reasons.items()}


def _phases(run: RunRecords) -> list[str]:
    return list(dict.fromkeys([*PHASES, *seconds_by_phase(run.of("phase"))]))


def _seconds(run: RunRecords, phase: str, seed: int) -> float | None:
    """The time a seed spent in a phase, over its parts; only a part that was killed is not there."""
    return seconds_by_phase(run.of("phase", seed)).get(phase)


def _layer(run: RunRecords, seed: int) -> str:
    """The layer named in the settings, else the one that Eq. 3 chose."""
    named = run.config.get("config", {}).get("layer")
    chosen = run.selections.get(seed, {}).get("chosen", "unknown")
    return str(named if named not in (None, "auto") else chosen)


def is_main(event: Mapping[str, Any]) -> bool:
    return bool(event.get("role", "main") == "main")


def layer_scores(run: RunRecords) -> list[LayerScore]:
    """Scores averaged over seeds, in the network's order; errors add in quadrature."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for chosen in run.selections.values():
        columns = (chosen["names"], chosen["scores"], chosen["standard_errors"])
        for name, score, error in zip(*columns, strict=True):
            scores.setdefault(name, []).append((score, error))
    wins = [chosen["chosen"] for chosen in run.selections.values()]
    return [
        LayerScore(
            name,
            mean(score for score, _ in pairs),
            math.hypot(*(error for _, error in pairs)) / len(pairs),
            wins.count(name),
        )
        for name, pairs in scores.items()
    ]
