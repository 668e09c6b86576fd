"""A table of any columns -> numbers: dates, categories, missing values, as the training rows say."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ocd.errors import OCDError

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"


@dataclass(frozen=True)
class Columns:
    """Which columns are read as what. Constant and empty ones are in none of the lists."""

    numbers: list[str]
    categories: list[str]
    dates: list[str]

    @property
    def names(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]


def find_columns(rows: pd.DataFrame) -> Columns:
    """By what the training rows hold. Raises OCDError where nothing is left to learn from."""
    from pandas.api import types

    numbers, categories, dates = [], [], []
    for name in rows.columns:
        column = rows[name]
        if column.nunique(dropna=False) < 2:
            continue
        if types.is_datetime64_any_dtype(column):
            dates.append(name)
        elif types.is_numeric_dtype(column) or types.is_bool_dtype(column):
            numbers.append(name)
        elif as_dates(column) is not None:
            dates.append(name)
        elif _as_numbers(column) is not None:
            numbers.append(name)
        else:
            categories.append(name)
    if not numbers and not categories and not dates:
        raise OCDError("there is no feature: every column but the target is constant or empty")
    return Columns(numbers, categories, dates)


def as_dates(column: pd.Series) -> pd.Series | None:
    """Text that is dates throughout, missing values aside; None for anything else.

    Numbers in text are none: what looks like a date must have a separator of its parts.
    """
    import pandas as pd

    text = column.dropna().astype(str).str.strip()
    if text.empty or not text.str.contains(r"\d").all() or not text.str.contains(r"[-/:. ]").all():
        return None
    if pd.to_numeric(text, errors="coerce").notna().any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says which format it did not infer
        parsed = pd.to_datetime(text, format="mixed", errors="coerce", utc=True)
        if parsed.isna().any():
            return None
        return pd.to_datetime(column, format="mixed", errors="coerce", utc=True)


def _as_numbers(column: pd.Series) -> pd.Series | None:
    """Numbers that are written as text or mixed with truth values; None for anything else."""
    import pandas as pd

    known = column.dropna()
    mapped = known.map(lambda value: float(value) if isinstance(value, bool) else value)
    numbers = pd.to_numeric(mapped, errors="coerce")
    return None if numbers.isna().any() else pd.to_numeric(column.map(_as_float), errors="coerce")


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


def parts_of_dates(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Days since 1970, year, month, day of the week and hour of each; missing where the date is."""
    import pandas as pd

    made: dict[str, Any] = {}
    for name in names:
        column = rows[name]
        dates = column if pd.api.types.is_datetime64_any_dtype(column) else pd.Series(column)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dates = pd.to_datetime(dates, format="mixed", errors="coerce", utc=True)
        since = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
        made |= {
            f"{name}: days": since,
            f"{name}: year": dates.dt.year,
            f"{name}: month": dates.dt.month,
            f"{name}: day of the week": dates.dt.day_of_week,
            f"{name}: hour": dates.dt.hour,
        }
    return pd.DataFrame(made, index=rows.index).astype("float64")


class Features:
    """Fitted on training rows: numbers quantile-normalised, missing ones at the median with a column
    that says so; categories one column each, rare and unseen ones together."""

    def __init__(self, rows: pd.DataFrame, max_categories: int) -> None:
        from sklearn.compose import ColumnTransformer
        from sklearn.feature_selection import VarianceThreshold
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

        self.columns = find_columns(rows)
        table = self._table(rows)
        names = [name for name in table.columns if name not in self.columns.categories]
        numbers = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True),
            VarianceThreshold(),
            QuantileTransformer(
                n_quantiles=max(min(len(rows) // 30, 1000), 10),
                output_distribution="normal",
                random_state=0,
            ),
        )
        categories = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=max_categories, sparse_output=False
        )
        parts = [("numbers", numbers, names), ("categories", categories, self.columns.categories)]
        self.transformer = ColumnTransformer([part for part in parts if part[2]])
        self.transformer.fit(table)

    def __call__(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """(N, D), all finite."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found unknown categories")  # taken as rare
            made = self.transformer.transform(self._table(rows))
        return np.ascontiguousarray(made, dtype=np.float32)

    def _table(self, rows: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        columns = self.columns
        numbers = {name: _numbers(rows[name]) for name in columns.numbers}
        categories = {
            name: rows[name].map(lambda value: MISSING if pd.isna(value) else str(value)).astype(object)
            for name in columns.categories
        }
        made = pd.DataFrame(numbers | categories, index=rows.index)
        return pd.concat([made, parts_of_dates(rows, columns.dates)], axis=1)


def _numbers(column: pd.Series) -> pd.Series:
    """As floating point; infinite values are missing ones."""
    import pandas as pd

    numbers = pd.to_numeric(column.map(_as_float), errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers))
