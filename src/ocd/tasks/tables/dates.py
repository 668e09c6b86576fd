"""Dates that are written as text: one way of writing a column, found on the training rows.

3/4/2010 is the third of April or the fourth of March. Which, a single value does not say, but a column
mostly does, by a number above 12; and every row is then read alike, those to test on too.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_TIME = (
    r"(?:(?:T|,? +)(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(?: ?(?P<half>[AaPp][Mm]))?"
    r" ?(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
# Not 2010-11, which may be a season or a range, nor 2019.1.2, which may be a version.
_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})(?P<mark>[-/])(?P<one>\d{1,2})(?P=mark)(?P<two>\d{1,2})" + _TIME, re.ASCII
)
# Of two digits a year is one between slashes alone: 1.2.10 is a version, and 10-11-12 may be anything.
_YEAR_LAST = re.compile(
    r"(?P<one>\d{1,2})(?:(?P<mark>[-.])(?P<two>\d{1,2})(?P=mark)|/(?P<two_>\d{1,2})/)"
    r"(?P<year>\d{4}|(?<=/)\d{2})" + _TIME,
    re.ASCII,
)
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_NAMED = re.compile(
    rf"(?:{_WEEKDAY},? )?(?:{_DAY}[ -]{_MONTH}[ -]|{_MONTH} {_DAY},? |{_MONTH} )\d{{4}}" + _TIME,
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class DateFormat:
    """`order`: year_first, day_first, month_first, or named (a month's name)."""

    order: str

    def read(self, column: pd.Series) -> pd.Series:
        """UTC timestamps; missing where a value is missing or is not written this way."""
        import pandas as pd

        if pd.api.types.is_datetime64_any_dtype(column):
            return pd.to_datetime(column, utc=True)
        places, values = pd.factorize(column)  # a day is mostly that of many rows
        text = pd.Series([self._as_known(str(value).strip()) for value in values], dtype=object)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas says which format it did not infer
            form = "mixed" if self.order == "named" else "ISO8601"
            dates = pd.to_datetime(text, format=form, errors="coerce", utc=True)
        return dates.reindex(places).set_axis(column.index)  # a missing value has the place -1

    def _as_known(self, text: str) -> str | None:
        """What pandas reads in one way only; None where the value is not written in this order."""
        if self.order == "named":
            return text if _NAMED.fullmatch(text) else None
        pattern = _YEAR_FIRST if self.order == "year_first" else _YEAR_LAST
        found = pattern.fullmatch(text)
        if found is None:
            return None
        one, two, year = _numbers(found)
        month, day = (two, one) if self.order == "day_first" else (one, two)
        time = _time_of(found)
        if time is None or not year:
            return None
        return f"{year:04d}-{month:02d}-{day:02d}{time}"


def _time_of(found: re.Match[str]) -> str | None:
    """As ISO 8601 has it, with the zone; empty where there is none, None where it is no time."""
    if found["time"] is None:
        return ""
    hour, _, rest = found["time"].partition(":")
    number = int(hour)
    if found["half"] is not None:
        if not 1 <= number <= 12:
            return None
        number = number % 12 + 12 * (found["half"].lower() == "pm")
    zone = found["zone"] or ""
    return f"T{number:02d}:{rest}{'Z' if zone in ('UTC', 'GMT') else zone}"


def _numbers(found: re.Match[str]) -> tuple[int, int, int]:
    """The two numbers beside the year, and the year in full."""
    parts = found.groupdict()
    two = parts["two"] or parts["two_"]
    year = int(parts["year"])
    if len(parts["year"]) == 2:  # as POSIX has it
        year += 2000 if year < 69 else 1900
    return int(parts["one"]), int(two), year


def find_date_format(column: pd.Series) -> DateFormat | None:
    """How a column's dates are written, where all of its values are such, missing ones aside.

    Where no number tells days from months, 3/4/2010 is the fourth of March, and 3.4.2010 the third of
    April, as people write them who use these marks.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        return DateFormat("year_first")
    text = [str(value).strip() for value in column.dropna().unique() if not is_placeholder(value)]
    order = _order_of(text) if text else None
    if order is None:
        return None
    chosen = DateFormat(order)
    return None if chosen.read(pd.Series(text, dtype=object)).isna().any() else chosen


def is_placeholder(value: object) -> bool:
    """Whether it is a sign for a missing value, such as ? or -, without a letter or digit."""
    return isinstance(value, str) and not any(map(str.isalnum, value))


def _order_of(text: list[str]) -> str | None:
    if all(map(_YEAR_FIRST.fullmatch, text)):
        return "year_first"
    if all(map(_NAMED.fullmatch, text)):
        return "named"
    found = [_YEAR_LAST.fullmatch(value) for value in text]
    parts = [_numbers(one) for one in found if one is not None]
    if len(parts) < len(text):
        return None
    if any(one > 12 for one, _, _ in parts):
        return "day_first"
    if any(two > 12 for _, two, _ in parts):
        return "month_first"
    dotted = any(one is not None and one["mark"] == "." for one in found)
    return "day_first" if dotted else "month_first"
