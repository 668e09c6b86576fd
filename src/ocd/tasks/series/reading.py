"""A table with a row a time step -> series in the order of time, or one clear line.

    series = read_series("mine.csv", data_dir)

What is a series and what is the time is found in the table itself, and whatever is left out is said:

* the first line has to hold names: a file without them would lose its first step, and name its series
  by values;
* a column of dates (or a counter of rows), or the index of a frame, says when a row is. Rows that run
  backwards are turned round; times that go to and fro are refused, since several series one below the
  other are no series. Steps that are missing are counted;
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
from ocd.tasks.series.times import Step, Times, find_times, moments
from ocd.tasks.tables.kinds import COMMA_FIRST
from ocd.tasks.tables.numbers import as_numbers, find_number_format
from ocd.tasks.tables.reading import as_frame, find_table, first_line, read_table

if TYPE_CHECKING:
    import pandas as pd

MOSTLY = 0.5
"""Share of readable numbers from which a column is meant to be one of numbers."""


@dataclass(frozen=True)
class Series:
    """`values` (T, C) in double precision, one column a series, the earliest first; `names` of the
    columns. `times`: what each row is called, its date or its number. `notes`: what was left out, is
    missing, or was turned round. `step`: the usual time from a row to the next, None where no column
    says so."""

    values: Tensor
    names: tuple[str, ...]
    times: tuple[str, ...]
    notes: tuple[str, ...] = ()
    step: Step | None = None


def read_series(name: str, data_dir: Path | None, wanted: Sequence[str] = ()) -> Series:
    """The series in a CSV or parquet file, in `data_dir` first. `wanted`: their names, all columns of
    numbers where there are none. Raises OCDError naming what is wrong, where, and what would be
    right."""
    where = f"series {name}"
    _check_names(first_line(find_table(name, data_dir)), where)
    return _series_of(read_table(name, data_dir, keep_index=True), where, wanted)


def series_of_frame(data: Any, wanted: Sequence[str] = ()) -> Series:
    """Those of what a program has at hand, a data frame."""
    return _series_of(as_frame(data, keep_index=True), "the frame", wanted)


def _series_of(table: pd.DataFrame, where: str, wanted: Sequence[str]) -> Series:
    comma_first = bool(table.attrs.get(COMMA_FIRST, False))
    times = find_times(table, where)
    of_time = times.column
    if times.backwards:
        table = table.iloc[::-1].reset_index(drop=True)
    left_out = [] if of_time is None else [of_time]
    numbers: dict[str, Any] = {}
    for column in table.columns:
        if column == of_time and column not in wanted:
            continue
        if wanted and column not in wanted:
            continue
        found = _numbers(table[column], where, comma_first)
        if found is None or (not wanted and _is_counter(found)):
            left_out.append(column)
        else:
            numbers[column] = found
    for column in wanted:
        if column not in numbers:
            others = [str(name) for name in table.columns if name != of_time]
            raise OCDError(f"{where} has no column of numbers {column!r}{nearest(column, others)}")
    if not numbers:
        raise OCDError(f"{where} has no column of numbers")
    names = tuple(wanted or numbers)
    values = np.stack([numbers[column] for column in names], axis=1).astype(np.float64)
    _check_gaps(values, names, times.called, where)
    called, notes = tuple(times.called), _notes(left_out, times)
    return Series(torch.from_numpy(values), names, called, notes, times.step)


def _notes(left_out: list[str], times: Times) -> tuple[str, ...]:
    """What a person might not expect."""
    notes = []
    if times.column is None:
        notes.append("no column says when a row is: rows are taken to be in the order of time")
    elif times.backwards:
        notes.append(f"the rows had the latest first (column {times.column!r}) and were turned round")
    if times.note:
        notes.append(times.note)
    if others := [name for name in left_out if name != times.column]:
        listed = ", ".join(map(repr, others[:5])) + (" and others" if len(others) > 5 else "")
        notes.append(f"left out, as no series of numbers: {listed}")
    return tuple(notes)


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
    """Whether a column counts rows: the same step from each to the next, and not none."""
    steps = np.diff(numbers)
    return len(steps) > 2 and bool((steps == steps[0]).all()) and steps[0] != 0


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
