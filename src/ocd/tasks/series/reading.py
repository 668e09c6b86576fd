"""A table with a row a time step -> series in the order of time, or one clear line.

    series = read_series("mine.csv", data_dir)

What is a series and what is the time is found in the table itself, and whatever is left out is said:

* the first line has to hold names: a file without them would lose its first step, and name its series
  by values;
* columns of dates (or a counter of rows), or the index of a frame, say when a row is. Which these are
  is always said, and can be named. Rows that run backwards are turned round; times that go to and fro
  are refused, since several series one below the other are no series. Steps that are missing are
  counted;
* columns are numbers in any way of writing (1.234,5 too). A column that is mostly numbers is not left
  out for the few values that are none: the first of these is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import OCDError, nearest
from ocd.tasks.series.moments import counts_rows, moments, whole_dates
from ocd.tasks.series.times import Step, Times, find_times
from ocd.tasks.tables.kinds import COMMA_FIRST
from ocd.tasks.tables.numbers import as_numbers, find_number_format
from ocd.tasks.tables.reading import as_frame, find_table, first_line, read_table

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.5
"""Share of readable numbers from which a column is meant to be one of numbers."""
COUNTER = 0.9
"""Share of equal steps from which whole numbers that grow count rows, whatever they are called."""


@dataclass(frozen=True)
class Series:
    """`values` (T, C) in double precision, one column a series, the earliest first; `names` of the
    columns. `when` the rows are. `left_out`: columns that are no series, and no time. `constant`:
    series that are left out, as they do not vary where one learns. `columns`: all that
    the table has."""

    values: Tensor
    names: tuple[str, ...]
    when: Times
    left_out: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def times(self) -> tuple[str, ...]:
        """What each row is called: its date or its number."""
        return tuple(self.when.called)

    @property
    def step(self) -> Step | None:
        """The usual time from a row to the next, None where no column says so."""
        return self.when.step

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person might not expect: what was left out, or turned round."""
        notes = self.when.notes
        for names, why in (
            (self.left_out, "no series (words, dates, truth values or a count of rows)"),
            (self.constant, "constant in the rows to learn from"),
        ):
            if names:
                notes.append(f"left out, as {why}: {listed_names(names)}")
        return tuple(notes)


def listed_names(names: Sequence[str], most: int = 8) -> str:
    """In quotes, and how many there are beside the first `most`."""
    more = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def read_series(
    name: str,
    data_dir: Path | None,
    wanted: Sequence[str] = (),
    time: Sequence[str] | None = None,
    known: bool = False,
) -> Series:
    """The series in a CSV or parquet file, in `data_dir` first. `wanted`: their names, all columns of
    numbers where there are none. `time`: the columns that say when a row is, () for none; they are
    found where it is None, and where they are those `known` of another table, and this one lacks them.
    Raises OCDError naming what is wrong, where, and what would be right."""
    where = f"series {name}"
    _check_names(first_line(find_table(name, data_dir)), where)
    return _series_of(read_table(name, data_dir, keep_index=True), where, wanted, time, known)


def series_of_frame(
    data: Any, wanted: Sequence[str] = (), time: Sequence[str] | None = None, known: bool = False
) -> Series:
    """Those of what a program has at hand, a data frame."""
    return _series_of(as_frame(data, keep_index=True), "the frame", wanted, time, known)


def _series_of(
    table: pd.DataFrame, where: str, wanted: Sequence[str], time: Sequence[str] | None, known: bool
) -> Series:
    if known and time is not None and not set(time) <= {*table.columns}:
        time = None
    comma_first = bool(table.attrs.get(COMMA_FIRST, False))
    when = find_times(table, where, time, but=wanted)
    numbers: dict[str, Any] = {}
    left_out = []
    for column in wanted or [name for name in table.columns if name not in when.columns]:
        found = _numbers(table[column], where, comma_first) if column in table.columns else None
        if found is None or (not wanted and _says_when(column, found, table, when)):
            left_out.append(column)
        else:
            numbers[column] = found
    if wanted and left_out:
        others = [str(name) for name in table.columns if name not in when.columns]
        raise OCDError(
            f"{where} has no column of numbers {left_out[0]!r}{nearest(left_out[0], others)}"
        )
    if not numbers:
        raise OCDError(f"{where} has no column of numbers")
    values = np.stack([*numbers.values()], axis=1).astype(np.float64)
    called = when.called[::-1] if when.backwards else when.called  # in the order of the table
    _check_gaps(values, tuple(numbers), called, where)
    in_order = np.ascontiguousarray(values[::-1]) if when.backwards else values
    every = tuple(map(str, table.columns))
    return Series(torch.from_numpy(in_order), tuple(numbers), when, tuple(left_out), columns=every)


def _says_when(column: str, numbers: np.ndarray[Any, Any], table: pd.DataFrame, when: Times) -> bool:
    """Whether a column counts rows, is a date, or repeats a part of what says when they are."""
    if _is_counter(numbers) or (when.clock is not None and when.clock.says(numbers)):
        return True
    return whole_dates(column, table[column]) is not None


def _check_names(names: list[str], where: str) -> None:
    """Raises OCDError where the first line holds values: no name is a word, and they do not count."""
    import pandas as pd

    given = [name for name in names if name]
    numbers = as_numbers(pd.Series(given, dtype=object)).notna()
    dates = [moments(pd.Series([name], dtype=object)) is not None for name in given]
    words = [not number and not date for number, date in zip(numbers, dates, strict=True)]
    counted = [name for name, number in zip(given, numbers, strict=True) if number]
    starts = counted[0] if counted and counted[0] in ("0", "1") else None
    counts = starts is not None and counted == [str(int(starts) + i) for i in range(len(counted))]
    if sum(dates) > 1:
        raise OCDError(
            f"{where}: the first line holds dates: a row must be a time step, and a column a series"
        )
    if given and not any(words) and not (counts and not any(dates)):
        raise OCDError(
            f"{where}: the first line holds values ({given[0]!r}), where a name for each column is "
            "needed: put a line of names in front"
        )


def _numbers(column: pd.Series, where: str, comma_first: bool) -> np.ndarray[Any, Any] | None:
    """A column's numbers, NaN where a value is missing; None for dates, words and truth values."""
    if not column.notna().any():
        return None
    written = find_number_format(column, comma_first)
    if written is not None:
        return None if written.words else written.read(column).to_numpy(np.float64)
    if moments(column) is not None:
        return None
    plain = as_numbers(column)
    known = column.notna()
    if float(plain[known].notna().mean()) < MOSTLY:
        return None
    row = int(np.argmax((known & plain.isna()).to_numpy()))
    raise OCDError(
        f"{where}, row {row + 1}, column {column.name!r}: {str(column.iloc[row])!r} is no number; mend "
        "it, or name the columns to forecast (--set columns=a,b)"
    )


def _is_counter(numbers: np.ndarray[Any, Any]) -> bool:
    """Whether a column counts rows: the same step from each to the next, and not none; of whole numbers
    from most to the next."""
    steps = np.diff(numbers)
    if len(steps) < 3:
        return False
    return bool((steps == steps[0]).all() and steps[0] != 0) or counts_rows(numbers, COUNTER)


def _check_gaps(
    values: np.ndarray[Any, Any], names: tuple[str, ...], times: list[str], where: str
) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        at = "" if times[row] == str(row + 1) else f" ({times[row]})"
        raise OCDError(
            f"{where}, row {row + 1}{at}, column {names[column]!r}: no number; fill gaps first"
        )
