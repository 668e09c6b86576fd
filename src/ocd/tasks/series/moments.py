"""What columns say of when rows are: dates in many ways of writing, and numbers that count rows.

    for clock in dated(table): ...   # columns of dates, or a year, a month, ... in columns of their own
    counter(table, but=())           # whole numbers that count rows, by their name

Nothing is known of a column but what it holds, and its name. A series that grows may look like a
counter, so that of numbers much is asked: they are whole, they all grow, and mostly by the same step.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.tasks.tables.dates import find_date_format
from ocd.tasks.tables.numbers import as_numbers

if TYPE_CHECKING:
    import pandas as pd

COUNTER_NAMES = re.compile(
    r"(?i)(unnamed: \d+|.*(date|time|stamp|epoch|datum|index).*|year|quarter|month|week|day|hour|minute"
    r"|second|row|id|t|ts|step|tick|period|n|no|nr|number|#)"
)
"""Names of columns that may say when a row is, by whole numbers."""
DATE_NAMES = re.compile(r"(?i).*(date|time|datum|day|month|period|stamp).*|ts|t")
"""Of columns of few whole numbers such as 202001, which may be months."""
EPOCH_NAMES = re.compile(r"(?i).*(epoch|stamp|unix).*|date|time|datetime|ts|t")
"""Of columns that may count seconds since 1970."""
EPOCHS = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units of these -> how many a second has."""
EPOCH_SECONDS = (9e8, 4e9)
"""From 1998 to 2096: smaller ones may be anything."""
COMPACT = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""By the number of digits: dates as whole numbers."""
YEARS = (1800, 2199)
MANY = 12
"""Values from which whole numbers that are all dates are dates, whatever their name is."""
PARTS = {
    "year": ("year", "yr", "yyyy", "jahr"),
    "month": ("month", "mon", "mo", "mm", "monat"),
    "day": ("day", "dd", "mday", "dayofmonth", "day_of_month", "tag"),
    "hour": ("hour", "hr", "h", "hh", "stunde"),
    "minute": ("minute", "min", "mi"),
}
"""Parts of a date, the largest first, and how columns of them are called."""
RANGES = {"year": YEARS, "month": (1, 12), "day": (1, 31), "hour": (0, 24), "minute": (0, 59)}
MOSTLY_EVEN = 0.5
"""Share of the steps of a counter that are the same, at least."""
_MONTH = re.compile(
    r"(?P<year>\d{4})[-/](?P<part>\d{1,2})|(?P<part_>\d{1,2})[-/](?P<year_>\d{4})", re.A
)
_QUARTER = re.compile(
    r"(?P<year>\d{4})[-/ ]?Q(?P<part>[1-4])|Q(?P<part_>[1-4])[-/ ]?(?P<year_>\d{4})", re.A
)
_WEEK = re.compile(r"(?P<year>\d{4})-?W(?P<part>\d{1,2})(?P<part_>)(?P<year_>)", re.A)


@dataclass(frozen=True)
class Clock:
    """Columns that say when rows are. `called`: each row, by what stands there. `when`: UTC timestamps,
    missing where there is none, or numbers of a counter."""

    columns: tuple[str, ...]
    called: list[str]
    when: pd.Series

    @property
    def is_dated(self) -> bool:
        """Whether these are dates, and no counter."""
        return self.when.dtype.kind == "M"

    @property
    def steps(self) -> np.ndarray[Any, Any]:
        """From each row to the next, in seconds or counts: (T - 1,)."""
        apart = self.when.diff()
        return (apart.dt.total_seconds() if self.is_dated else apart).to_numpy()[1:]

    def says(self, numbers: np.ndarray[Any, Any]) -> bool:
        """Whether a column only repeats a part of the dates: the year, month, hour, weekday, ...; one
        that never changes says nothing."""
        if not self.is_dated or self.when.isna().any() or (numbers == numbers[0]).all():
            return False
        of = self.when.dt
        parts = (
            of.year,
            of.month,
            of.day,
            of.minute,
            of.quarter,
            of.day_of_year,
            of.isocalendar().week,
        )
        if any(np.array_equal(numbers, part.to_numpy(np.float64)) for part in parts):
            return True
        # Where the day or the week begins is a matter of the place.
        for part, count in ((of.hour, 24), (of.day_of_week, 7)):
            beside = (numbers - part.to_numpy(np.float64)) % count
            if ((numbers >= 0) & (numbers <= count)).all() and (beside == beside[0]).all():
                return True
        return False


def dated(table: pd.DataFrame, but: Collection[str] = ()) -> Iterator[Clock]:
    """Columns of dates, from left to right, and then those of their parts. Whole numbers are not looked
    at in the columns `but`."""
    for column in table.columns:
        found = moments(table[column])
        if found is None and column not in but:
            found = whole_dates(str(column), table[column])
        if found is not None:
            yield Clock((str(column),), [str(value) for value in table[column]], found)
    if (found := parts_of(table)) is not None:
        yield found


def counter(table: pd.DataFrame, but: Collection[str] = ()) -> Clock | None:
    """The first column that counts rows, by its name and by what it holds."""
    for column in table.columns:
        if column in but or COUNTER_NAMES.fullmatch(str(column)) is None:
            continue
        numbers = as_numbers(table[column])
        if counts_rows(numbers.to_numpy()):
            return Clock((str(column),), [str(value) for value in table[column]], numbers)
    return None


def counts_rows(numbers: np.ndarray[Any, Any], even: float = MOSTLY_EVEN) -> bool:
    """Whether these are whole, and all grow or all fall, a share `even` of them by the same step."""
    if len(numbers) < 2 or not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()):
        return False
    steps = np.diff(numbers)
    grows = bool((steps > 0).all() or (steps < 0).all())
    return grows and float((steps == np.median(steps)).mean()) >= even


def moments(column: pd.Series) -> pd.Series | None:
    """UTC timestamps of a column of dates, or of months (2024-01, 01/2024), quarters (2024Q1) or weeks
    (2024-W01) as text; None of any other."""
    import pandas as pd

    written = find_date_format(column)
    if written is not None:
        return written.read(column)
    places, values = pd.factorize(column)
    known = []
    for value in values:
        if (start := _start_of(value)) is None:
            return None
        known.append(start)
    if not known:
        return None
    dates = pd.Series(pd.to_datetime(known, utc=True))
    return dates.reindex(places).set_axis(column.index)  # a missing value has the place -1


def _start_of(value: object) -> datetime.date | None:
    """The first day of a month, quarter or week."""
    text = value.strip() if isinstance(value, str) else ""
    for pattern, months in ((_MONTH, 1), (_QUARTER, 3), (_WEEK, 0)):
        if (found := pattern.fullmatch(text)) is None:
            continue
        year, part = int(found["year"] or found["year_"]), int(found["part"] or found["part_"])
        try:
            if not months:
                return datetime.date.fromisocalendar(year, part, 1)
            return datetime.date(year, 1 + months * (part - 1), 1)
        except ValueError:
            return None
    return None


def whole_dates(name: str, column: pd.Series) -> pd.Series | None:
    """UTC timestamps of dates that are written as whole numbers: 20240131, or seconds since 1970 by the
    column's name. None of any other, and of a column of one value."""
    import pandas as pd

    numbers = as_numbers(column)
    known = numbers.dropna()
    if known.nunique() < 2 or numbers.isna().sum() > column.isna().sum():
        return None
    if not (known == known.round()).all() or known.min() <= 0:
        return None
    digits, most = (len(f"{value:.0f}") for value in (known.min(), known.max()))
    if digits == most and digits in COMPACT and (known.nunique() >= MANY or DATE_NAMES.fullmatch(name)):
        text = numbers.map(lambda value: f"{value:.0f}", na_action="ignore")
        dates = pd.to_datetime(text, format=COMPACT[digits], errors="coerce", utc=True)
        if dates[known.index].notna().all() and dates.dt.year.dropna().between(*YEARS).all():
            return dates
    for unit, many in EPOCHS.items():
        if EPOCH_NAMES.fullmatch(name) and (known / many).between(*EPOCH_SECONDS).all():
            return pd.to_datetime(numbers, unit=unit, utc=True)
    return None


def parts_of(table: pd.DataFrame) -> Clock | None:
    """Of a year and a month, and further parts of a date, in columns of their own."""
    import pandas as pd

    names = {str(column).strip().lower(): str(column) for column in table.columns}
    found: dict[str, str] = {}
    for part, called in PARTS.items():
        column = next((names[name] for name in called if name in names), None)
        if column is None or not _is_part(as_numbers(table[column]), part):
            break
        found[part] = column
    if len(found) < 2:
        return None
    numbers = {part: as_numbers(table[column]) for part, column in found.items()}
    days = pd.DataFrame({part: numbers.get(part, 1) for part in ("year", "month", "day")})
    when = pd.to_datetime(days, errors="coerce", utc=True)
    for part in [part for part in ("hour", "minute") if part in numbers]:
        when = when + pd.to_timedelta(numbers[part], unit=part[0] if part == "hour" else "min")
    forms = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M")
    called_so = when.dt.strftime(forms[len(found) - 1]).fillna("no date")
    return Clock(tuple(found.values()), called_so.tolist(), when)


def _is_part(numbers: pd.Series, part: str) -> bool:
    """Whether these are whole numbers that a part of a date may have."""
    low, high = RANGES[part]
    return bool(numbers.between(low, high).all() and (numbers == numbers.round()).all())
