"""Search for the learning rate of Eq. 1: the smallest that does nearly all that any could do.

    lr, fall = search_rate(try_rate)   # try_rate(lr): the mean fall of the loss, None where it rises

A grid would answer with one of its points, and a small change of the examples would be a jump to the
next. So decades are tried first, then thirds of the decades that matter, then halves at the largest
rate that may be taken and where nine tenths are reached; there, a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from ocd.data import remembered

LOWEST, HIGHEST = 1e-6, 1e3
"""Rates that are tried, and beyond the highest one more decade, and another, as long as each makes the
loss fall by a tenth more than the one before: where gradients are small, as the layer's inputs are."""
FARTHEST = 1e12
ENOUGH = 0.9
"""Share of the largest fall that the smallest sufficient rate has to reach."""
MAX_RISING = 0.01
"""Share of the examples whose loss may rise."""

TryRate = Callable[[float], float | None]


def mean_fall(before: Tensor, after: Tensor, precise: bool = True) -> float | None:
    """The mean fall of losses (N,); None where one is not finite or too many rise, by more than
    rounding (`precise`: of single precision at least)."""
    slack = 1e-6 + (1e-4 if precise else 1e-2) * before.abs()
    if not after.isfinite().all() or (after > before + slack).float().mean() > MAX_RISING:
        return None
    return float((before - after).mean())


def search_rate(try_rate: TryRate) -> tuple[float, float] | None:
    """The smallest rate whose mean fall is nine tenths of the largest one, cut to two digits, and its
    fall; None where no rate makes the loss fall.

    Rates beyond the first at which the loss rises are not tried: steps are too long there, and longer
    ones would be worse.
    """
    tried: dict[float, float] = {}
    too_long = math.inf

    def attempt(lr: float) -> bool:
        nonlocal too_long
        if lr in tried or lr >= too_long:
            return lr in tried
        fall = _tried(try_rate, lr)
        if fall is None:
            too_long = lr
            return False
        tried[lr] = fall
        return True

    best, power = 0.0, round(math.log10(LOWEST))
    while 10.0**power <= HIGHEST or _is_rising(tried, power):
        if not attempt(10.0**power) or tried[10.0**power] < best / 2:
            break
        best = max(best, tried[10.0**power])
        power += 1
    if not tried:
        return None
    top = max(tried, key=lambda lr: tried[lr])
    for third in range(-3, 4):
        attempt(_cut(top * 10 ** (third / 3), 6))
    for _ in range(2):
        if too_long < math.inf:
            attempt(_cut(math.sqrt(max(tried) * too_long), 6))
    best = max(tried.values())
    if best <= 0:
        return None
    for _ in range(2):
        low, high = _around(sorted(tried.items()), ENOUGH * best)
        attempt(_cut(math.sqrt(low * high), 6))
    lr = _cut(_crossing(sorted(tried.items()), ENOUGH * best), 2)
    fall = _tried(try_rate, lr)
    return (lr, fall) if fall is not None else (max(tried), tried[max(tried)])


def _is_rising(tried: dict[float, float], power: int) -> bool:
    """Whether 10**power, beyond the highest rate, is still worth a trial."""
    last, before = tried[10.0 ** (power - 1)], tried[10.0 ** (power - 2)]
    return 10.0**power <= FARTHEST and last > 1.1 * max(0.0, before)


def _tried(try_rate: TryRate, lr: float) -> float | None:
    """The fall at a rate; known to a search that goes on after it was interrupted."""
    fall: float | None = remembered(f"rate {lr}", lambda: {"fall": try_rate(lr)})["fall"]
    return fall


def _around(points: list[tuple[float, float]], wanted: float) -> tuple[float, float]:
    """The rates between which the fall first reaches `wanted`."""
    at = next(i for i, (_, fall) in enumerate(points) if fall >= wanted)
    return points[max(0, at - 1)][0], points[at][0]


def _crossing(points: list[tuple[float, float]], wanted: float) -> float:
    """Where the fall first reaches `wanted`, on straight lines in log lr between (lr, fall)."""
    at = next(i for i, (_, fall) in enumerate(points) if fall >= wanted)
    if at == 0:
        return points[0][0]
    (low, before), (high, after) = points[at - 1], points[at]
    share = (wanted - before) / (after - before)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def _cut(value: float, digits: int) -> float:
    """A positive number without its later digits: never larger than it was."""
    power = digits - 1 - math.floor(math.log10(value))
    return float(f"{math.floor(value * 10.0**power * (1 + 1e-12)) / 10.0**power:.{digits}g}")
