"""Which column of a table says when its rows are: found, said, and named by the user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ocd.errors import OCDError
from ocd.tasks import get_task
from ocd.tasks.series.reading import Series, read_series
from ocd.tasks.task import TaskData

ROWS = 60
WAVE = np.random.default_rng(0).normal(size=ROWS)
GROWS = np.random.default_rng(1).random(ROWS).cumsum()
DAYS = pd.date_range("2020-01-15", periods=ROWS)
HOURS = pd.date_range("2020-01-15", periods=ROWS, freq="h")
MONTHS = pd.date_range("2018-03-01", periods=ROWS, freq="MS")
QUARTERS = pd.date_range("2005-01-01", periods=ROWS, freq="QS")
WEEKS = pd.date_range("2021-01-04", periods=ROWS, freq="W-MON")
NO_TIME = "no column says when a row is: rows are taken to be in the order of time"


def read(folder: Path, time: tuple[str, ...] | None = None, **columns: object) -> Series:
    """Of some columns, whose spaces are written as _ here."""
    named = {name.replace("_", " "): values for name, values in columns.items()}
    pd.DataFrame(named).to_csv(folder / "mine.csv", index=False)
    return read_series("mine.csv", folder, time=time)


def loaded(folder: Path, frame: pd.DataFrame, **options: object) -> TaskData:
    """The data of the task on a file of these."""
    frame.to_csv(folder / "mine.csv", index=False)
    task = get_task("series")
    sizes = {"lookback": 24, "horizon": 6, "train_size": 200, "test_size": 50}
    return task.load(task.options(file="mine.csv", **sizes | options), folder)


@pytest.mark.parametrize("name", ["cpi_index", "rain_to_date", "lifetime", "timeline", "index"])
@pytest.mark.parametrize("of", [GROWS, (1000 * GROWS).round(), -GROWS, np.arange(ROWS) ** 2.0])
def test_a_series_that_grows_is_no_clock_whatever_its_name(tmp_path, name, of):
    """Neither decimals, nor whole numbers whose steps are mostly different ones."""
    pd.DataFrame({name: of, "x": WAVE}).to_csv(tmp_path / "mine.csv", index=False)
    found = read_series("mine.csv", tmp_path)
    assert found.names == (name, "x") and found.step is None
    assert found.notes == (NO_TIME,)


@pytest.mark.parametrize(
    ("name", "values", "step"),
    [
        ("date", DAYS.strftime("%Y%m%d").astype(int), "1 day"),
        ("whatever", DAYS.strftime("%Y%m%d").astype(int), "1 day"),
        ("date", MONTHS.strftime("%Y%m").astype(int), "31 days"),
        ("at", HOURS.strftime("%Y%m%d%H").astype(int), "1 hour"),
        ("at", HOURS.strftime("%Y%m%d%H%M").astype(int), "1 hour"),
        ("timestamp", 1_700_000_000 + 900 * np.arange(ROWS), "15 minutes"),
        ("ts", 1_700_000_000_000 + 3_600_000 * np.arange(ROWS), "1 hour"),
        ("unix", (1_700_000_000 + 900 * np.arange(ROWS)) * 1_000_000_000, "15 minutes"),
        ("my date", MONTHS.strftime("%m/%Y"), "31 days"),
        ("my date", MONTHS.strftime("%Y-%m"), "31 days"),
        ("my date", MONTHS.strftime("%b %Y"), "31 days"),
        ("q", [f"{day.year}Q{day.quarter}" for day in QUARTERS], "91 days"),
        ("q", [f"Q{day.quarter} {day.year}" for day in QUARTERS], "91 days"),
        ("w", WEEKS.strftime("%G-W%V"), "7 days"),
        ("t", np.arange(ROWS), "1"),
        ("step", 5 * np.arange(ROWS), "5"),
        ("id", 2 * np.arange(ROWS)[::-1], "2"),
        ("row", np.delete(np.arange(ROWS + 5), range(20, 25)), "1"),
        ("date", (MONTHS - pd.Timestamp("1899-12-30")).days, "31"),  # as spreadsheets count
    ],
)
def test_times_are_found_in_many_ways_of_writing(tmp_path, name, values, step):
    pd.DataFrame({"x": WAVE, name: values}).to_csv(tmp_path / "mine.csv", index=False)
    found = read_series("mine.csv", tmp_path)
    assert found.names == ("x",) and found.when.columns == (name,) and str(found.step) == step
    assert found.when.backwards == (name == "id")


@pytest.mark.parametrize("name", ["amount", "x2"])
@pytest.mark.parametrize("of", [202_001 + 13 * np.arange(ROWS), 1.7e9 + 900 * np.arange(ROWS) ** 2])
def test_whole_numbers_that_could_be_dates_in_part_are_a_series(tmp_path, name, of):
    assert read(tmp_path, **{name: of, "x": WAVE}).when.columns == ()


def test_a_count_of_rows_with_gaps_is_no_series_whatever_its_name(tmp_path):
    counts = np.delete(np.arange(ROWS + 5), range(20, 25))
    found = read(tmp_path, mine=counts, x=WAVE)
    assert found.names == ("x",) and "a count of rows): 'mine'" in found.notes[1]


@pytest.mark.parametrize(
    "parts", [["year", "month"], ["year", "month", "day"], ["Year", "MO", "dd", "hr"]]
)
def test_parts_of_a_date_in_columns_of_their_own_are_the_time(tmp_path, parts):
    when = [None, None, MONTHS, DAYS, HOURS][len(parts)]
    of = dict(zip(parts, (when.year, when.month, when.day, when.hour), strict=False))
    found = read(tmp_path, **of, x=WAVE)
    assert found.names == ("x",) and found.when.columns == tuple(parts)
    assert str(found.step) == ("31 days", "1 day", "1 hour")[len(parts) - 2]
    assert found.times[1].startswith(("2018-04", "2020-01-16", "2020-01-15 01:00")[len(parts) - 2])
    turned = read(tmp_path, **{name: values[::-1] for name, values in of.items()}, x=WAVE[::-1])
    assert torch.equal(turned.values, found.values) and turned.times == found.times


def test_parts_that_go_to_and_fro_are_refused_as_dates_are(tmp_path):
    twice = [*MONTHS[:30], *MONTHS[:30]]
    of = {"year": [day.year for day in twice], "month": [day.month for day in twice]}
    with pytest.raises(
        OCDError, match="row 31, column 'year', 'month': '2018-03' does not follow '2020"
    ):
        read(tmp_path, **of, x=WAVE)
    of |= {"month": DAYS.month, "year": DAYS.year, "at": ["12:00", "18:00"] * 30}
    with pytest.raises(OCDError, match="date is in column 'year', 'month' and the time of day in 'at'"):
        read(tmp_path, **of, x=WAVE)


def test_what_repeats_a_part_of_the_dates_is_no_series(tmp_path):
    long = pd.date_range("2020-01-15", periods=900, freq="11h")
    wave = np.random.default_rng(0).normal(size=900)
    of = {
        "year": long.year,
        "month": long.month,
        "hour": (long.hour + 1) % 24,
        "dow": long.day_of_week + 1,
    }
    found = read(tmp_path, date=long, **of, weekly=np.arange(900) % 7, x=wave, zero=np.zeros(900))
    assert found.names == ("weekly", "x", "zero")  # which does not vary, and is left out as such
    assert found.notes[0].endswith(": 'year', 'month', 'hour', 'dow'")


# Several columns of dates


BORN = ["1980-01-01"] * ROWS
TO_AND_FRO = [str(day.date()) for day in DAYS[::-1][:30]] + [str(day.date()) for day in DAYS[:30]]


def test_dates_that_do_not_follow_each_other_leave_the_time_to_later_ones(tmp_path):
    found = read(tmp_path, born=BORN, date=DAYS, x=WAVE)
    assert found.when.columns == ("date",) and "'born'" in found.notes[0]
    found = read(tmp_path, seen=TO_AND_FRO, date=DAYS, x=WAVE)
    assert found.when.columns == ("date",)
    assert found.notes[0] == (
        "dates that do not follow each other, and are not taken for the time: 'seen'"
    )
    assert read(tmp_path, born=BORN, x=WAVE).notes[0] == NO_TIME
    assert read(tmp_path, born=BORN, t=np.arange(ROWS), x=WAVE).when.columns == ("t",)


def test_dates_that_go_to_and_fro_are_not_passed_over_for_a_count(tmp_path):
    """They are those of several series below each other, and the count is that of the rows."""
    with pytest.raises(OCDError, match=r"row 32, column 'seen'.*name it .--set time=COLUMN., or take"):
        read(tmp_path, row=np.arange(ROWS), seen=TO_AND_FRO, x=WAVE)


def test_the_time_can_be_named(tmp_path):
    of = {"made": DAYS + pd.Timedelta(days=9), "date": HOURS, "x": WAVE, "n": GROWS}
    assert read(tmp_path, None, **of).when.columns == ("made",)
    assert str(read(tmp_path, ("date",), **of).step) == "1 hour"
    grown = read(tmp_path, ("n",), **of)
    assert grown.names == ("x",) and grown.step.unit == "count"
    none = read(tmp_path, (), **of)
    assert none.names == ("x", "n") and none.step is None and none.times[0] == "1"
    parts = {"year": MONTHS.year, "month": MONTHS.month, "date": DAYS, "x": WAVE}
    assert read(tmp_path, ("month", "year"), **parts).when.columns == ("year", "month")


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (("dat",), "has no column 'dat' .time.; did you mean 'date'"),
        (("words",), "'words' .time. hold no dates, and no numbers that count rows: name one such"),
        (("date", "x"), "'date', 'x' .time. hold no dates"),
        (("x",), "row 2, column 'x': .* does not follow"),
    ],
)
def test_a_named_time_that_is_none_is_refused(tmp_path, time, message):
    with pytest.raises(OCDError, match=message):
        read(tmp_path, time, date=DAYS, x=WAVE, words=["a"] * ROWS)


def test_a_run_says_which_column_is_the_time_and_reads_new_rows_by_it(tmp_path):
    wave = np.random.default_rng(0).normal(size=900)
    when = pd.date_range("2024-01-01", periods=900, freq="h").astype(str)
    made = pd.date_range("2030-01-01", periods=900, freq="D").astype(str)
    frame = pd.DataFrame({"made": made, "date": when, "x": wave})
    assert "the time is in column 'made'; rows are mostly 1 day apart" in loaded(tmp_path, frame).notes
    for setting, step in (("date", "1 hour"), ("none", "None")):
        data = loaded(tmp_path, frame, time=setting)
        assert str(data.reader.step) == step and "1 series ('x') of 900 steps" in data.notes[0]
        facts, tensors = data.reader.state()
        reader = type(data.reader).from_state(json.loads(json.dumps(facts)), tensors)
        new = reader.take(frame[:50])
        assert new.ids[-1] == f"x after {when[49] if setting == 'date' else 50}"
        assert len(reader.take(frame[["x"]][:50])) == len(new)  # nothing says when these are
    hourly = loaded(tmp_path, frame, time="date").reader
    with pytest.raises(OCDError, match="rows are 1 day apart, by column 'made', where the network"):
        hourly.take(frame[:50].drop(columns="date"))  # so that it is looked for
    grows = frame.assign(cpi_index=np.random.default_rng(1).random(900).cumsum())[["cpi_index", "x"]]
    other = grows.assign(cpi_index=10 * grows["cpi_index"])  # is no other step: it is a series
    assert len(loaded(tmp_path, grows).reader.take(other[:50]))


def test_a_gap_is_remarked_where_it_lies(tmp_path):
    wave = np.random.default_rng(0).normal(size=900)
    when = pd.date_range("2024-01-01", periods=900, freq="h").astype(str)
    frame = pd.DataFrame({"when": when, "x": wave, "y": wave[::-1]})
    reader = loaded(tmp_path, frame).reader
    new = frame[:61].drop(index=50)  # sixty rows: windows end at 24, 30, 36, 42, 48, 54 and 60
    taken = reader.take(new)
    at = [place for place, text in taken.remarks if "1 time step is missing" in text]
    assert at == [10, 11, 12, 13]  # both series of those that end at 54 and 60
    assert all("the first gap is after 2024-01-03 01:00:00" in text for _, text in taken.remarks)
    new.to_csv(tmp_path / "new.csv", index=False)
    parts = [*reader.read(tmp_path / "new.csv", 4)]
    found = [(4 * number + at, text) for number, part in enumerate(parts) for at, text in part.remarks]
    assert found == taken.remarks
    (rest,) = reader.read(tmp_path / "new.csv", 100, start=11)
    assert [place for place, _ in rest.remarks] == [0, 1, 2]
    long_ago = frame[:68].drop(index=1)  # 67 rows: the windows begin with the eighth
    assert not reader.take(long_ago).remarks


# The published data


@pytest.mark.parametrize("horizon", [24, 96])
def test_the_windows_of_the_published_data_are_those_of_the_paper_on_it(tmp_path, horizon):
    """A file of ETTh1's form, and every window made by hand."""
    names = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    values = np.random.default_rng(0).normal(5, 3, size=(17_420, 7)).round(3)
    frame = pd.DataFrame(values, columns=names)
    frame.insert(0, "date", pd.date_range("2016-07-01", periods=17_420, freq="h").astype(str))
    frame.to_csv(tmp_path / "ETTh1.csv", index=False)
    task = get_task("series")
    data = task.load(task.options(horizon=horizon), tmp_path)
    known = torch.from_numpy(values)
    scaled = ((known - known[:8640].mean(dim=0)) / known[:8640].std(dim=0)).float()

    def by_hand(start: int, end: int, count: int, block: int) -> list[tuple[int, int]]:
        every = []
        for row in range(max(start, 96), end - horizon + 1):
            if not block or row // block == (row + horizon - 1) // block:
                every += [(row, column) for column in range(7)]
        chosen = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:count]
        return [every[place] for place in sorted(chosen.tolist())]

    block = max(48, 2 * horizon)
    train = [*by_hand(0, 8640, 12_000, block), *by_hand(8640, 11_520, 8_000, block)]
    test = by_hand(11_520, 14_400, 1_000, 0)
    for examples, places in ((data.train, train), (data.test, test)):
        assert len(examples) == len(places)
        for number in range(0, len(places), 37):
            row, column = places[number]
            assert torch.allclose(examples.inputs[number], scaled[row - 96 : row, column], atol=1e-6)
            assert torch.allclose(
                examples.targets[number], scaled[row : row + horizon, column], atol=1e-6
            )
    assert data.groups.tolist() == [row // block for row, _ in train] and data.num_early == 12_000
    assert data.test_together.tolist() == [row // block for row, _ in test]
    assert data.warnings == () and data.reader.names == names
    assert "(the usual parts of ETT; the last 3,020 rows are not used)" in data.notes[0]


def test_another_file_of_that_name_is_used_whole(tmp_path):
    values = np.random.default_rng(0).normal(size=(20_000, 2))
    pd.DataFrame(values, columns=["a", "b"]).to_csv(tmp_path / "ETTh9.csv", index=False)
    task = get_task("series")
    notes = task.load(task.options(file="ETTh9.csv", train_size=200), tmp_path).notes
    assert "to 12,000 and to 16,000, the later ones, to learn from, to 20,000 to test" in notes[0]
