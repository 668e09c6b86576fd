"""Numbers as people read them: how many decimals, mean and spread over seeds, dashes for nothing.

Values of seeds may be None (not measured) or not finite; means leave these out, and the text says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from statistics import mean, stdev


def words(name: str) -> str:
    """A key as words: underscores become spaces."""
    return name.replace("_", " ")


def counted(things: Collection[object], noun: str) -> str:
    """A number with its noun, in the singular or plural."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def ratio(value: float | None, to: float | None) -> float | None:
    """value / to, or None where one of them is not known or zero."""
    return value / to if value is not None and to else None


def times(value: float | None) -> str:
    """A ratio with about two digits that count."""
    if value is None:
        return "—"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


def decimals(values: Sequence[float | None], unit: str = "") -> int:
    """Two for percent and decibel; else four, or more where the smallest needs three digits."""
    if unit in ("%", "dB"):
        return 2
    sizes = [abs(value) for value in values if value]
    return min(10, max(4, 2 - math.floor(math.log10(min(sizes))))) if sizes else 4


def change(before: float, after: float) -> str:
    """Two scores, and by how many per cent the second is larger."""
    places = decimals([before, after])
    share = f", {100 * (after / before - 1):+.1f} %" if before else ""
    return f"{before:.{places}f} → {after:.{places}f}{share}"


def spread(values: Sequence[float | None], places: int) -> str:
    """Mean ± sample SD over the seeds that have a finite value; says so where some have not."""
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    text = f"{mean(known):.{places}f}"
    text += f" ± {stdev(known):.{places}f}" if len(known) > 1 else ""
    return text + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")


def of_seeds(seeds: Collection[int], every: Collection[int]) -> str:
    """` (seed 0, 2)` behind what not all seeds have in common; else nothing."""
    listed = ", ".join(map(str, sorted(set(seeds))))
    return "" if set(seeds) == set(every) else f" (seed {listed})"
