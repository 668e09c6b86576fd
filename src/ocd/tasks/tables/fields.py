"""A table's columns as a person sets them, and rows of features as values of these columns again.

for field in fields_of(reader): ...            # name, kind, range of the training rows
values_of(reader, inputs)["rooms"]             # of one row of features, (1, D)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ocd.data import Inputs
from ocd.tasks.reader import Reader
from ocd.tasks.tables.features import MISSING, Features
from ocd.tasks.tables.numbers_reader import NumbersReader
from ocd.tasks.tables.quantiles import Quantiles
from ocd.tasks.tables.reader import TableReader

USUAL = (0.01, 0.99)
"""Between which quantiles a value is usual."""
STEPS = 200
"""About as many steps from one end of the usual values to the other."""
NEAR = 1e-3
"""How near to whole numbers quantiles of whole numbers lie: they have a little noise."""


@dataclass(frozen=True)
class Field:
    """A column. `kind`: number, category or date. `low`, `high`: of the training rows; `usual`: their
    quantiles of 1 and 99 %, `middle`: their median; `step`: a sensible difference. `choices`: the names
    of categories, the one for missing values among them."""

    name: str
    kind: str
    low: float = math.nan
    high: float = math.nan
    usual: tuple[float, float] = (math.nan, math.nan)
    middle: float = math.nan
    step: float = 1.0
    choices: tuple[str, ...] = ()


def fields_of(reader: Reader) -> list[Field]:
    """The columns of a run's table, in its order; those that a network cannot learn from are none."""
    assert isinstance(reader, TableReader | NumbersReader)
    if isinstance(reader, NumbersReader):
        return [_number(name, reader.quantiles, place) for place, name in enumerate(reader.names)]
    features, made = reader.features, []
    for name in features.columns.names:
        if name in features.columns.numbers:
            made.append(_number_of_table(features, name))
        elif name in features.categories:
            one = features.categories[name]
            every = [*one.kept, *one.rare]
            made.append(Field(name, "category", choices=tuple(dict.fromkeys([*every, MISSING]))))
        else:
            made.append(Field(name, "date"))
    return made


def values_of(reader: Reader, inputs: Inputs) -> dict[str, Any]:
    """Column -> value of one row of features (1, D), as near as they say it: numbers in the table's own
    unit, names of categories (one of the rare ones for all of these), dates to the minute; None where
    it is missing."""
    assert isinstance(inputs, Tensor) and isinstance(reader, TableReader | NumbersReader)
    row = inputs.detach().to("cpu", torch.float64).numpy()
    if isinstance(reader, NumbersReader):
        return dict(zip(reader.names, reader.quantiles.inverse(row)[0].tolist(), strict=True))
    return _values_of_table(reader.features, row)


def _number_of_table(features: Features, name: str) -> Field:
    place = list(features.columns.numbers).index(name)
    kept = np.nonzero(features.kept == place)[0]
    if features.quantiles is None or not len(kept):  # the same in all rows, missing ones aside
        middle = float(features.medians[place])
        return Field(name, "number", middle, middle, (middle, middle + 1), middle)
    return _number(name, features.quantiles, int(kept[0]))


def _number(name: str, quantiles: Quantiles, place: int) -> Field:
    """A column of numbers by its quantiles."""
    values = np.asarray(quantiles.values[:, place], np.float64)
    low, middle, high = (
        float(np.interp(at, quantiles.references, values)) for at in (USUAL[0], 0.5, USUAL[1])
    )
    ends = quantiles.reach(place)
    if low == high:
        low, high = ends if ends[0] < ends[1] else (low, low + 1)
    whole = bool((np.abs(values - values.round()) < NEAR).all())
    step = 10.0 ** math.floor(math.log10((high - low) / STEPS) + 0.5)
    if whole:
        low, middle, high, step = (
            float(round(low)),
            float(round(middle)),
            float(round(high)),
            max(1.0, step),
        )
    else:
        low, middle, high = (_to_step(value, step) for value in (low, middle, high))
    return Field(name, "number", *ends, (low, max(high, low + step)), middle, step)


def _to_step(value: float, step: float) -> float:
    """The nearest multiple of a step, without digits that are not there."""
    return round(round(value / step) * step, max(0, -math.floor(math.log10(step))))


def _values_of_table(features: Features, row: NDArray[np.float64]) -> dict[str, Any]:
    numbers, start = np.array(features.medians, np.float64), 0
    values: dict[str, Any] = {}
    missing: set[int] = set()
    if features.quantiles is not None:
        start = len(features.kept)
        found = features.quantiles.inverse(row[:, :start])[0]
        for place, value in zip(features.kept.tolist(), found.tolist(), strict=True):
            if place < len(numbers):
                numbers[place] = value
            elif value > 0.5:  # a column that says whether another one is missing
                missing.add(int(features.flagged[place - len(numbers)]))
    for place, name in enumerate(features.columns.numbers):
        values[name] = None if place in missing else float(numbers[place])
    first = len(features.columns.numbers)
    for number, name in enumerate(features.columns.dates):
        place = first + 5 * number  # days since 1970, then the other four parts
        since = timedelta(minutes=round(numbers[place] * 24 * 60))
        values[name] = None if place in missing else datetime(1970, 1, 1) + since
    for name, one in features.categories.items():
        width = len(one.kept) + one.has_rest
        chosen = np.nonzero(row[0, start : start + width] > 0.5)[0]
        start += width
        known = int(chosen[0]) if len(chosen) else -1
        others = one.rare[0] if one.rare else None
        values[name] = one.kept[known] if 0 <= known < len(one.kept) else others
    return values
