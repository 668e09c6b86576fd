"""A table of any columns -> numbers for a network, as the training rows say.

Fitted by scikit-learn; what it found is kept as plain arrays and lists, so that it can be stored as
data and applied to rows to come, some thousand at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ocd.errors import OCDError
from ocd.tasks.tables.kinds import Columns, find_columns, finite, name_of, parts_of_dates
from ocd.tasks.tables.quantiles import Quantiles

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
MOST_CATEGORIES = 20_000  # columns of all categories together, each as long as the table
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Category:
    """A categorical feature: a column for each of `kept`, and one more for all others where
    `has_rest`."""

    kept: list[str]
    rare: list[str]
    has_rest: bool

    def columns(self, names: pd.Series) -> NDArray[np.float32]:
        """(N, kept and rest) of 0 and 1."""
        place = {name: index for index, name in enumerate(self.kept)}
        rest = len(self.kept) if self.has_rest else -1
        found = names.map(place).fillna(rest).to_numpy(np.int64)
        made = np.zeros((len(names), len(self.kept) + self.has_rest), np.float32)
        known = found >= 0
        made[np.nonzero(known)[0], found[known]] = 1
        return made

    def unknown(self, names: pd.Series) -> pd.Series:
        """Which values no training row had."""
        return ~names.isin({*self.kept, *self.rare})


@dataclass(frozen=True)
class Features:
    """Numbers quantile-normalised, missing ones at the median with a column that says so; categories
    one column each, rare and unseen ones together.

    `medians` (numbers and parts of dates, in order); `flagged`: those whose missing values have a
    column; `kept`: which columns vary, of both together.
    """

    columns: Columns
    medians: Numbers
    flagged: NDArray[np.int64]
    kept: NDArray[np.int64]
    quantiles: Quantiles | None
    categories: dict[str, Category]

    @classmethod
    def fit(
        cls,
        rows: pd.DataFrame,
        max_categories: int,
        path: str = "the table",
        as_categories: Collection[str] = (),
    ) -> Features:
        """Of training rows. Raises OCDError where nothing can be learnt from them."""
        columns = find_columns(rows, path, as_categories)
        names = _names(columns, rows)
        made = sum(min(names[name].nunique(), max_categories) for name in names)
        if made > MOST_CATEGORIES:
            raise OCDError(
                f"{path}: its categories would make {made} columns, where {MOST_CATEGORIES} are the "
                f"most: lower max_categories, {max_categories}, or drop columns"
            )
        numbers = _numbers(columns, rows)
        try:
            fitted = _fit_numbers(numbers) if numbers.shape[1] else _NO_NUMBERS
        except ValueError as error:  # as where all numbers are so small that they have no variance
            reason = str(error).splitlines()[0]
            raise OCDError(f"{path}: nothing can be learnt from its features ({reason})") from error
        found = {name: _fit_category(names[[name]], max_categories) for name in names}
        return cls(columns, *fitted, found)

    def __call__(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """(N, D), all finite."""
        parts = []
        numbers = _numbers(self.columns, rows)
        if self.quantiles is not None:
            missing = np.isnan(numbers)
            filled = np.where(missing, self.medians, numbers)
            every = np.concatenate([filled, missing[:, self.flagged]], axis=1)[:, self.kept]
            parts.append(self.quantiles(every).astype(np.float32))
        names = _names(self.columns, rows)
        parts += [category.columns(names[name]) for name, category in self.categories.items()]
        return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)

    def unknown_categories(self, rows: pd.DataFrame) -> list[tuple[int, str, str]]:
        """Values that no training row had: (place of the row, column, value)."""
        names = _names(self.columns, rows)
        found = []
        for column, category in self.categories.items():
            for place in np.nonzero(category.unknown(names[column]).to_numpy())[0]:
                found.append((int(place), column, str(names[column].iloc[place])))
        return sorted(found)

    def odd_numbers(self, rows: pd.DataFrame) -> list[tuple[int, str]]:
        """Numbers and dates such as no training row had: (place of the row, what is odd). Missing ones
        where none was missing, and those farther beyond the training rows than these reach. And all
        infinite ones, which are read as missing."""
        infinite = [
            (int(row), name)
            for name, written in self.columns.numbers.items()
            for row in np.nonzero(np.isinf(written.read(rows[name]).to_numpy()))[0]
        ]
        said = [(row, f"{name} is infinite, which is read as missing") for row, name in infinite]
        return sorted({*said, *self._unlike_training(rows, {*infinite})})

    def _unlike_training(
        self, rows: pd.DataFrame, infinite: Collection[tuple[int, str]]
    ) -> list[tuple[int, str]]:
        """Missing numbers where none was missing, but for the infinite ones, and those far away."""
        if self.quantiles is None:
            return []
        numbers, found = _numbers(self.columns, rows), []
        names = [*self.columns.numbers, *(n for name in self.columns.dates for n in [name] * 5)]
        for place, name in enumerate(names):
            if place not in self.flagged:
                missing = [
                    int(row)
                    for row in np.nonzero(np.isnan(numbers[:, place]))[0]
                    if (int(row), name) not in infinite
                ]
                found += [(row, f"{name} is missing, as in no training row") for row in missing]
            if place in self.kept:
                low, high = self.quantiles.reach(int(np.nonzero(self.kept == place)[0][0]))
                beyond = np.abs(numbers[:, place] - (low + high) / 2) > 1.5 * (high - low)
                rows_beyond = np.nonzero(beyond)[0]
                found += [(int(row), f"{name} is far beyond the training rows") for row in rows_beyond]
        return found

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As JSON and tensors."""
        facts = {
            "columns": self.columns.as_dict(),
            "order": self.columns.names,
            "categories": {
                name: {"kept": one.kept, "rare": one.rare, "has_rest": one.has_rest}
                for name, one in self.categories.items()
            },
        }
        tensors = {
            "medians": torch.from_numpy(self.medians),
            "flagged": torch.from_numpy(self.flagged),
            "kept": torch.from_numpy(self.kept),
        }
        return facts, tensors | (self.quantiles.state() if self.quantiles is not None else {})

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Features:
        """As `state` gave it."""
        columns = Columns.from_dict(facts["columns"], facts["order"])
        medians, flagged, kept = (tensors[name].numpy() for name in ("medians", "flagged", "kept"))
        quantiles = Quantiles.from_state(tensors) if "quantiles" in tensors else None
        categories = {name: Category(**facts["categories"][name]) for name in columns.categories}
        return cls(columns, medians, flagged, kept, quantiles, categories)


_NO_NUMBERS = (np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), None)


def _fit_numbers(
    numbers: Numbers,
) -> tuple[Numbers, NDArray[np.int64], NDArray[np.int64], Quantiles | None]:
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.impute import SimpleImputer

    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(numbers)
    flagged = np.asarray(imputer.indicator_.features_, np.int64)
    medians = np.asarray(imputer.statistics_, np.float64)
    missing = np.isnan(numbers)
    every = np.concatenate([np.where(missing, medians, numbers), missing[:, flagged]], axis=1)
    kept = np.nonzero(VarianceThreshold().fit(every).get_support())[0]
    quantiles = Quantiles.fit(every[:, kept])
    return medians, flagged, np.asarray(kept, np.int64), quantiles


def _fit_category(names: pd.DataFrame, most: int) -> Category:
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=most).fit(names)
    rare = encoder.infrequent_categories_[0]
    rare = [] if rare is None else [str(name) for name in rare]
    kept = [str(name) for name in encoder.categories_[0] if str(name) not in {*rare}]
    return Category(kept, rare, bool(rare))


def _numbers(columns: Columns, rows: pd.DataFrame) -> Numbers:
    """Numbers and parts of dates, (N, D); NaN where one is missing."""
    made = [finite(written.read(rows[name])).to_numpy() for name, written in columns.numbers.items()]
    made += list(parts_of_dates(rows, columns.dates).to_numpy(np.float64).T)
    return np.stack(made, axis=1) if made else np.zeros((len(rows), 0))


def _names(columns: Columns, rows: pd.DataFrame) -> pd.DataFrame:
    """The categories by their names."""
    import pandas as pd

    def named(value: Any) -> str:
        return MISSING if pd.isna(value) else name_of(value)

    made = {name: rows[name].map(named).astype(object) for name in columns.categories}
    return pd.DataFrame(made, index=rows.index)
