"""Paired bootstrap: could a difference between two methods be due to the choice of examples and seeds?

    paired = {}
    add_differences(paired, ("ocd", "rmse"), -1, ours, theirs)    # values (S seeds, N test examples)
    resample(paired)[("ocd", "rmse")]     # {"difference": 0.012, "interval": [0.003, 0.021]}

NumPy alone, so that a report can be made without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ocd.evaluation.ranking import Array

MethodMetric = tuple[str, str]
"""The names of a method and a metric."""

TOGETHER = "together"
"""The name under which predictions keep which test examples are one piece of evidence."""

FEWEST = 16
"""Pieces of evidence (test examples, or groups of them that belong together) below which nothing is
said of a difference: a bootstrap of few pieces is too narrow. Where there is no difference, intervals
of 2 groups leave out zero in half of the cases, of 6 in 16 %. `ocd.lessons` asks for as many."""

Json = dict[str, Any]
"""An object of a JSON file."""


def paired_bootstrap(
    differences: Array, num_resamples: int = 2000, seed: int = 0, together: Array | None = None
) -> Array:
    """95 % percentile intervals (M, 2) of the means of M differences (M, S, N).

    Each resample draws S of the S seeds and N of the N test examples, with replacement (Efron &
    Tibshirani 1993). All seeds were tested on the same examples, so that a resample has the same ones
    in each of its seeds. With two or three seeds, the intervals understate how far seeds scatter.
    `together` (N,): a number for the examples that are one piece of evidence, such as windows that
    overlap or documents of a query; whole groups are drawn then. Of fewer than `FEWEST` examples, or
    groups, nothing can be told: their intervals are from -inf to inf.
    """
    num_seeds, num = differences.shape[1:]
    if num_pieces(num, together) < FEWEST:
        return np.tile([-np.inf, np.inf], (len(differences), 1))
    generator = np.random.default_rng(seed)
    chosen = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)
    columns = differences.reshape(-1, num).T  # (N, M·S)
    own = None if together is None else _numbered(together)
    means = []
    for start in range(0, num_resamples, 100):  # of 10,000 examples, 100 resamples take 8 MB
        seeds = chosen[start : start + 100] / num_seeds  # (R, S)
        counts = _drawn(generator, len(seeds), num, own)
        shares = counts / counts.sum(axis=1, keepdims=True)  # (R, N)
        by_seed = (shares @ columns).reshape(len(seeds), -1, num_seeds)
        means.append(np.einsum("rms,rs->rm", by_seed, seeds))
    return np.percentile(np.concatenate(means), [2.5, 97.5], axis=0).T


def num_pieces(num: int, together: Array | None = None) -> int:
    """Pieces of evidence of `num` test examples: their groups, by `together` (N,) as `paired_bootstrap`
    has it; without it each is one."""
    return num if together is None else len(np.unique(together))


def resampled_counts(
    generator: np.random.Generator, num_resamples: int, num: int, together: Array | None = None
) -> Array:
    """How often each of `num` test examples is drawn in each resample, (R, N): with replacement,
    those of a group (`together`, as `paired_bootstrap` has it) as one."""
    own = None if together is None else _numbered(together)
    return _drawn(generator, num_resamples, num, own)


def _numbered(together: Array) -> Array:
    """The groups of the examples (N,) by numbers from 0."""
    return np.asarray(np.unique(together, return_inverse=True)[1].reshape(-1))


def _drawn(generator: np.random.Generator, num_resamples: int, num: int, own: Array | None) -> Array:
    """As `resampled_counts`; `own`: groups by numbers from 0."""
    pieces = num if own is None else int(own.max()) + 1
    drawn = (generator.integers(pieces, size=pieces) for _ in range(num_resamples))
    counts = np.stack([np.bincount(rows, minlength=pieces) for rows in drawn])
    return np.asarray(counts if own is None else counts[:, own])


def add_differences(
    paired: dict[MethodMetric, Array],
    key: MethodMetric,
    sign: int,
    ours: Array | None,
    theirs: Array | None,
) -> None:
    """Add the differences (S, N) of two methods to `paired`, positive where ours is better.

    `ours`, `theirs`: values (S, N); `sign`: 1 where a higher value is better, else -1. Nothing is added
    for missing values, a single example, or values that are not finite. Two methods that answer alike
    differ by the rounding of their passes, which may lean one way in all examples: what is below a
    hundred-thousandth of a value, or a millionth of the mean, is no difference.
    """
    if ours is None or theirs is None or ours.shape[1] < 2:
        return
    if np.isfinite(ours).all() and np.isfinite(theirs).all():
        difference, size = ours - theirs, np.abs(theirs)
        rounding = np.abs(difference) <= 1e-5 * size + 1e-6 * size.mean()
        paired[key] = sign * np.where(rounding, 0.0, difference)


def resample(
    paired: Mapping[MethodMetric, Array], together: Array | None = None
) -> dict[MethodMetric, Json]:
    """Mean and 95 % interval of each of the differences (S, N), all from the same resamples;
    `together` (N,) as `paired_bootstrap` has it.

    By method and metric: {"difference": mean, "interval": [low, high]}, in the metric's unit; the
    interval is None where there are fewer than `FEWEST` pieces of evidence.
    """
    intervals: list[list[float] | None] = [None] * len(paired)
    differences = [*paired.values()]
    if paired and num_pieces(differences[0].shape[1], together) >= FEWEST:
        intervals = paired_bootstrap(np.stack(differences), together=together).tolist()
    return {
        key: {"difference": float(difference.mean()), "interval": interval}
        for (key, difference), interval in zip(paired.items(), intervals, strict=True)
    }
