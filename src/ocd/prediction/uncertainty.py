"""How sure a prediction is, from its draws, and how well the draws describe the target."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.training import closer


def crps(draws: Tensor, targets: Tensor) -> float:
    """Continuous ranked probability score of draws (K, N, ...), in the targets' unit; lower is better.

    mean |x_k - y| - sum |x_k - x_l| / 2K², the score of the draws' own distribution (Gneiting &
    Raftery 2007, Eq. 21): one draw has its absolute error. Several outputs are judged one by one.
    """
    return crps_per_example(draws, targets).mean().item()


def crps_per_example(
    draws: Tensor, targets: Tensor, *, fair: bool = False, balanced: bool = False
) -> Tensor:
    """`crps` of each example, averaged over its outputs: (N,).

    `fair`: what many draws from where these K are from would have, on average (Ferro 2014): the sum is
    divided by 2K(K-1). It compares methods of other numbers of draws; for draws at even quantiles,
    which are no chance draws, it would be too small. Distances between `balanced` draws
    (ocd.generator.placement) are shortened to those of chance draws. One draw has its absolute error.
    """
    # torchmetrics has the mean over the examples alone, of two draws or more, in memory K².
    errors = _draw_differences(draws, targets).sort(dim=0).values
    num_draws = len(errors)
    # In order, the i-th of K is above i - 1 others and below K - i.
    weights = torch.arange(1 - num_draws, num_draws, 2, dtype=errors.dtype, device=errors.device)
    pairs = num_draws * max(1, num_draws - 1) if fair else num_draws**2
    between = torch.einsum("k,kno->no", weights, errors) / pairs * closer(num_draws, fair and balanced)
    return (errors.abs().mean(dim=0) - between).mean(dim=1)


def interval_coverage(draws: Tensor, targets: Tensor, level: float) -> float:
    """Per cent of targets within the central interval of the draws: `level`, if they are calibrated.
    Targets that are NaN are left out; NaN where all of them are."""
    return 100 * covered_by_interval(draws, targets, level).nanmean().item()


def covered_by_interval(draws: Tensor, targets: Tensor, level: float) -> Tensor:
    """Whether each target is within the central interval of its draws, (N,): 1 or 0, or the share of
    an example's outputs. Outputs whose target is NaN are left out, and NaN is said of an example that
    has no other.

    Draws (K, N, ...), level 50 or 90 (per cent). Between the r-th draws from both ends another one
    lies in (K + 1 - 2r) / (K + 1) of the cases; a level between two of these shares is interpolated
    between the two answers. Beyond all draws there is no interval: a level is reached only with
    K ≥ (100 + level) / (100 - level), which is 3 draws for 50 and 19 for 90, and fewer give less.
    """
    if not 1 < level < 100:
        raise OCDError(f"level is {level}: it is in per cent, above 1 and below 100")
    errors = _draw_differences(draws, targets).sort(dim=0).values
    num_draws = len(errors)
    known = ~targets.isnan().reshape(len(targets), -1)
    count = torch.where(known.any(dim=1), known.sum(dim=1).double(), torch.nan)

    def covered(rank: int) -> Tensor:
        inside = (errors[rank - 1] <= 0) & (errors[num_draws - rank] >= 0)
        return inside.double().sum(dim=1) / count  # NaN is inside of nothing

    return _between_ranks(covered, num_draws, level, 0 * count)


def interval_width(draws: Tensor, level: float) -> float:
    """Mean width of `central_interval`, in the outputs' unit; draws (K, N, ...)."""
    low, high = central_interval(draws.double(), level)
    return float((high - low).mean())


def central_interval(draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Lower and upper end (N, ...) of the central interval of draws (K, N, ...), of which
    `covered_by_interval` gives the cover. Of a level that so few draws do not reach, the outermost."""
    ordered, count = draws.sort(dim=0).values, len(draws)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return (
        _between_ranks(lambda rank: ordered[rank - 1], count, level, middle),
        _between_ranks(lambda rank: ordered[count - rank], count, level, middle),
    )


def reaches(num_draws: int, level: float) -> bool:
    """Whether a central interval of the level lies within so many draws."""
    return (num_draws + 1) * (100 - level) >= 200


def _between_ranks(
    of: Callable[[int], Tensor], num_draws: int, level: float, nothing: Tensor
) -> Tensor:
    """What is said of the draws of ranks r and K + 1 - r, for the rank of a level: between two ranks
    interpolated. `nothing`: of the ranks that have met."""
    share = max(1.0, (num_draws + 1) * (100 - level) / 200)
    rank = math.floor(share)
    low, high = (of(r) if 2 * r <= num_draws + 1 else nothing for r in (rank, rank + 1))
    return low + (share - rank) * (high - low)


def softmax_entropy(logits: Tensor) -> Tensor:
    """Entropy of the probabilities of logits (N, C), in nats: 0 to log C."""
    if logits.ndim != 2:
        raise OCDError(f"a classifier's outputs are logits (N, C): got {tuple(logits.shape)}")
    return _entropy(logits.double().softmax(dim=-1))


def predictive_entropy(draw_logits: Tensor) -> Tensor:
    """Entropy of the mean probabilities of the draws' logits (K, N, C), in nats."""
    return _entropy(_draw_probabilities(draw_logits).mean(dim=0))


def mutual_information(draw_logits: Tensor) -> Tensor:
    """What the draws disagree about: predictive entropy less the draws' mean entropy, in nats.

    Logits (K, N, C). 0 to log K, 0 where all draws agree (Houlsby et al. 2011).
    """
    probabilities = _draw_probabilities(draw_logits)
    between = _entropy(probabilities.mean(dim=0)) - _entropy(probabilities).mean(dim=0)
    return between.clamp_min(0.0)  # rounding alone takes it below


def spread(draws: Tensor) -> Tensor:
    """Root of the variance over the draws (K, N, ...), averaged over an example's outputs.

    Of a classifier, give the probabilities. 0 for one draw: the variance is divided by K.
    """
    if draws.ndim < 2 or not len(draws):
        raise OCDError(f"draws are (K, N, ...) with K of at least 1: got {tuple(draws.shape)}")
    variance = draws.double().var(dim=0, correction=0)
    return variance.reshape(draws.shape[1], -1).mean(dim=1).sqrt()


def _draw_differences(draws: Tensor, targets: Tensor) -> Tensor:
    """draws - targets, (K, N, outputs of an example)."""
    if targets.ndim < 1 or draws.shape[1:] != targets.shape or not draws.numel():
        raise OCDError(
            "draws are (K, N, ...) of targets (N, ...), with one draw and one example or more: "
            f"got {tuple(draws.shape)} and {tuple(targets.shape)}"
        )
    return (draws.double() - targets.double()).reshape(len(draws), len(targets), -1)


def _draw_probabilities(draw_logits: Tensor) -> Tensor:
    if draw_logits.ndim != 3 or not len(draw_logits):
        raise OCDError(
            "draws of a classifier are logits (K, N, C) with K of at least 1: "
            f"got {tuple(draw_logits.shape)}"
        )
    return draw_logits.double().softmax(dim=-1)


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(dim=-1)
