"""A run's records -> results.json: every method's metrics by seed, seconds, costs, and the verdict.

The verdict compares the ensemble of draws with the base (Sec. 4.4 of the paper) on the loss of each
test example, and says no more than a paired bootstrap over the test examples allows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from ocd.errors import OCDError
from ocd.figures import Array, LayerScore
from ocd.records import Json, RunRecords

PHASES = ("base", "select", "overfit", "train", "predict")
METHODS = (  # the table's order: a pattern of the key, and what people read
    (r"base", "base"),
    (r"ocd", "OCD, one draw"),
    (r"ocd_ensemble_(\d+)", "OCD, ensemble of {} draws"),
    (r"ocd_mean_network_(\d+)", "OCD, mean network of {} draws"),
    (r"ocd_mean", "OCD, mean in one pass"),
    (r"overfit_test", "bound: overfitted with the test label"),
    (r"no_scale", "OCD without predicted scale"),
    (r"nearest_neighbor", "nearest training example's delta"),
    (r"alternative_layer", "OCD on the alternative layer"),
    (r"alternative_layer_ensemble_(\d+)", "the same, ensemble of {} draws"),
    (r"tent_(\d+)", "Tent, iterations: {}"),
)


def make_results(run: RunRecords) -> Json:
    names = {name: None for seed in run.seeds for name in run.predictions[seed]["methods"]}
    metrics = run.config["metrics"]
    methods = {
        name: {metric: [_value(run, seed, name, metric) for seed in run.seeds] for metric in metrics}
        for name in sorted(names, key=_order)
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
        "seconds": {phase: known_mean(values) for phase, values in seconds.items()},
        "seconds_by_seed": seconds,
        "costs": {name: known_mean([_cost(run, seed, name) for seed in run.seeds]) for name in methods},
    }
    return results | {"verdict": _verdict(run, results)}


def _order(method: str) -> tuple[int, int]:
    for place, (pattern, _) in enumerate(METHODS):
        if match := re.fullmatch(pattern, method):
            return place, int(match[1]) if match.groups() else 0
    return len(METHODS), 0  # unknown methods last, in the order they came


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _value(run: RunRecords, seed: int, method: str, metric: str) -> float | None:
    return _finite(run.predictions[seed]["methods"].get(method, {}).get(metric))


def _cost(run: RunRecords, seed: int, method: str) -> float | None:
    return _finite(run.predictions[seed].get("costs", {}).get(method))


def known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _phases(run: RunRecords) -> list[str]:
    return list(dict.fromkeys([*PHASES, *(event["phase"] for event in run.of("phase"))]))


def _seconds(run: RunRecords, phase: str, seed: int) -> float | None:
    """The time a seed spent in a phase, over its parts; only a part that was killed is not there."""
    parts = [event["seconds"] for event in run.of("phase", seed) if event["phase"] == phase]
    return float(sum(parts)) if parts else None


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


# ---- verdict -------------------------------------------------------------------------


def paired_bootstrap(
    difference: Array, num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `difference` (N,) over resampled examples."""
    generator = np.random.default_rng(seed)
    num = len(difference)
    rows = (generator.integers(num, size=num) for _ in range(num_resamples))
    means = np.fromiter((difference[row].mean() for row in rows), float, num_resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def pooled_losses(run: RunRecords) -> tuple[Array, Array] | None:
    """Base and ensemble loss of each test example (N,), averaged over the seeds."""
    names = ("base_loss", "ensemble_loss")
    rows = [[losses.get(name) for losses in run.losses.values()] for name in names]
    shapes = {None if row is None else row.shape for row in [*rows[0], *rows[1]]}
    if None in shapes:
        return None
    if len(shapes) > 1 or any(len(shape or ()) != 1 for shape in shapes):
        raise OCDError(f"predictions: losses of different shapes {shapes}; predict again")
    base, ensemble = (np.mean([row for row in side if row is not None], axis=0) for side in rows)
    return base, ensemble


def _verdict(run: RunRecords, results: Json) -> Json:
    """OCD's ensemble against the base; a positive difference means that OCD's loss is lower."""
    ensembles = [name for name in results["methods"] if re.fullmatch(r"ocd_ensemble_\d+", name)]
    name = "ocd_ensemble_5" if not ensembles or "ocd_ensemble_5" in ensembles else ensembles[-1]
    verdict: Json = {"comparison": f"{name} vs base", "metric": _loss_name(run)}
    verdict |= {"difference": None, "interval": None, "statement": "undecided"}
    pooled = pooled_losses(run)
    difference = pooled[0] - pooled[1] if pooled else np.empty(0)
    if len(difference) < 2 or not np.isfinite(difference).all():
        reason = "fewer than two test examples have both losses, or a loss is not finite"
        return verdict | {"sentence": f"Undecided: {reason}."}
    low, high = paired_bootstrap(difference)
    verdict |= {"difference": float(difference.mean()), "interval": [low, high]}
    verdict["statement"] = "gain" if low > 0 else "worse" if high < 0 else "no gain"
    return verdict | {"sentence": _sentence(verdict, results, len(difference))}


def _loss_name(run: RunRecords) -> str:
    """The metric that is the mean of the losses per example, else "loss"."""
    for metric in run.config["metrics"]:
        if all(_is_mean_loss(run, seed, metric) for seed in run.seeds):
            return str(metric)
    return "loss"


def _is_mean_loss(run: RunRecords, seed: int, metric: str) -> bool:
    value, losses = _value(run, seed, "base", metric), run.losses[seed].get("base_loss")
    return value is not None and losses is not None and np.isclose(losses.mean(), value, rtol=1e-3)


def _sentence(verdict: Json, results: Json, num_examples: int) -> str:
    name = verdict["comparison"].removesuffix(" vs base")
    ocd, task = f"the ensemble of {_order(name)[1]} OCD draws", f"`{results['task']}`"
    opening = {
        "gain": f"Gain: on {task}, {ocd} beats the base",
        "no gain": f"No gain: on {task}, {ocd} cannot be told from the base",
        "worse": f"Worse: on {task}, {ocd} loses against the base",
    }[verdict["statement"]]
    size, (low, high) = verdict["difference"], verdict["interval"]
    places = decimals([size], "")
    changes = []
    for metric, facts in results["metrics"].items():
        pair = [known_mean(results["methods"].get(key, {}).get(metric, [])) for key in ("base", name)]
        if None not in pair:
            before, after = (f"{v:.{decimals(pair, facts.get('unit', ''))}f}" for v in pair)
            changes.append(f"{words(metric)} {before} → {after} {facts.get('unit', '')}".strip())
    return (
        f"{opening}: base minus ensemble is {size:.{places}f} in {words(verdict['metric'])} per "
        f"test example (paired bootstrap 95 % interval {low:.{places}f} to {high:.{places}f}, "
        f"{num_examples:,} test examples, {counted(results['seeds'], 'seed')}; "
        f"positive: OCD is better). Over all: {'; '.join(changes[:2])}."
    )


def words(name: str) -> str:
    return name.replace("_", " ")


def counted(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def method_title(method: str) -> str:
    place = _order(method)[0]
    if place == len(METHODS):
        return words(method)
    pattern, title = METHODS[place]
    match = re.fullmatch(pattern, method)
    return title.format(*(match.groups() if match else ()))


def decimals(values: Sequence[float | None], unit: str) -> int:
    """Two for percent and decibel; else four, or more where the smallest needs three digits."""
    if unit in ("%", "dB"):
        return 2
    sizes = [abs(value) for value in values if value]
    return min(10, max(4, 2 - math.floor(math.log10(min(sizes))))) if sizes else 4


def spread(values: Sequence[float | None], places: int) -> str:
    """Mean ± sample SD over the seeds that have a finite value; says so where some have not."""
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    text = f"{mean(known):.{places}f}"
    text += f" ± {stdev(known):.{places}f}" if len(known) > 1 else ""
    return text + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")
