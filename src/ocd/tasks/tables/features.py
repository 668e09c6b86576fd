"""A table of any columns -> numbers: dates, categories, missing values, as the training rows say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ocd.errors import OCDError
from ocd.tasks.tables.dates import DateFormat, find_date_format, is_placeholder

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
MOST_CATEGORIES = 20_000  # columns of all categories together, each as long as the table
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MICROSECONDS_A_DAY = 24 * 60 * 60 * 1_000_000


@dataclass(frozen=True)
class Columns:
    """Which columns are read as what. Constant and empty ones are in none of them. `dates`: and how."""

    numbers: list[str]
    categories: list[str]
    dates: dict[str, DateFormat]

    @property
    def names(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]


def find_columns(rows: pd.DataFrame, path: str = "the table") -> Columns:
    """By what the training rows hold. Raises OCDError where nothing is left to learn from."""
    columns = Columns([], [], {})
    for name in rows.columns:
        column = rows[name]
        if column.nunique(dropna=False) < 2:
            continue
        if _holds_numbers(column):
            if _finite(as_numbers(column)).nunique(dropna=False) > 1:
                columns.numbers.append(name)
        elif (written := find_date_format(column)) is not None:
            columns.dates[name] = written
        else:
            columns.categories.append(name)
    if not columns.names:
        raise OCDError(f"{path}: there is no feature, every column but the target is constant or empty")
    return columns


def _holds_numbers(column: pd.Series) -> bool:
    """Whether every value is a number or a truth value, also where it is written as text; signs that
    stand for a missing value aside."""
    from pandas.api import types

    if types.is_numeric_dtype(column):
        return True
    if types.is_datetime64_any_dtype(column):
        return False
    known = column.dropna()
    known = known[~known.map(is_placeholder).astype(bool)]
    return len(known) > 0 and bool(as_numbers(known).notna().all())


def as_numbers(column: pd.Series) -> pd.Series:
    """As floating point; missing where a value is no number. Truth values are 0 and 1."""
    import pandas as pd

    plain = column if pd.api.types.is_numeric_dtype(column) else column.map(_as_float)
    try:
        return pd.to_numeric(plain, errors="coerce").astype("float64")
    except OverflowError:  # digits beyond what floating point has
        short = plain.map(lambda value: value if len(str(value)) < 300 else None)
        return pd.to_numeric(short, errors="coerce").astype("float64")


def name_of(value: Any) -> str:
    """Of a category or a class. 1, 1.0 and "1" have one name: a missing value, or a word elsewhere in
    its column, makes a file's integers floating point, or text."""
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("+-").isdigit():
        return str(int(text))
    number = float(text)
    return str(int(number)) if number.is_integer() else repr(number)


def _as_float(value: Any) -> Any:
    """A truth value as a number; to_numeric would take a date for its nanoseconds."""
    if isinstance(value, bool | np.bool_):
        return float(value)
    return value if isinstance(value, str | int | float | np.number) else None


def parts_of_dates(rows: pd.DataFrame, formats: dict[str, DateFormat]) -> pd.DataFrame:
    """Days since 1970, year, month, day of the week and hour of each; missing where the date is."""
    import pandas as pd

    made: dict[str, Any] = {}
    for name, written in formats.items():
        dates = written.read(rows[name])
        # Not by a difference: nanoseconds, which pandas may take for it, end in the year 2262.
        since = dates.dt.as_unit("us").astype("int64") / _MICROSECONDS_A_DAY
        made |= {
            f"date {name}: days": since.where(dates.notna()),
            f"date {name}: year": dates.dt.year,
            f"date {name}: month": dates.dt.month,
            f"date {name}: day of the week": dates.dt.day_of_week,
            f"date {name}: hour": dates.dt.hour,
        }
    return pd.DataFrame(made, index=rows.index).astype("float64")


def check_kinds(columns: Columns, rows: pd.DataFrame, path: str) -> None:
    """Rows to test on may lack values, but a column that is none of what it was is another one.

    Raises OCDError naming it.
    """
    kinds: dict[str, tuple[str, Callable[[pd.Series], pd.Series]]] = {}
    for name in columns.numbers:
        kinds[name] = ("number", as_numbers)
    for name, written in columns.dates.items():
        kinds[name] = ("date written as there", written.read)
    for name, (kind, read) in kinds.items():
        known = rows[name].dropna()
        if len(known) and read(known).isna().all():
            raise OCDError(
                f"{path}: column {name!r} holds no {kind} ({name_of(known.iloc[0])!r}), as the "
                "training rows do"
            )


class Features:
    """Fitted on training rows: numbers quantile-normalised, missing ones at the median with a column
    that says so; categories one column each, rare and unseen ones together."""

    def __init__(self, rows: pd.DataFrame, max_categories: int, path: str = "the table") -> None:
        from sklearn.compose import ColumnTransformer

        self.columns = find_columns(rows, path)
        table = self._table(rows)
        categories = [name for name in table.columns if name.startswith("category ")]
        numbers = [name for name in table.columns if name not in categories]
        made = sum(min(table[name].nunique(), max_categories) for name in categories)
        if made > MOST_CATEGORIES:
            raise OCDError(
                f"{path}: its categories would make {made} columns, where {MOST_CATEGORIES} are the "
                f"most: lower max_categories, {max_categories}, or drop columns"
            )
        parts = [
            ("numbers", _of_numbers(len(rows)), numbers),
            ("categories", _of_categories(max_categories), categories),
        ]
        self.transformer = ColumnTransformer([part for part in parts if part[2]])
        try:
            self.transformer.fit(table)
        except ValueError as error:  # as where all numbers are so small that they have no variance
            reason = str(error).splitlines()[0]
            raise OCDError(f"{path}: nothing can be learnt from its features ({reason})") from error

    def __call__(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """(N, D), all finite."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found unknown categories")  # taken as rare
            made = self.transformer.transform(self._table(rows))
        return np.ascontiguousarray(made, dtype=np.float32)

    def _table(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What a column becomes has a name that no other's has: `a: days` may be a column itself."""
        import pandas as pd

        def named(value: Any) -> str:
            return MISSING if pd.isna(value) else name_of(value)

        columns = self.columns
        numbers = {f"number {name}": _finite(as_numbers(rows[name])) for name in columns.numbers}
        categories = {
            f"category {name}": rows[name].map(named).astype(object) for name in columns.categories
        }
        made = pd.DataFrame(numbers | categories, index=rows.index)
        return pd.concat([made, parts_of_dates(rows, columns.dates)], axis=1)


def _of_numbers(count: int) -> Any:
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        VarianceThreshold(),
        QuantileTransformer(
            n_quantiles=max(min(count // 30, 1000), 10),
            output_distribution="normal",
            random_state=0,
        ),
    )


def _of_categories(most: int) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=most, sparse_output=False)


def _finite(numbers: pd.Series) -> pd.Series:
    """Infinite values are missing ones."""
    return numbers.where(np.isfinite(numbers))
