"""How well scores of uncertainty know where the base errs: the base's own, and those of OCD's draws.

A score gives each test example a number, larger where less certain. It ranks well if the base errs on
examples with large scores: AUROC 1 is perfect, 0.5 is chance. The scores are the entropy of the
base's own answer, and spread, predictive entropy and mutual information of OCD's draws.
"""

from __future__ import annotations

import numpy as np

from ocd.evaluation import (
    Array,
    Json,
    area_under_risk_coverage,
    auroc,
    resampled_counts,
    risk_coverage,
)
from ocd.reporting.records import RunRecords
from ocd.reporting.wording import known_mean, words

Pair = tuple[Array, Array]  # a score (N,) and the base's errors (N,) of a seed
PREFIX = "uncertainty/"
BASE_SCORE = "base_entropy"  # needs no OCD; all others do
OWN_SCORE = "spread"
"""The one of OCD's that is set against the base's, in every run: the best of three on the test
examples would be flattered. Every task has it."""
NUM_RESAMPLES = 300
SCORES = {  # in the tables' order, and what people read
    "base_entropy": "base: entropy of its answer",
    "spread": "OCD: spread of the draws",
    "predictive_entropy": "OCD: entropy of the draws' mean",
    "mutual_information": "OCD: mutual information of the draws",
}


def score_title(name: str) -> str:
    """What people read in place of a score's key."""
    return SCORES.get(name, words(name))


def rank_errors(run: RunRecords) -> Json:
    """Of each score and seed: how well it ranks the base's errors, null where that is unknown."""
    found: Json = {}
    for name in _scores(run):
        known = _known(run, name)
        found[name] = {
            "auroc": [pair and auroc(*pair) for pair in known],
            "aurc": [pair and area_under_risk_coverage(*pair) for pair in known],
        }
        if name == OWN_SCORE:
            pairs = zip(known, _known(run, BASE_SCORE), strict=True)
            found[name]["against_base"] = _against_base(run, [*pairs])
    return found


def _known(run: RunRecords, name: str) -> list[Pair | None]:
    """Of each seed the score and the base's errors, None where one is missing or not finite."""
    pairs = [(of.get(PREFIX + name), of.get("base_error")) for of in run.tensors.values()]
    return [
        None if score is None or error is None or not np.isfinite(score).all() else (score, error)
        for score, error in pairs
    ]


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


def what_is_an_error(uncertainty: Json) -> str:
    """On which test examples the base is said to err (ocd.evaluation.per_example). The entropy of its
    answer is known of classes alone."""
    if BASE_SCORE in uncertainty:
        return "The base errs on a test example where its most probable class is not the right one."
    return (
        "Answers that are not classes have no plain right or wrong: of these, an error is one of the "
        "tenth of the test examples with the largest base loss. So a tenth of them are errors, however "
        "good the base is."
    )


def own_score_sentence(uncertainty: Json) -> str:
    """Whether OCD's score ranks the base's errors better than the base's own does."""
    own = uncertainty.get(OWN_SCORE, {"auroc": []})
    ours, value = f"“{score_title(OWN_SCORE)}”", known_mean(own["auroc"])
    if value is None:
        return (
            f"{ours} could not be judged: the base errs on no test example or on all, or the score is "
            "missing or not finite."
        )
    against = own.get("against_base")
    if not against:
        return f"{ours} has AUROC {value:.4f}; the base has no score to compare it with."
    if against["interval"] is None:
        return (
            f"Whether {ours} ranks the base's errors better than “{score_title(BASE_SCORE)}” is "
            f"undecided ({against['difference']:+.4f} in AUROC): {against['why_not']}."
        )
    low, high = against["interval"]
    ranks = "cannot be told apart, in ranking the base's errors, from"
    if low > 0 or high < 0:
        ranks = f"ranks the base's errors {'better' if low > 0 else 'worse'} than"
    return (
        f"{ours} {ranks} “{score_title(BASE_SCORE)}”: {against['difference']:+.4f} in AUROC (paired "
        f"bootstrap over {against.get('over', 'test examples')}, 95 % interval {low:+.4f} to "
        f"{high:+.4f}; positive: OCD is "
        "better)."
    )


def _against_base(run: RunRecords, known: list[tuple[Pair | None, Pair | None]]) -> Json | None:
    """OCD's score less the base's in AUROC, mean over the seeds that know both of them.

    The 95 % interval is that of a paired bootstrap over test examples, the same in each seed, or over
    the groups they are in; None of too few. A resample with errors only, or without, says nothing and
    is left out.
    """
    both = [(own, base) for own, base in known if own and base]
    both = [(own, base) for own, base in both if auroc(*own) is not None]
    if not both:
        return None
    num = len(both[0][0][0])
    generator = np.random.default_rng(0)
    drawn = resampled_counts(generator, NUM_RESAMPLES, num, run.together)
    counts = np.stack([np.ones(num), *drawn])
    gaps = [_resampled_auroc(*own, counts) - _resampled_auroc(*base, counts) for own, base in both]
    difference, *resampled = np.mean(gaps, axis=0).tolist()  # the first is that of all examples
    if not run.evidence.is_enough:
        return {"difference": difference, "interval": None, "why_not": run.evidence.why_not}
    interval = np.percentile([gap for gap in resampled if np.isfinite(gap)], [2.5, 97.5]).tolist()
    return {"difference": difference, "interval": interval, "over": run.evidence.over}


def _resampled_auroc(scores: Array, errors: Array, counts: Array) -> Array:
    """AUROC (R,) of resamples that have each example (N,) as often as their counts (R, N) say."""
    order = np.argsort(scores)
    _, starts = np.unique(scores[order], return_index=True)
    bad = np.add.reduceat(counts[:, order] * errors[order], starts, axis=1)  # (R, different scores)
    good = np.add.reduceat(counts[:, order] * (1 - errors[order]), starts, axis=1)
    below = np.cumsum(good, axis=1) - good / 2  # a tie counts half
    with np.errstate(invalid="ignore"):  # 0/0 where there is nothing to tell apart
        return np.asarray((bad * below).sum(axis=1) / (bad.sum(axis=1) * good.sum(axis=1)))


def _scores(run: RunRecords) -> list[str]:
    names = {name.removeprefix(PREFIX) for of in run.tensors.values() for name in of if PREFIX in name}
    return sorted(names, key=lambda name: (([*SCORES, name]).index(name), name))
