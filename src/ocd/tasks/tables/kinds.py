"""Which columns of a table are numbers, dates or categories, as the training rows say."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.errors import OCDError
from ocd.tasks.tables.dates import DateFormat, find_date_format
from ocd.tasks.tables.numbers import NumberFormat, find_number_format

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MICROSECONDS_A_DAY = 24 * 60 * 60 * 1_000_000
COMMA_FIRST = "1,234 is below two"
"""The key in a frame's attributes where its file lets a comma stand before decimals."""


@dataclass(frozen=True)
class Columns:
    """Which columns are read as what, and how. Constant and empty ones are in none of them. `notes`:
    what a person may not expect of it."""

    numbers: dict[str, NumberFormat]
    categories: list[str]
    dates: dict[str, DateFormat]
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        numbers = {name: written.as_dict() for name, written in self.numbers.items()}
        dates = {name: written.order for name, written in self.dates.items()}
        return {"numbers": numbers, "categories": self.categories, "dates": dates}

    @classmethod
    def from_dict(cls, values: dict[str, Any], order: list[str]) -> Columns:
        """As `as_dict` gave it. `order`: all names, since JSON's objects have none."""
        numbers, dates = values["numbers"], values["dates"]
        return cls(
            {name: NumberFormat.from_dict(numbers[name]) for name in order if name in numbers},
            values["categories"],
            {name: DateFormat(dates[name]) for name in order if name in dates},
        )


def find_columns(
    rows: pd.DataFrame, path: str = "the table", as_categories: Collection[str] = ()
) -> Columns:
    """By what the training rows hold; `as_categories` are categories whatever they look like. Raises
    OCDError where nothing is left to learn from."""
    columns = Columns({}, [], {})
    for name in rows.columns:
        column = rows[name]
        if column.nunique(dropna=False) < 2:
            continue
        if name in as_categories:
            columns.categories.append(name)
            continue
        numbers = find_number_format(column, bool(rows.attrs.get(COMMA_FIRST)))
        if numbers is not None:
            if finite(numbers.read(column)).nunique(dropna=False) > 1:
                columns.numbers[name] = numbers
                columns.notes.extend(note_on_numbers(column, numbers, f"--set categories={name}"))
        elif (written := find_date_format(column)) is not None:
            columns.dates[name] = written
            columns.notes.extend(_note_on_dates(column, written))
        else:
            columns.categories.append(name)
    if not columns.names:
        raise OCDError(f"{path}: there is no feature, every column but the target is constant or empty")
    return columns


def note_on_numbers(column: pd.Series, written: NumberFormat, otherwise: str = "") -> list[str]:
    """A line where numbers are not written as programs write them, with an example."""
    if written == NumberFormat() or column.dtype == bool:
        return []
    known = column.dropna()
    numbers = written.read(known)
    known, numbers = known[numbers.notna()], numbers[numbers.notna()]
    longest = known.astype(str).str.len().to_numpy().argmax()
    unit = f" in {written.currency}" if written.currency else " in per cent" if written.percent else ""
    kept = f" ({otherwise} keeps the text)" if otherwise else ""
    return [
        f"column {column.name!r} is read as numbers{unit}: {str(known.iloc[longest])!r} is "
        f"{numbers.iloc[longest]:.12g}{kept}"
    ]


def notes_on_infinite(columns: Columns, *parts: pd.DataFrame) -> list[str]:
    """A line for each column with infinite numbers in some rows: they are read as missing."""
    found = []
    for name, written in columns.numbers.items():
        count = sum(int(np.isinf(written.read(part[name])).sum()) for part in parts)
        if count:
            what = "number is infinite and is" if count == 1 else "numbers are infinite and are"
            found.append(f"column {name!r}: {count} {what} read as missing")
    return found


def _note_on_dates(column: pd.Series, written: DateFormat) -> list[str]:
    """A line on which of two numbers is the day, and on zones."""
    from pandas.api import types

    if types.is_datetime64_any_dtype(column):
        return []
    known = column.dropna()
    first = written.read(known).dropna()
    example, date = str(known.loc[first.index[0]]), first.iloc[0]
    zones = known.astype(str).str.contains(r"(?:Z|UTC|GMT|\d[+-]\d{2}(?::?\d{2})?)$").any()
    if written.order not in ("day_first", "month_first") and not zones:
        return []
    utc = f"; times are brought to UTC, {date:%Y-%m-%d %H:%M}" if zones else ""
    return [f"column {column.name!r} is read as dates: {example!r} is {date:%-d %B %Y}{utc}"]


def name_of(value: Any) -> str:
    """Of a category or a class. 1, 1.0 and "1" have one name: a missing value, or a word elsewhere in
    its column, makes a file's integers floating point, or text."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):  # of a truth value, and as files have it
        return text.capitalize()
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("+-").isdigit():
        return str(int(text))
    number = float(text)
    return str(int(number)) if number.is_integer() else repr(number)


def class_of(value: Any) -> str:
    """The name of a class: text as it is, so that 01 and 1 are two; of a number as everywhere."""
    return value.strip() if isinstance(value, str) else name_of(value)


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
    for name, numbers in columns.numbers.items():
        kinds[name] = ("number written as there", numbers.read)
    for name, written in columns.dates.items():
        kinds[name] = ("date written as there", written.read)
    for name, (kind, read) in kinds.items():
        known = rows[name].dropna()
        if len(known) and read(known).isna().all():
            raise OCDError(
                f"{path}: column {name!r} holds no {kind} ({name_of(known.iloc[0])!r}), as the "
                "training rows do"
            )


def finite(numbers: pd.Series) -> pd.Series:
    """Infinite values are missing ones."""
    return numbers.where(np.isfinite(numbers))
