"""A table's target column -> numbers to regress, or classes, or one clear line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.tasks.tables.dates import find_date_format
from ocd.tasks.tables.kinds import class_of
from ocd.tasks.tables.kinds import name_of as named
from ocd.tasks.tables.numbers import as_numbers

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 100


def check_target(target: pd.Series, path: str, kind: str) -> None:
    """Raises OCDError where there is nothing to learn, or where what should be classes are too many."""
    count = target.nunique()
    if count < 2:
        raise OCDError(f"{path}: the target {target.name!r} is constant, there is nothing to learn")
    if kind == "classification" and (count > MOST_CLASSES or count > len(target) / 2):
        raise OCDError(
            f"{path}: the target {target.name!r} has {count} classes in {len(target)} rows: use "
            "--set kind=regression if it is a number"
        )


def read_targets(train: pd.Series, test: pd.Series, kind: str) -> tuple[Tensor, Tensor, list[str]]:
    """Numbers (N, 1), or classes (N,) by their place in order, and the names of the classes."""
    if kind == "classification":
        return _classes(train, test)
    if find_date_format(train) is not None:
        raise OCDError(
            f"the target {train.name!r} is a date ({str(train.iloc[0])!r}), and a number is needed: "
            "put the days since a day of your choice into the table"
        )
    made = []
    for column in (train, test):
        numbers = as_numbers(column)
        if numbers.isna().any():
            raise OCDError(
                f"the target {train.name!r} is not a number in all rows "
                f"({column[numbers.isna()].iloc[0]!r}): use --set kind=classification or another target"
            )
        with np.errstate(over="ignore"):  # what 32 bits do not hold is infinite too
            values = np.asarray(numbers, np.float32)
        if not np.isfinite(values).all():
            raise OCDError(f"the target {train.name!r} is infinite in some rows")
        made.append(torch.from_numpy(values[:, None]))
    return made[0], made[1], []


def _classes(train: pd.Series, test: pd.Series) -> tuple[Tensor, Tensor, list[str]]:
    """Numbers in their order where every class is one (so that 1 and 1.0 are the same), else text."""
    numeric = not _are_truth_values(train) and as_numbers(train).notna().all()

    def name_of(value: Any) -> float | str:
        try:
            return float(value) if numeric else class_of(value)
        except ValueError:
            return class_of(value)

    keys = [[name_of(value) for value in column] for column in (train, test)]
    names = sorted(set(keys[0]))
    unknown = sorted({str(key) for key in keys[1] if key not in set(names)})
    if unknown:
        raise OCDError(
            f"the test rows have classes that no training row has: {', '.join(map(repr, unknown[:5]))}"
        )
    number = {name: index for index, name in enumerate(names)}
    made = [torch.tensor([number[key] for key in of]) for of in keys]
    return made[0], made[1], [named(name) if isinstance(name, float) else name for name in names]


def _are_truth_values(column: pd.Series) -> bool:
    """Whether every value is a truth value."""
    return all(isinstance(value, bool | np.bool_) for value in column)
