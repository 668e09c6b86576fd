"""`ocd run table`: files of any columns, and one clear line for each that cannot be used."""

from __future__ import annotations

import decimal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ocd.errors import OCDError
from ocd.runs import Run
from ocd.tasks.tables import features as table_features
from ocd.tasks.tables.kinds import find_columns, name_of
from ocd.tasks.tables.loading import load
from ocd.tasks.tables.options import TableData
from ocd.tasks.tables.options import TableOptions as Options
from ocd.tasks.tables.table import make_base, specialise


def houses(count: int = 200, seed: int = 0) -> pd.DataFrame:
    """Strings, dates, truth values, missing values, an empty and a constant column."""
    draw = np.random.default_rng(seed)
    rooms = draw.integers(1, 6, count).astype(float)
    town = draw.choice(["Aix", "Bath", "Cork"], count)
    built = pd.Timestamp("1990-01-01") + pd.to_timedelta(draw.integers(0, 9000, count), unit="D")
    price = 50 * rooms + 30 * (town == "Bath") + draw.normal(0, 5, count)
    table = pd.DataFrame(
        {
            "rooms": rooms,
            "town": town,
            "built": built.strftime("%Y-%m-%d"),
            "garden": draw.random(count) < 0.5,
            "empty": np.nan,
            "country": "here",
            "price": price,
        }
    )
    table.loc[table.index[::7], "rooms"] = np.nan
    table.loc[table.index[1::9], "town"] = None
    table.loc[table.index[2::11], "built"] = None
    return table


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    houses().to_csv(tmp_path / "houses.csv", index=False)
    return tmp_path / "houses.csv"


def options(path: Path, /, **changes: object) -> Options:
    return Options(**{"path": str(path), "target": "price"} | changes)


# What is read


def test_strings_dates_and_missing_values_become_numbers(csv: Path) -> None:
    data = load(options(csv), None)
    columns = find_columns(pd.read_csv(csv).drop(columns="price"))
    assert list(columns.numbers) == ["rooms", "garden"]
    assert columns.categories == ["town"] and list(columns.dates) == ["built"]
    assert len(data.train) == 160 and len(data.test) == 40
    for part in (data.train, data.test):
        assert part.inputs.dtype == part.targets.dtype == torch.float32
        assert part.inputs.isfinite().all() and part.targets.shape == (len(part), 1)
    # rooms, garden, days, year, month, weekday; missing rooms and dates; three towns and no town.
    assert data.train.inputs.shape[1] >= 11
    assert sorted(torch.cat([data.train.targets, data.test.targets])[:, 0].tolist()) == pytest.approx(
        sorted(pd.read_csv(csv)["price"]), rel=1e-5
    )


def test_every_format_says_the_same(tmp_path: Path, csv: Path) -> None:
    table = pd.read_csv(csv)
    table.to_csv(tmp_path / "houses.csv.gz", index=False)
    table.to_csv(tmp_path / "houses.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    table.assign(built=pd.to_datetime(table["built"])).to_parquet(tmp_path / "houses.parquet")
    expected = load(options(csv), None).train.inputs
    for name in ("houses.csv.gz", "houses.tsv", "semicolon.csv", "houses.parquet"):
        found = load(options(Path(name)), tmp_path).train.inputs  # in --data-dir
        torch.testing.assert_close(found, expected)


def test_test_rows_say_nothing_of_how_training_rows_are_read(tmp_path: Path, csv: Path) -> None:
    other = houses(seed=1)
    train = houses()
    other.to_csv(tmp_path / "one.csv", index=False)
    other = other.assign(rooms=1e6, town="Elsewhere", built="2051-01-01")
    other.to_csv(tmp_path / "other.csv", index=False)
    train.to_csv(csv, index=False)
    one, two = (load(options(csv, test_path=str(tmp_path / n)), None) for n in ("one.csv", "other.csv"))
    assert torch.equal(one.train.inputs, two.train.inputs)
    assert two.test.inputs.isfinite().all()  # a town that was never seen


def test_classes_keep_their_shares_and_their_order(csv: Path) -> None:
    table = houses().assign(price=lambda t: np.where(t["price"] > 150, "dear", "cheap"))
    table.to_csv(csv, index=False)
    data = load(options(csv, kind="classification"), None)
    assert data.num_classes == 2 and data.train.targets.dtype == torch.int64
    share = (table["price"] == "dear").mean()
    for part in (data.train, data.test):
        assert part.targets.float().mean().item() == pytest.approx(share, abs=0.02)
    task = specialise(options(csv, kind="classification"))
    assert task.classifies and task.make_targets is None and not task.has_distribution
    assert make_base(options(csv, kind="classification"), data)(data.test.inputs).shape == (40, 2)


def test_rare_values_go_together(csv: Path) -> None:
    table = houses().assign(town=[f"town {i}" for i in range(200)])
    table.to_csv(csv, index=False)
    wide, narrow = (load(options(csv, max_categories=m), None).train.inputs.shape[1] for m in (32, 4))
    assert wide - narrow == 28


# What cannot be used


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"path": None}, "no path is given: --set path="),
        ({"target": None}, "no target is given: --set target="),
        ({"path": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"target": "prize"}, "has no column 'prize' (target); there are: rooms, town"),
        ({"target": "country"}, "target 'country' is constant"),
        ({"target": "empty"}, "target 'empty' is missing in all rows"),
        ({"target": "town"}, "target 'town' is not a number in all rows"),
        ({"kind": "classification"}, "target 'price' has 200 classes in 200 rows"),
        ({"drop": "rooms,rums"}, "has no column 'rums' (drop)"),
        ({"drop": "rooms,town,built,garden"}, "there is no feature"),
        ({"drop": "rooms,price"}, "the target 'price' is in drop"),
        ({"target": "built"}, "the target 'built' is a date ('"),
        ({"train_size": 9999}, "train_size is 9999: it must be from 1 to 160"),
        ({"train_size": 9}, "train_size leaves 9 rows to train on: at least 30 are needed"),
        ({"test_share": 0.01}, "test_share 0.01 leaves 2 rows to test on: at least 5 are needed"),
        ({"test_share": 0.99}, "test_share 0.99 leaves 2 rows to train on: at least 30 are needed"),
        ({"test_path": "nowhere.csv"}, "nowhere.csv: no such file"),
    ],
)
def test_bad_input_gives_one_clear_line(csv: Path, changes: dict[str, object], match: str) -> None:
    with pytest.raises(OCDError) as caught:
        load(options(csv, **changes), None)
    assert match in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("data.xls", "a,b\n1,2\n", "a table is a .csv, .tsv or .parquet file"),
        ("empty.csv", "", "cannot be read as a table"),
        ("blank.csv", "\n\n\n", "cannot be read as a table"),
        ("twice.csv", "rooms, rooms ,price\n" + "1,2,3\n" * 60, "two columns called 'rooms'"),
        ("wide.csv", "rooms,price\n" + "1,2,3\n" * 60, "rows have more fields than the first line"),
        ("ragged.csv", "rooms,price\n1,2\n1,2,3\n1,2\n", "cannot be read as a table"),
        ("packed.csv.gz", "rooms,price\n1,2\n", "cannot be read as a table"),
        ("packed.parquet.gz", "nothing", "a table is a .csv"),
        ("alone.csv", "price\n" + "1\n2\n3\n" * 30, "there is no feature"),
        ("header.csv", "rooms,price\n", "there are no rows"),
        ("few.csv", "rooms,price\n" + "1,2\n2,3\n" * 5, "has 10 rows with a target: at least 50"),
        ("broken.parquet", "no parquet", "cannot be read as a table"),
    ],
)
def test_a_file_that_is_no_table_gives_one_clear_line(
    tmp_path: Path, name: str, content: str, match: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(OCDError) as caught:
        load(options(tmp_path / name), None)
    assert match in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_test_files_have_the_same_columns_and_classes(tmp_path: Path, csv: Path) -> None:
    table = houses().assign(price=lambda t: np.where(t["price"] > 150, "dear", "cheap"))
    table.to_csv(csv, index=False)
    other = tmp_path / "test.csv"
    with pytest.raises(OCDError, match="lacks the columns 'rooms'"):
        table.drop(columns="rooms").to_csv(other, index=False)
        load(options(csv, kind="classification", test_path=str(other)), None)
    with pytest.raises(OCDError, match="have classes that no training row has: 'free'"):
        table.assign(price="free").to_csv(other, index=False)
        load(options(csv, kind="classification", test_path=str(other)), None)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "ranking"}, "kind is 'ranking': use regression or classification"),
        ({"test_share": 1.0}, "test_share is 1"),
        ({"max_categories": 1}, "max_categories is 1"),
        ({"split_seed": -1}, "split_seed is -1: it must be from 0"),
        ({"network": "transformer"}, "network is 'transformer'"),
    ],
)
def test_options_are_checked(changes: dict[str, object], match: str) -> None:
    with pytest.raises(OCDError, match=match):
        Options(**changes)


# Odd files


def frame(count: int = 60, **columns: object) -> pd.DataFrame:
    """A number to learn from and a number to learn, and other columns."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=count)
    return pd.DataFrame({"x": x, **columns, "y": x + draw.normal(size=count)})


def read(table: pd.DataFrame, path: Path, **changes: object) -> TableData:
    writes = table.to_parquet if path.suffix == ".parquet" else table.to_csv
    writes(path, index=False)
    return load(Options(**{"path": str(path), "target": "y"} | changes), None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_spreadsheets_way_of_writing(tmp_path: Path, encoding: str, separator: str) -> None:
    table = frame(town=["Köln", "Århus", "Łódź"] * 20)
    expected = read(table, tmp_path / "plain.csv")
    table.to_csv(tmp_path / "table.csv", index=False, encoding=encoding, sep=separator)
    found = load(Options(path=str(tmp_path / "table.csv"), target="y"), None)
    assert torch.equal(found.train.inputs, expected.train.inputs)
    assert torch.equal(found.train.targets, expected.train.targets)


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    table = frame() * 2000
    expected = read(table.round(2), tmp_path / "plain.csv")
    lines = ["x;y"] + [
        ";".join(f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in row)
        for row in table.itertuples(index=False)
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    found = load(Options(path=str(tmp_path / "table.csv"), target="y"), None)
    torch.testing.assert_close(found.train.targets, expected.train.targets)
    torch.testing.assert_close(found.train.inputs, expected.train.inputs)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_gives_one_clear_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "table.csv"
    frame(town=["Köln"] * 60).to_csv(path, index=False, encoding=encoding)
    with pytest.raises(OCDError, match=r"table\.csv is not text in UTF-8 .*: save it as UTF-8"):
        load(Options(path=str(path), target="y"), None)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "data.csv").mkdir()
    with pytest.raises(OCDError, match="is a folder: name the file in it"):
        load(Options(path=str(tmp_path / "data.csv"), target="y"), None)


COUNT = 60
TYPES = {
    "Int64": pd.array([1, None, 3] * 20, dtype="Int64"),
    "boolean": pd.array([True, None, False] * 20, dtype="boolean"),
    "bool": [True, False, False] * 20,
    "string": pd.array(["a", None, "b"] * 20, dtype="string"),
    "categorical": pd.Categorical(["a", "b", None] * 20),
    "interval": pd.cut(np.arange(COUNT), 4),
    "decimal": [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None] * 20,
    "timedelta": pd.to_timedelta(np.arange(COUNT), unit="h"),
    "datetime": pd.date_range("2020-01-01", periods=COUNT, freq="D"),
    "zoned": pd.date_range("2020-01-01", periods=COUNT, freq="D", tz="Asia/Tokyo"),
    "period": pd.period_range("2020-01", periods=COUNT, freq="M"),
    "date": list(pd.date_range("2020-01-01", periods=COUNT).date),
    "mixed": [1, "two", None] * 20,
    "infinite": [np.inf, 1.0, -np.inf] * 20,
    "ints as text": ["1", "2", " 3 "] * 20,
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_column_is_read(tmp_path: Path, kind: str) -> None:
    written = kind not in ("mixed", "interval")  # parquet has no such columns
    path = tmp_path / ("table.parquet" if written else "table.csv")
    data = read(frame(other=TYPES[kind]), path)
    plain = read(frame(), tmp_path / "plain.parquet")
    assert data.train.inputs.isfinite().all()
    assert data.train.inputs.shape[1] > plain.train.inputs.shape[1]


def test_infinite_numbers_are_said_to_be_read_as_missing(tmp_path: Path) -> None:
    values = [str(number) for number in range(COUNT)]
    values[3], values[5], values[7] = "1e400", "-inf", "Infinity"
    data = read(frame(other=values, finite=np.arange(COUNT)), tmp_path / "table.csv")
    said = [note for note in data.notes if "infinite" in note]
    assert said == ["column 'other': 3 numbers are infinite and are read as missing"]
    assert data.train.inputs.isfinite().all()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([[1, 2]] * 60, "column 'other' holds a ndarray, where one value a row"),
        ([{"a": 1}] * 60, "column 'other' holds a dict"),
    ],
)
def test_nested_columns_are_named(tmp_path: Path, values: list[object], match: str) -> None:
    with pytest.raises(OCDError, match=match):
        read(frame(other=values), tmp_path / "table.parquet")
    # and can be left out
    with pytest.raises(OCDError, match="--set drop=other"):
        read(frame(other=values), tmp_path / "table.parquet")


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([10, 9, 2] * 20, [2, 9, 10]),
        (["10", "9", "2"] * 20, ["2", "9", "10"]),
        ([1.5, 10.0, 2.0] * 20, [1.5, 2.0, 10.0]),
        ([True, False] * 30, [False, True]),
        (["b", "a", "10"] * 20, ["10", "a", "b"]),
    ],
)
def test_classes_that_are_numbers_are_in_their_order(
    tmp_path: Path, values: list[object], order: list[object]
) -> None:
    table = frame().assign(y=values)
    path = tmp_path / "table.parquet"
    data = read(table, path, kind="classification", test_path=str(path))
    assert data.test.targets.tolist() == [order.index(value) for value in values]


def test_a_class_is_the_same_whatever_its_files_type(tmp_path: Path) -> None:
    """A missing value makes the integers of a file floating point."""
    table = frame().assign(y=[1, 2, 3] * 20)
    table.assign(y=[1.0, 2.0, np.nan] * 20).to_csv(tmp_path / "test.csv", index=False)
    test = {"test_path": str(tmp_path / "test.csv")}
    data = read(table, tmp_path / "table.csv", kind="classification", **test)
    assert data.test.targets.tolist() == [0, 1] * 20


def test_a_class_of_one_row_is_there_to_train_on(tmp_path: Path) -> None:
    table = frame().assign(y=["a", "b"] * 29 + ["c", "a"])
    data = read(table, tmp_path / "table.csv", kind="classification")
    assert (data.train.targets == 2).sum() == 1 and not (data.test.targets == 2).any()


def test_truth_values_and_durations_can_be_regressed(tmp_path: Path) -> None:
    data = read(frame().assign(y=[True, False, True] * 20), tmp_path / "bool.csv")
    assert data.train.targets.unique().tolist() == [0.0, 1.0]
    hours = pd.to_timedelta(np.arange(COUNT), unit="h")
    data = read(frame().assign(y=hours), tmp_path / "hours.parquet")
    assert data.train.targets.max() > 3600


@pytest.mark.parametrize(
    "values", [pd.date_range("2020-01-01", periods=COUNT), ["25/12/2020", "1/3/2020"] * 30]
)
def test_a_date_is_no_number_to_regress(tmp_path: Path, values: object) -> None:
    with pytest.raises(OCDError, match="the target 'y' is a date .*: put the days since"):
        read(frame().assign(y=values), tmp_path / "table.parquet")


@pytest.mark.parametrize("name", ["built", "rooms"])
def test_a_test_column_of_another_kind_is_named(tmp_path: Path, csv: Path, name: str) -> None:
    houses(seed=1).assign(**{name: "unknown"}).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(OCDError, match=rf"test\.csv: column '{name}' holds no (number|date)"):
        load(options(csv, test_path=str(tmp_path / "test.csv")), None)


def test_one_row_that_differs_may_be_a_test_row(tmp_path: Path) -> None:
    table = frame().assign(y=[0.0] * 59 + [1.0])
    said = set()
    for seed in range(20):
        try:
            assert read(table, tmp_path / "table.csv", split_seed=seed).train.targets.std() > 0
        except OCDError as error:
            said.add(str(error))
    assert len(said) == 1 and "table.csv: the target 'y' is constant in the 48 rows" in said.pop()


def test_targets_that_32_bits_do_not_tell_apart_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        OCDError, match="table.csv: the target 'y' varies by about .*: subtract its mean"
    ):
        read(frame().assign(y=1.7e9 + np.arange(COUNT)), tmp_path / "table.csv")
    assert len(read(frame().assign(y=1.7e6 + np.arange(COUNT)), tmp_path / "table.csv").train) == 48


def test_more_classes_than_rows_to_test_on(tmp_path: Path) -> None:
    table = frame().assign(y=[f"class {i % 20}" for i in range(60)])
    with pytest.raises(
        OCDError, match="test_share 0.2 leaves 12 rows to test on 20 classes: at least 20"
    ):
        read(table, tmp_path / "table.csv", kind="classification")
    assert read(table, tmp_path / "table.csv", kind="classification", test_share=0.4).num_classes == 20


def test_names_of_columns_may_be_like_those_of_their_parts(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=COUNT).strftime("%Y-%m-%d")
    like = {"day: days": range(COUNT), "date day: days": range(COUNT), "category word": range(COUNT)}
    data = read(frame(day=days, word=["a", "b"] * 30, **like), tmp_path / "table.csv")
    assert data.train.inputs.shape[1] == 1 + 3 + 2 + 3  # of a date days, month and weekday


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([np.inf, -np.inf] * 30, "there is no feature, every column but the target is constant"),
        ([1e-300, 2e-300] * 30, "nothing can be learnt from its features"),
        ([None] * 60, "there is no feature"),
    ],
)
def test_features_without_a_difference_are_named(tmp_path: Path, values: object, match: str) -> None:
    with pytest.raises(OCDError, match=rf"table\.csv: {match}"):
        read(frame(other=values), tmp_path / "table.csv", drop="x")


def test_digits_beyond_floating_point_are_text(tmp_path: Path) -> None:
    table = frame(other=[10**400 + row % 2 for row in range(COUNT)])
    assert find_columns(table.drop(columns="y")).categories == ["other"]
    assert read(table, tmp_path / "table.csv").train.inputs.shape[1] == 3


def test_a_sign_for_a_missing_number_is_no_category(tmp_path: Path) -> None:
    values = [float(row) for row in range(COUNT)]
    signs = ["?" if row % 7 == 0 else str(value) for row, value in enumerate(values)]
    known = [None if row % 7 == 0 else value for row, value in enumerate(values)]
    expected = read(frame(other=known), tmp_path / "known.csv").train.inputs
    torch.testing.assert_close(read(frame(other=signs), tmp_path / "signs.csv").train.inputs, expected)
    assert find_columns(pd.DataFrame({"sign": ["+", "-"] * 30})).categories == ["sign"]


def test_a_category_has_one_name_in_every_file(tmp_path: Path) -> None:
    """In the test file no word keeps the numbers text, and a missing value makes them fractions."""
    table = frame(code=["1", "2", "A"] * 20)
    table.assign(code=[1, 2, None] * 20).to_csv(tmp_path / "test.csv", index=False)
    data = read(table, tmp_path / "table.csv", test_path=str(tmp_path / "test.csv"))
    rows = torch.arange(COUNT) % 3 < 2
    torch.testing.assert_close(data.test.inputs[rows], data.train.inputs[rows])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_has_one_name_however_it_is_written(number: float) -> None:
    names = {name_of(number), name_of(str(number)), name_of(f" {number}")}
    if not str(number).startswith("-"):
        names.add(name_of(f"+{number}"))
    if isinstance(number, int) and abs(number) < 2**53:  # beyond, floating point has not all of them
        names |= {name_of(float(number)), name_of(f"{number}.0"), name_of(np.int64(number))}
    assert len(names) == 1


@given(st.text())
def test_other_text_is_its_own_name(text: str) -> None:
    name = name_of(text)
    truth = text.strip().lower() in ("true", "false")
    assert name == text.strip() or (truth and name in ("True", "False")) or float(name) == float(text)


def test_truth_values_have_one_name() -> None:
    assert {name_of(value) for value in (True, np.True_, "true", "TRUE", " True")} == {"True"}


def test_as_many_categories_as_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = frame(
        town=[f"town {row}" for row in range(COUNT)], street=[f"s {row}" for row in range(COUNT)]
    )
    everything = read(table, tmp_path / "table.csv", max_categories=10**9)
    assert everything.train.inputs.shape == (48, 1 + 2 * 48)
    monkeypatch.setattr(table_features, "MOST_CATEGORIES", 50)
    with pytest.raises(OCDError, match=r"table\.csv: its categories would make 96 columns, where 50"):
        read(table, tmp_path / "table.csv", max_categories=10**9)
    assert read(table, tmp_path / "table.csv", max_categories=25).train.inputs.shape == (48, 51)


def test_names_with_commas_are_dropped_in_quotes(tmp_path: Path) -> None:
    table = frame(**{"a, b": range(COUNT), "c": range(COUNT)})
    assert read(table, tmp_path / "table.csv", drop='"a, b", c,').train.inputs.shape[1] == 1


# A network of one's own


OWN = """
from torch import nn
def line(num_features, num_outputs):
    return nn.Sequential(nn.Linear(num_features, 8), nn.ReLU(), nn.Linear(8, num_outputs))
def wide(num_features, num_outputs):
    return nn.Linear(num_features, 7)
def other(num_features, num_outputs):
    return nn.Linear(3, 1)
def text(num_features, num_outputs):
    return "a network"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return "my_networks"


def test_a_network_of_ones_own_is_loaded_or_trained(tmp_path: Path, csv: Path, own: str) -> None:
    chosen = options(csv, module=f"{own}:line")
    data = load(chosen, None)
    assert make_base(chosen, data).std > 1  # answers in the price's own unit
    network = nn.Sequential(nn.Linear(data.train.inputs.shape[1], 8), nn.ReLU(), nn.Linear(8, 1))
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    loaded = options(csv, module=f"{own}:line", base=str(tmp_path / "own.safetensors"))
    base, task = make_base(loaded, data), specialise(loaded)
    task.train_base(base, data, loaded, 0, lambda line: None)
    assert torch.equal(base(data.test.inputs), network(data.test.inputs))
    assert task.layer == "auto"


@pytest.mark.parametrize(
    ("function", "match"),
    [
        ("nowhere:line", "cannot be imported"),
        ("my_networks:nothing", "has no function 'nothing'"),
        ("my_networks:text", "gave a str, not a torch module"),
        ("my_networks:wide", r"answers 2 inputs with (2, 7), not (2, 1)"),
        ("my_networks:other", "features: "),
    ],
)
def test_a_network_that_does_not_fit_gives_one_clear_line(
    csv: Path, own: str, function: str, match: str
) -> None:
    chosen = options(csv, module=function)
    with pytest.raises(OCDError) as caught:
        make_base(chosen, load(chosen, None))
    assert match in str(caught.value) and "\n" not in str(caught.value)


# The whole


TINY = {
    "width": 8, "blocks": 1, "base_epochs": 3, "num_bases": 2, "num_draws": 4, "other_draws": "2",
    "selection.num_examples": 4, "selection.num_draws": 6, "denoiser.width": 16,
    "training.num_steps": 6, "training.batch_size": 16, "training.validate_every": 3,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["regression", "classification", "resnet", "own"])
def test_a_table_ends_in_a_report(tmp_path: Path, csv: Path, own: str, kind: str) -> None:
    settings = {key: str(value) for key, value in TINY.items()} | {"path": str(csv), "target": "price"}
    if kind == "classification":
        houses().assign(price=lambda t: t["price"] > 150).to_csv(csv, index=False)
        settings |= {"kind": kind, "collection.storage": "auto"}
    if kind == "resnet":
        settings["network"] = "resnet"
    if kind == "own":
        settings["module"] = f"{own}:line"
    run = Run.create("table", tmp_path / "run", "fast", None, [0], settings)
    run.predict(0)
    results = run.report()
    metric = "cross_entropy" if kind == "classification" else "rmse"
    for method in ("base", "ocd", "ocd_ensemble_4", "boosting", "label_network", "overfit_test"):
        assert results["methods"][method][metric][0] is not None, (method, results["skipped"])
    assert ("distribution" in results) == (kind != "classification")
    again = Run.open(tmp_path / "run")
    assert again.task.classifies == (kind == "classification")
