"""Dates in text: one way of writing for a column, and nothing else is taken for a date."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocd.tasks.tables.dates import DateFormat, find_date_format
from ocd.tasks.tables.kinds import parts_of_dates

ORDERS = ["year_first", "day_first", "month_first", "named"]


def order_of(values: list[str | None]) -> str | None:
    found = find_date_format(pd.Series(values, dtype=object))
    return None if found is None else found.order


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["2020-01-05", None, "2021-12-31"], "year_first"),
        (["2020/1/5", "2020/12/31"], "year_first"),
        (["2020-05", "2020-06"], None),
        (["2010-11", "2011-12"], None),  # seasons
        (["2020-01/05", "2020-01/06"], None),
        (["2019.1.2", "2020.1.3"], None),  # versions
        (["2020-01-05 10:30", "2020-01-06 11:00:05.25"], "year_first"),
        (["2020-01-05T10:00:00Z", "2020-01-05T10:00:00+02:00"], "year_first"),
        (["2020-01-05 10:00:00+02", "2020-01-05 10:00:00.5 -0330"], "year_first"),
        (["2020-01-05 13:00 PM"], None),
        (["2020-01-05 25:00"], None),
        (["2020-02-30"], None),
        (["2020-01-05", "-", "?"], "year_first"),  # signs for what is missing
        (["3 May 2020", "4 June 2021"], "named"),
        (["at 3 May 2020", "and 4 May 2020"], None),
        (["May 3, 2020 10:30 PM", "Dec 24, 2021 1:00 AM"], "named"),
        (["Mon, 4 May 2020"], "named"),
        (["25/12/2010", "03/04/2010"], "day_first"),
        (["12/25/2010", "03/04/2010"], "month_first"),
        (["03/04/2010", "05/06/2011"], "month_first"),
        (["03.04.2010", "05.06.2011"], "day_first"),
        (["31-12-2010 23:59"], "day_first"),
        (["3/4/21", "25/12/98"], "day_first"),
        (["25/12/2010", "12/25/2010"], None),
        (["31/02/2010"], None),
        (["01/01/0000"], None),
        (["01.02.99", "02.02.99"], None),
        (["10-20", "11-30"], None),
        (["10-11-12"], None),
        (["1.2.3", "1.2.10"], None),
        (["3/4", "1/2"], None),
        (["10:30", "11:45"], None),
        (["A1", "B2"], None),
        (["1.5", "2.5"], None),
        (["2020", "2021"], None),
        (["20101225"], None),
        (["2020-01-05", "unknown"], None),
        (["Maybe 2020", "Marble 2021 2021"], None),
        (["555-1234-2020"], None),
        ([None, None], None),
    ],
)
def test_what_is_a_date(values: list[str | None], order: str | None) -> None:
    assert order_of(values) == order


@given(st.lists(st.dates(datetime.date(1970, 1, 1), datetime.date(2060, 1, 1)), min_size=1), st.data())
def test_written_and_read_a_date_is_the_same(dates: list[datetime.date], data: st.DataObject) -> None:
    dates += [datetime.date(2001, 2, 13)]  # tells days from months
    form = data.draw(st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d %B %Y"]))
    column = pd.Series([date.strftime(form) for date in dates])
    found = find_date_format(column)
    assert found is not None
    assert [stamp.date() for stamp in found.read(column)] == dates


def test_rows_to_come_are_read_as_the_training_rows_were() -> None:
    found = find_date_format(pd.Series(["25/12/2010", "03/04/2010"]))
    assert found is not None
    read = found.read(pd.Series(["01/02/2011", "2011-02-01", "13/13/2011", None, "soon"]))
    assert read[0] == pd.Timestamp("2011-02-01", tz="UTC")
    assert read[1:].isna().all()


@given(st.dates(datetime.date(1900, 1, 1)).filter(lambda date: date.day > 12), st.times())
def test_days_and_months_are_never_swapped(date: datetime.date, time: datetime.time) -> None:
    """Not even where pandas would take the other order, for a value that has none in this one."""
    for clock in ("", time.strftime(" %H:%M"), f" {time.hour}:05", time.strftime(" %I:%M %p")):
        other = pd.Series([date.strftime("%d/%m/%Y") + clock, date.strftime("%Y-%d-%m") + clock])
        assert DateFormat("month_first").read(other).isna().all()
        assert DateFormat("year_first").read(other).isna().all()


@given(st.lists(st.text() | st.none() | st.integers() | st.floats() | st.dates()))
def test_what_does_not_fit_is_missing(values: list[object]) -> None:
    column = pd.Series(values, dtype=object, index=np.arange(len(values)) * 3 + 5)
    find_date_format(column)
    for order in ORDERS:
        found = DateFormat(order).read(column)
        assert found.index.equals(column.index) and str(found.dtype).endswith("UTC]")


@given(st.sampled_from("-./:"), st.lists(st.integers(0, 31), min_size=2, max_size=3), st.booleans())
def test_ranges_versions_and_fractions_are_no_dates(mark: str, parts: list[int], padded: bool) -> None:
    text = mark.join(f"{part:02d}" if padded else str(part) for part in parts)
    full = re.fullmatch(r"\d+/\d+/\d\d", text)  # a year of two digits between slashes
    assert full or find_date_format(pd.Series([text, text])) is None


def test_every_day_of_the_calendar_has_its_parts() -> None:
    """Also those that nanoseconds do not hold."""
    rows = pd.DataFrame({"day": ["0001-01-01", "9999-12-31 06:00", None, "1970-01-02"]})
    found = find_date_format(rows["day"])
    assert found is not None
    parts = parts_of_dates(rows, {"day": found})
    first = datetime.date(1970, 1, 1).toordinal()
    assert parts["date day: days"].tolist()[:2] == [
        1 - first,
        datetime.date.max.toordinal() - first + 0.25,
    ]
    assert parts["date day: days"][3] == 1 and parts["date day: year"].tolist()[:2] == [1, 9999]
    assert parts.loc[2].isna().all()


def test_times_half_days_and_zones() -> None:
    text = pd.Series(["1/5/2020 3:30 PM", "1/25/2020 12:05 AM"])
    read = DateFormat("month_first").read(text)
    assert read.tolist() == [
        pd.Timestamp("2020-01-05 15:30", tz="UTC"), pd.Timestamp("2020-01-25 00:05", tz="UTC")
    ]  # fmt: skip
    text = pd.Series(["2020-01-05 10:00 UTC", "2020-01-05T10:00:00+0200"])
    assert DateFormat("year_first").read(text).dt.hour.tolist() == [10, 8]


def test_timestamps_of_any_zone_are_utc() -> None:
    there = pd.Series(pd.date_range("2020-01-01 09:00", periods=2, tz="Asia/Tokyo"))
    found = find_date_format(there)
    assert found is not None and found.read(there).dt.hour.tolist() == [0, 0]
    assert found.read(pd.Series(["2020-01-01 09:00", None])).dt.hour[0] == 9
