"""Scores of whole answers: how well draws (K, N, D) describe targets (N, D) of several numbers.

    numbers, tensors = judge_draws(draws, targets, given)

* energy score (ocd.training.scores), lower is better;
* variogram score (Scheuerer & Hamill 2015) of order 1/2: whether differences between two numbers of an
  answer are as large as in the draws, which the energy score hardly sees;
* CRPS of each number by itself, and their mean;
* coverage of simultaneous bands: how many answers lie within the band of their draws as a whole. Of
  fewer than 20 draws there is no band;
* a two-sample test by a classifier (Lopez-Paz & Oquab 2017): how often a small network tells a true
  answer from one draw. 50 % is as good as true.

Energy score and CRPS are averaged over pairs of different draws: an ensemble of few members is judged,
on average, as many of its kind would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ocd.prediction import crps_per_example
from ocd.training import energy_scores

NUM_PAIRS = 400
"""Pairs of numbers of the variogram score, the same for all methods; all where they are fewer."""
LEVELS = (50, 90)
"""Per cent of the simultaneous bands."""
FEWEST_DRAWS = 20
"""Of a band: 90 % of fewer cannot be told apart."""
STEPS = 300
"""Of the classifier's training."""


def judge_draws(
    draws: Tensor, targets: Tensor, given: Tensor, balanced: bool = False
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Numbers, and of each example its energy score; None for what cannot be said: of answers of one
    number a variogram, of few examples a classifier. `given` (N, F): what the classifier is told of the
    input. `balanced`: draws whose mean is no matter of chance (ocd.generator.placement)."""
    draws, targets = draws.flatten(2).float(), targets.flatten(1).float()
    energy = torch.cat(
        [energy_scores(d.transpose(0, 1), t, balanced) for d, t in _chunks(draws, targets)]
    ).double()
    by_step = crps_by_step(draws, targets, balanced)
    numbers: dict[str, object] = {
        "energy": float(energy.mean()),
        "variogram": variogram_score(draws, targets),
        "crps": float(by_step.mean()),
        "crps_by_step": by_step.tolist(),
        "two_sample": two_sample_accuracy(draws[0], targets, given.flatten(1).float()),
    }
    for level in LEVELS:
        numbers[f"covered_{level}"] = band_coverage(draws, targets, level, balanced)
    return numbers, {"energy": energy.float()}


def variogram_score(draws: Tensor, targets: Tensor) -> float | None:
    """Mean of `variogram_scores` over the examples; None of answers of one number, which has no other
    to differ from."""
    return float(variogram_scores(draws, targets).mean()) if targets.shape[1] > 1 else None


def variogram_scores(draws: Tensor, targets: Tensor) -> Tensor:
    """Mean over pairs of numbers of (|y_i - y_j|^½ - mean_k |x_ki - x_kj|^½)²: (N,). Of two numbers or
    more."""
    size = targets.shape[1]
    pairs = torch.triu_indices(size, size, offset=1)
    if pairs.shape[1] > NUM_PAIRS:
        chosen = torch.randperm(pairs.shape[1], generator=torch.Generator().manual_seed(0))
        pairs = pairs[:, chosen[:NUM_PAIRS]]
    one, other = pairs
    found = []
    for some, true in _chunks(draws, targets):
        expected = (some[..., one] - some[..., other]).abs().sqrt().mean(dim=0)
        found.append((expected - (true[:, one] - true[:, other]).abs().sqrt()).square().mean(dim=1))
    return torch.cat(found)


def crps_by_step(draws: Tensor, targets: Tensor, balanced: bool = False) -> Tensor:
    """CRPS of each number of an answer, mean over the examples: (D,)."""
    score = partial(crps_per_example, fair=True, balanced=balanced)
    return torch.stack(
        [score(draws[..., [d]], targets[:, [d]]).mean() for d in range(targets.shape[1])]
    )


def band_coverage(draws: Tensor, targets: Tensor, level: float, balanced: bool = False) -> float | None:
    """Per cent of targets that lie as a whole in the band mean ± q · deviation of their draws, where q
    lets `level` per cent of the draws do so. None for fewer than `FEWEST_DRAWS`.

    How far a draw lies is measured by mean and deviation of the others, as the target is by those of
    all: a draw is nearer to a mean that it is part of, unless draws are `balanced`. q is the
    (1 + K) · level / 100-th smallest of these K; between two of them coverage is interpolated.
    """
    count = len(draws)
    if count < FEWEST_DRAWS:
        return None
    draws, targets = draws.double(), targets.double()
    mean, variance = draws.mean(dim=0), draws.var(dim=0)
    off = draws - mean
    if balanced:  # around a mean that is no draw's doing
        others = ((count - 1) * variance - off.square()) / (count - 1)
        variance = variance * (count - 1) / count
    else:
        others = ((count - 1) * variance - count / (count - 1) * off.square()) / (count - 2)
        off = off * (count / (count - 1))
    from_others = off.abs() / others.clamp_min(1e-18).sqrt()
    largest = from_others.amax(dim=2).sort(dim=0).values  # (K, N)
    target = ((targets - mean).abs() / variance.clamp_min(1e-18).sqrt()).amax(dim=1)
    share = max(1.0, (1 + count) * level / 100)
    ranks = (math.floor(share), min(count, math.floor(share) + 1))
    low, high = ((target <= largest[rank - 1]).double().mean() for rank in ranks)
    return float(100 * (low + (share - ranks[0]) * (high - low)))


def two_sample_accuracy(draw: Tensor, targets: Tensor, given: Tensor) -> float | None:
    """Per cent of right answers, on examples that it did not learn from, of a classifier that is shown
    either a draw (N, D) or the target (N, D), and the example's `given` (N, F). None of fewer than
    four examples: it needs two to learn from, and as many to be judged on."""
    half = len(targets) // 2
    if half < 2:
        return None
    pooled = torch.cat([targets, given], dim=1)
    mean, deviation = pooled[:half].mean(dim=0), pooled[:half].std(dim=0).clamp_min(1e-3)
    true = (pooled - mean) / deviation
    drawn = (torch.cat([draw, given], dim=1) - mean) / deviation
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(true.shape[1], 64), nn.ReLU(), nn.Linear(64, 1))
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
        for _ in range(STEPS):
            rows = torch.randint(half, (min(128, half),))
            margin = network(true[rows]), -network(drawn[rows])
            loss = nn.functional.softplus(-torch.cat(margin)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = torch.cat([network(true[half:]) > 0, network(drawn[half:]) <= 0])
    return float(100 * right.double().mean())


def _chunks(draws: Tensor, targets: Tensor, size: int = 100) -> Iterator[tuple[Tensor, Tensor]]:
    """Some examples at a time: (K, n, D) and (n, D)."""
    for start in range(0, len(targets), size):
        yield draws[:, start : start + size], targets[start : start + size]
