"""When the rows of a table are: their order, their usual step, and the steps that are missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.errors import OCDError, nearest
from ocd.tasks.series.moments import Clock, counter, dated
from ocd.tasks.tables.numbers import as_numbers

if TYPE_CHECKING:
    import pandas as pd

CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp][Mm])?", re.ASCII)
HOURS = re.compile(r"(?i)(hour|time|hr|h|stunde|uhrzeit)s?")
SAME_STEP = 1.12
"""Ratio up to which two steps are the same: months have 28 to 31 days."""
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
NAME_IT = (
    "; if another column is the time, name it (--set time=COLUMN), or take the rows as they stand "
    "(--set time=none)"
)


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
    """`called`: each row, the earliest first, by its time or its number. `clock`: the columns that say
    so, in the table's own order; None where there are none. `backwards`: whether the table has the
    latest row first. `step`: the usual one, the median. `lacking` (T - 1,): how many rows are missing
    before each but the first. `passed`: columns of dates that cannot be the time."""

    called: list[str]
    clock: Clock | None = None
    backwards: bool = False
    step: Step | None = None
    lacking: np.ndarray[Any, Any] | None = None
    passed: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that say when a row is."""
        return () if self.clock is None else self.clock.columns

    def missing(self, start: int, end: int) -> str:
        """How many rows there would be in gaps between the rows from `start` to before `end`, and where
        the first is; "" where there is no gap."""
        if self.lacking is None or not (lacking := self.lacking[start : end - 1]).any():
            return ""
        first, count = self.called[start + int(np.argmax(lacking > 0))], int(lacking.sum())
        number = f"{count:,} time step is" if count == 1 else f"{count:,} time steps are"
        return (
            f"{number} missing (rows are mostly {self.step} apart; the first gap is after {first}): "
            "what follows a gap is taken to be the next step"
        )

    @property
    def notes(self) -> list[str]:
        """What a person might not expect."""
        named = ", ".join(map(repr, self.columns))
        found = []
        if not named:
            found.append("no column says when a row is: rows are taken to be in the order of time")
        elif self.backwards:
            found.append(f"the rows had the latest first (column {named}) and were turned round")
        if self.passed:
            others = ", ".join(map(repr, self.passed))
            found.append(
                f"dates that do not follow each other, and are not taken for the time: {others}"
            )
        return found


def find_times(
    table: pd.DataFrame, where: str, named: Sequence[str] | None = None, but: Collection[str] = ()
) -> Times:
    """By the columns that are `named` (none of them: by the order of the rows); else by the first dates
    that follow each other, or the first column that counts rows and is none of `but`. Raises OCDError
    for times that are missing, or in no order, naming the row."""
    plain = Times([str(number + 1) for number in range(len(table))])
    if named is not None:
        return _in_order(_named(table, where, named), table, where) if named else plain
    failed: dict[str, OCDError] = {}
    for clock in dated(table, but):
        try:
            if len(table) > 1 and clock.when.nunique() < 2:
                failed_so = _clock_beside(table, clock.columns, where)
                if failed_so is not None:
                    raise failed_so
                continue  # what is the same in all rows does not say when they are
            return replace(_in_order(clock, table, where), passed=tuple(failed))
        except OCDError as error:
            failed[", ".join(clock.columns)] = error
    if failed:
        raise OCDError(f"{next(iter(failed.values()))}{NAME_IT}")
    counts = counter(table, but)
    return plain if counts is None else _in_order(counts, table, where)


def _named(table: pd.DataFrame, where: str, columns: Sequence[str]) -> Clock:
    """What columns say of the time that a person named."""
    for column in columns:
        if column not in table.columns:
            known = [str(name) for name in table.columns]
            raise OCDError(f"{where} has no column {column!r} (time){nearest(column, known)}")
    found = next(iter(dated(table[[*columns]])), None)
    if found is not None and set(found.columns) == set(columns):
        return found
    numbers = as_numbers(table[columns[0]])
    if len(columns) > 1 or numbers.isna().any():
        listed = ", ".join(map(repr, columns))
        raise OCDError(
            f"{where}: {listed} (time) hold no dates, and no numbers that count rows: name one such "
            "column, or those of year, month, day, hour and minute"
        )
    return Clock(tuple(columns), [str(value) for value in table[columns[0]]], numbers)


def _clock_beside(table: pd.DataFrame, dates: Sequence[str], where: str) -> OCDError | None:
    """What is said where a date has several rows, and another column the time of day."""
    for column in table.columns:
        known = table[column].dropna()
        hours = as_numbers(known)
        is_clock = all(CLOCK.fullmatch(str(value).strip()) for value in known.unique())
        is_hour = HOURS.fullmatch(str(column)) is not None and bool(hours.between(0, 24).all())
        if len(known) and str(column) not in dates and (is_clock or is_hour):
            return OCDError(
                f"{where}: the date is in column {', '.join(map(repr, dates))} and the time of day in "
                f"{str(column)!r}: put both into one column, written as 2024-01-31 13:00"
            )
    return None


def _in_order(clock: Clock, table: pd.DataFrame, where: str) -> Times:
    """Raises OCDError for times that are missing, go to and fro, or stay: a clock that is put back
    repeats an hour once a year, several series below each other all of them."""
    called, steps = clock.called, clock.steps
    named = ", ".join(map(repr, clock.columns))
    same = float((steps == 0).mean()) if len(steps) else 0.0
    if clock.is_dated and same > 0.01:
        beside = _clock_beside(table, clock.columns, where)
        if beside is not None:
            raise beside
    if clock.when.isna().any():
        row = int(np.argmax(clock.when.isna().to_numpy()))
        raise OCDError(f"{where}, row {row + 1}, column {named}: no date; mend it or drop the row")
    backwards = bool(len(steps)) and float(np.median(steps)) < 0
    ahead = -steps if backwards else steps
    wrong = (ahead < 0) | (ahead == 0) * (same > 0.01)
    if len(ahead) and float(np.median(ahead)) == 0:
        wrong = ahead == 0
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        raise OCDError(
            f"{where}, row {row + 1}, column {named}: {called[row]!r} does not follow "
            f"{called[row - 1]!r}: sort the rows by time, one row a time step, and give each series a "
            "column of its own"
        )
    if backwards:
        called, ahead = called[::-1], ahead[::-1]
    if not len(ahead):
        return Times(called, clock, backwards)
    step = Step(float(np.median(ahead)), "seconds" if clock.is_dated else "count")
    return Times(called, clock, backwards, step, np.maximum(np.round(ahead / step.size) - 1, 0))
