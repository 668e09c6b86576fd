"""When the rows of a table are: their order, their usual step, and the steps that are missing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.errors import OCDError
from ocd.tasks.tables.dates import find_date_format
from ocd.tasks.tables.numbers import as_numbers

if TYPE_CHECKING:
    import pandas as pd

TIME_NAMES = re.compile(
    r"(?i)(unnamed: \d+|.*(date|time|stamp|epoch|datum|index).*|year|hour|day|row|id)"
)
"""Names of columns that may say when a row is, by whole numbers."""
MONTH = re.compile(r"\d{4}[-/](?:0[1-9]|1[0-2])", re.ASCII)
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?", re.ASCII)
HOURS = re.compile(r"(?i)(hour|time|hr|h|stunde|uhrzeit)s?")
SAME_STEP = 1.12
"""Ratio up to which two steps are the same: months have 28 to 31 days."""
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True)
class Step:
    """From a row to the next. `unit`: seconds of dates, or count of a counter of rows."""

    size: float
    unit: str

    def differs(self, other: Step) -> bool:
        """Whether rows so far apart are no forecast of the others; a counter and dates say nothing of
        each other."""
        few, many = sorted((self.size, other.size))
        return self.unit == other.unit and many > SAME_STEP * few

    def __str__(self) -> str:
        if self.unit != "seconds":
            return f"{self.size:g}"
        size, name = next((one for one in UNITS if self.size % one[0] == 0), UNITS[-1])
        return f"{self.size / size:g} {name}{'' if self.size == size else 's'}"


@dataclass(frozen=True)
class Times:
    """`called`: each row, the earliest first, by its time or its number. `column` that says so, None
    where there is none. `backwards`: whether the table has the latest row first. `step`: the usual one,
    the median. `note`: of steps that are missing, "" where none are."""

    called: list[str]
    column: str | None = None
    backwards: bool = False
    step: Step | None = None
    note: str = ""


def find_times(table: pd.DataFrame, where: str) -> Times:
    """By the first column of dates, or else the first that counts rows. Raises OCDError for times that
    are missing, or in no order, naming the row."""
    for column in table.columns:
        found = moments(table[column])
        if found is not None:
            called = [str(value) for value in table[column]]
            steps = found.diff().dt.total_seconds().to_numpy()[1:]
            if len(steps) and float((steps == 0).mean()) > 0.01:
                _check_clock(table, str(column), where)
            return _in_order(called, steps, str(column), "seconds", where)
    for column in table.columns:
        values = as_numbers(table[column])
        if TIME_NAMES.fullmatch(str(column)) and values.notna().all():
            steps = values.diff().to_numpy()[1:]
            if len(steps) and ((steps > 0).all() or (steps < 0).all()):
                called = [str(value) for value in table[column]]
                return _in_order(called, steps, str(column), "count", where)
    return Times([str(number + 1) for number in range(len(table))])


def moments(column: pd.Series) -> pd.Series | None:
    """UTC timestamps of a column of dates, or of months such as 2024-01; None of any other."""
    import pandas as pd

    written = find_date_format(column)
    if written is not None:
        return written.read(column)
    known = [value.strip() if isinstance(value, str) else "" for value in column.dropna().unique()]
    if not known or not all(map(MONTH.fullmatch, known)):
        return None
    text = column.str.strip().str.replace("/", "-")
    return pd.to_datetime(text, format="%Y-%m", utc=True)


def _check_clock(table: pd.DataFrame, dates: str, where: str) -> None:
    """Raises OCDError where a date has several rows, and another column the time of day."""
    for column in table.columns:
        known = table[column].dropna()
        hours = as_numbers(known)
        is_clock = all(CLOCK.fullmatch(str(value).strip()) for value in known.unique())
        is_hour = HOURS.fullmatch(str(column)) is not None and bool(hours.between(0, 24).all())
        if len(known) and str(column) != dates and (is_clock or is_hour):
            raise OCDError(
                f"{where}: the date is in column {dates!r} and the time of day in {str(column)!r}: put "
                "both into one column, written as 2024-01-31 13:00"
            )


def _in_order(
    called: list[str], steps: np.ndarray[Any, Any], column: str, unit: str, where: str
) -> Times:
    """Raises OCDError for times that are missing, go to and fro, or stay: a clock that is put back
    repeats an hour once a year, several series below each other all of them."""
    if np.isnan(steps).any():
        row = int(np.argmax(np.isnan(steps))) + 1
        raise OCDError(f"{where}, row {row + 1}, column {column!r}: no date; mend it or drop the row")
    backwards = bool(len(steps)) and float(np.median(steps)) < 0
    ahead = -steps if backwards else steps
    wrong = (ahead < 0) | (ahead == 0) * (float((ahead == 0).mean() if len(ahead) else 0) > 0.01)
    if len(ahead) and float(np.median(ahead)) == 0:
        wrong = ahead == 0
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        raise OCDError(
            f"{where}, row {row + 1}, column {column!r}: {called[row]!r} does not follow "
            f"{called[row - 1]!r}: sort the rows by time, one row a time step, and give each series a "
            "column of its own"
        )
    if backwards:
        called, ahead = called[::-1], ahead[::-1]
    if not len(ahead):
        return Times(called, column, backwards)
    step = Step(float(np.median(ahead)), unit)
    return Times(called, column, backwards, step, _missing(called, ahead, step))


def _missing(called: list[str], ahead: np.ndarray[Any, Any], step: Step) -> str:
    """How many rows there would be in gaps longer than the usual step, and where the first is."""
    lacking = np.maximum(np.round(ahead / step.size) - 1, 0)
    if not lacking.any():
        return ""
    count, first = int(lacking.sum()), called[int(np.argmax(lacking > 0))]
    return (
        f"{count:,} time step{' is' if count == 1 else 's are'} missing (rows are mostly {step} apart; "
        f"the first gap is after {first}): what follows a gap is taken to be the next step"
    )
