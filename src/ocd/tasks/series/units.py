"""Each series in units of the rows to learn from: less their mean, over their deviation.

A series that does not vary there is left out. One that hardly does, and does later, is far beyond all
others in these units, and every loss and score is that of it alone: it is warned of.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from torch import Tensor

from ocd.errors import OCDError
from ocd.tasks.series.reading import Series, listed_names

FAR = 100.0
"""Deviations from the mean from which values are warned of."""
FARTHEST = 1e18
"""Of what single precision can square."""


def without_constant(series: Series, rows: int, where: str) -> tuple[Series, Tensor, Tensor]:
    """The series that vary in the first `rows`, a note naming the others, and mean and deviation (C,)
    of these rows. Raises OCDError where none varies.

    A series whose deviation is 1e-12 of its largest value or less has only rounding to say.
    """
    known = series.values[:rows]
    size = known.abs().amax(dim=0)
    parts = known / size.where(size > 0, 1.0)  # whose squares neither overflow nor vanish
    varies = parts.std(dim=0) > 1e-12
    pairs = [*zip(series.names, varies.tolist(), strict=True)]
    constant = tuple(name for name, kept in pairs if not kept)
    if not varies.any():
        raise OCDError(
            f"{where}: all series are constant in the {rows:,} rows to learn from "
            f"({listed_names(constant)}): there is nothing to forecast"
        )
    mean, deviation = parts.mean(dim=0) * size, parts.std(dim=0) * size
    kept = replace(
        series,
        values=series.values[:, varies],
        names=tuple(name for name, kept in pairs if kept),
        constant=constant,
    )
    return kept, mean[varies], deviation[varies]


def in_units(series: Series, mean: Tensor, deviation: Tensor, where: str) -> Tensor:
    """(T, C) in single precision: less `mean` (C,), over `deviation` (C,). Raises OCDError for what is
    too far from the mean for it."""
    values = (series.values - mean) / deviation
    far = values.abs().amax(dim=0)
    if not (far < FARTHEST).all():
        worst = int(far.argmax())
        raise OCDError(
            f"{where}, column {series.names[worst]!r}: values lie up to {float(far[worst]):.2g} "
            f"deviations of the rows to learn from ({float(deviation[worst]):.2g}) from their mean, "
            "which no network can answer: leave the column out, or mend its values"
        )
    return values.float()


def warn_of_far(names: tuple[str, ...], values: Tensor, rows: int) -> tuple[str, ...]:
    """A warning, given at once and to be kept, where `values` (T, C), in units of the first `rows`, are
    `FAR` deviations or more from their mean after these."""
    far = values[rows:].abs().amax(dim=0).tolist()
    listed = [
        f"{name!r} (up to {size:.3g})" for name, size in zip(names, far, strict=True) if size >= FAR
    ]
    if not listed:
        return ()
    text = (
        f"later values of {', '.join(listed)} lie {FAR:g} or more deviations of the rows to learn from "
        "from their mean: such a series hardly varies where one learns, and outweighs all others in "
        "every loss and score; leave it out (--set columns=a,b), or forecast it by itself"
    )
    warnings.warn(text, stacklevel=3)
    return (text,)
