"""Which score of uncertainty knows best where the base errs: the base's own, or one of OCD's draws."""

from __future__ import annotations

import numpy as np

from ocd.ranking import area_under_risk_coverage, auroc, risk_coverage
from ocd.reporting.records import Array, Json, RunRecords
from ocd.reporting.wording import counted, known_mean, words

PREFIX = "uncertainty/"
BASE_SCORE = "base_entropy"  # needs no OCD; all others do
SCORES = {  # in the tables' order, and what people read
    "base_entropy": "base: entropy of its answer",
    "spread": "OCD: spread of the draws",
    "predictive_entropy": "OCD: entropy of the draws' mean",
    "mutual_information": "OCD: mutual information of the draws",
}


def score_title(name: str) -> str:
    return SCORES.get(name, words(name))


def rank_errors(run: RunRecords) -> Json:
    """Of each score and seed: how well it ranks the base's errors, null where that is unknown."""
    found: Json = {}
    for name in _scores(run):
        pairs = [(of.get(PREFIX + name), of.get("base_error")) for of in run.tensors.values()]
        known = [
            None if score is None or error is None or not np.isfinite(score).all() else (score, error)
            for score, error in pairs
        ]
        found[name] = {
            "auroc": [pair and auroc(*pair) for pair in known],
            "aurc": [pair and area_under_risk_coverage(*pair) for pair in known],
        }
    return found


def risk_curves(run: RunRecords) -> dict[str, tuple[Array, Array]]:
    """Title of a score -> coverage (N,) and the base's share of errors there (N,), mean over seeds."""
    errors = run.of_seeds("base_error")
    curves = {}
    for name in _scores(run):
        scores = run.of_seeds(PREFIX + name)
        if scores is not None and errors is not None and np.isfinite(scores).all():
            of_seeds = [risk_coverage(*pair) for pair in zip(scores, errors, strict=True)]
            risks = np.mean([risk for _, risk in of_seeds], axis=0)
            curves[score_title(name)] = of_seeds[0][0], risks
    return curves


def best_score(uncertainty: Json) -> str:
    """A sentence: the score that ranks the base's errors best, and by how much."""
    means = {name: known_mean(found["auroc"]) for name, found in uncertainty.items()}
    ranked = sorted((-value, name) for name, value in means.items() if value is not None)
    if not ranked:
        return "No score could be judged: the base errs on no test example, or on all."
    best = ranked[0][1]
    value = f"AUROC {-ranked[0][0]:.4f}"
    # With the base's own score on one side, the difference says what the draws are worth.
    others = [pair for pair in ranked[1:] if BASE_SCORE in (best, pair[1])]
    if not others:
        return f"“{score_title(best)}” ranks the base's errors best: {value}."
    other = others[0][1]
    pairs = zip(uncertainty[best]["auroc"], uncertainty[other]["auroc"], strict=True)
    gaps = [one - two for one, two in pairs if one is not None and two is not None]
    wins = sum(gap > 0 for gap in gaps)
    seeds = f", and more in {wins} of {counted(gaps, 'seed')}" if len(gaps) > 1 else ""
    than = (
        "the base's own score" if other == BASE_SCORE else f"the best of OCD's, “{score_title(other)}”"
    )
    return (
        f"“{score_title(best)}” ranks the base's errors best: {value}, "
        f"{known_mean(gaps) or 0:.4f} more than {than}{seeds}."
    )


def _scores(run: RunRecords) -> list[str]:
    names = {name.removeprefix(PREFIX) for of in run.tensors.values() for name in of if PREFIX in name}
    return sorted(names, key=lambda name: (([*SCORES, name]).index(name), name))
