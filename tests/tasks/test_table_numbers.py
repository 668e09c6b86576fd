"""Numbers as people write them, and what makes a table's result too good to be true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocd import OCDError
from ocd.data import read_json, read_tensors, write_json, write_tensors
from ocd.runs import Run
from ocd.runs.examples import load_data
from ocd.tasks import get_task
from ocd.tasks.tables.features import Features
from ocd.tasks.tables.kinds import find_columns
from ocd.tasks.tables.loading import load
from ocd.tasks.tables.numbers import NumberFormat, find_number_format
from ocd.tasks.tables.options import TableData, TableOptions

TINY = {
    "width": 8, "blocks": 1, "base_epochs": 2, "num_bases": 1, "num_draws": 20, "other_draws": "",
    "baselines": "none", "selection.num_examples": 4, "selection.num_draws": 6, "denoiser.width": 16,
    "training.num_steps": 6, "training.batch_size": 16, "training.validate_every": 3,
    "cross_fitting.num_folds": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["$1,234.50", "$2", None, "-"], [1234.5, 2, None, None]),
        (["1.234,50 €", "3 €"], [1234.5, 3]),
        (["1 234,50", "7,5"], [1234.5, 7.5]),
        (["1\u202f234", "12"], [1234, 12]),
        (["1'234.5", "2"], [1234.5, 2]),
        (["(1,200.00)", "300"], [-1200, 300]),
        (["-$5", "$-6", "$7"], [-5, -6, 7]),
        (["USD 5", "USD 1,000"], [5, 1000]),
        (["12%", "3.5 %", "-1 %"], [12, 3.5, -1]),
        (["yes", "No", None], [1, 0, None]),
        (["TRUE", "false"], [1, 0]),
        (["1,234", "5,678"], [1234, 5678]),
        (["1,5", "2,75"], [1.5, 2.75]),
        (["1e5", "2", "-3.5"], [1e5, 2, -3.5]),
        (["−5", "3"], None),  # a typesetter's minus alone makes a column text: see below
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(texts: list, numbers: list | None) -> None:
    column = pd.Series(texts, dtype=object)
    written = find_number_format(column)
    assert written is not None
    expected = [-5.0, 3.0] if numbers is None else numbers
    assert written.read(column).tolist() == pytest.approx(
        [np.nan if value is None else value for value in expected], nan_ok=True
    )
    assert NumberFormat.from_dict(written.as_dict()) == written


@pytest.mark.parametrize(
    "texts",
    [
        ["12%", "0.12"], ["$5", "€5"], ["1,234.5", "1.234,5"], ["12 km", "3 km"], ["10-11", "12-13"],
        ["1.2.3", "1.2.4"], ["ABC1", "DEF2"], ["T", "F"], ["yes", "maybe"], ["0x1", "3"],
        ["1 2", "3 4"], ["--5", "3"], ["(-5)", "3"],
    ],
)  # fmt: skip
def test_what_is_no_number_stays_text(texts: list[str]) -> None:
    assert find_number_format(pd.Series(texts, dtype=object)) is None


def test_a_comma_between_semicolons_stands_before_decimals() -> None:
    column = pd.Series(["1,234", "5,678"])
    assert find_number_format(column, comma_first=True).read(column).tolist() == [1.234, 5.678]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9).map(lambda x: round(x, 2)), min_size=2, max_size=20),
    st.sampled_from(
        [("{:,.2f}", "", ""), ("{:,.2f}", "$", ""), ("{:,.2f}", "", " %"), ("{:.2f}", "", "")]
    ),
)
def test_written_and_read_a_number_is_the_same(values: list[float], form: tuple[str, str, str]) -> None:
    pattern, before, after = form
    texts = pd.Series([f"{before}{pattern.format(value)}{after}" for value in values])
    written = find_number_format(texts)
    assert written is not None
    np.testing.assert_allclose(written.read(texts), values, atol=1e-6)


def people(count: int = 80, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    income = draw.normal(3000, 500, count)
    return pd.DataFrame(
        {
            "income": [f"${value:,.2f}" for value in income],
            "share": [f"{value:.1f} %" for value in draw.uniform(0, 100, count)],
            "member": draw.choice(["yes", "no"], count),
            "since": [f"2020-01-{d:02d}T10:00:00+02:00" for d in draw.integers(1, 28, count)],
            "code": draw.choice(["1", "2", "3"], count),
            "paid": [f"€{value:,.2f}" for value in income / 7 + draw.normal(0, 20, count)],
        }
    )


def options(path: Path, **changes: object) -> TableOptions:
    return TableOptions(**({"path": str(path), "target": "paid"} | changes))


def test_what_is_not_plain_is_said_with_an_example(tmp_path: Path) -> None:
    people().to_csv(tmp_path / "t.csv", index=False)
    data = load(options(tmp_path / "t.csv"), None)
    notes = "\n".join(data.notes)
    assert "column 'income' is read as numbers in $: '$" in notes
    assert "(--set categories=income keeps the text)" in notes
    assert "column 'share' is read as numbers in per cent" in notes
    assert "column 'member' is read as numbers: 'yes' is 1" in notes
    assert "column 'since' is read as dates" in notes and "brought to UTC" in notes
    assert "column 'paid' is read as numbers in €" in notes and "code" not in notes
    assert 300 < float(data.train.targets.mean()) < 600
    kept = load(options(tmp_path / "t.csv", categories="member, code"), None)
    assert kept.reader.features.columns.categories == ["member", "code"]


def test_features_are_stored_as_data_and_read_alike(tmp_path: Path) -> None:
    rows = people()
    rows.loc[3, "income"] = None
    features = Features.fit(rows.drop(columns="paid"), 32)
    facts, tensors = features.state()
    write_json(tmp_path / "f.json", facts)
    write_tensors(tmp_path / "f.safetensors", tensors)
    again = Features.from_state(
        read_json(tmp_path / "f.json"), read_tensors(tmp_path / "f.safetensors")
    )
    new = people(30, seed=1)
    new.loc[0, "code"] = "7"
    assert np.array_equal(features(new), again(new))
    assert again.unknown_categories(new) == [] or "code" in find_columns(rows).categories


# Leaks


def leaking(count: int = 200, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, count)
    price = 3 * x + draw.normal(0, 1, count)
    return pd.DataFrame(
        {
            "x": x,
            "price_in_cents": 100 * price,
            "band": pd.cut(price, 60).astype(str),
            "number": np.arange(1000, 1000 + count),
            "name": [f"p-{n}" for n in range(count)],
            "amount": draw.normal(50, 9, count).round(6),
            "price": price,
        }
    )


def warnings_of(path: Path, frame: pd.DataFrame, **changes: object) -> list[str]:
    frame.to_csv(path, index=False)
    values = {"path": str(path), "target": "price"} | changes
    return list(load(TableOptions(**values), None).warnings)


def test_leaks_are_named(tmp_path: Path) -> None:
    found = "\n".join(warnings_of(tmp_path / "t.csv", leaking()))
    assert "column 'price_in_cents' alone says the target (rank correlation 1.00000)" in found
    assert "column 'number' has another value in nearly every row" in found
    assert "column 'name' has another value in nearly every row" in found
    for name in ("'x'", "'amount'"):
        assert name not in found
    assert warnings_of(tmp_path / "u.csv", leaking()[["x", "amount", "price"]]) == []


def test_a_class_that_a_column_tells_is_named(tmp_path: Path) -> None:
    frame = leaking(600)
    frame["grade"] = np.where(frame["price"] > 0, "dear", "cheap")
    clean = frame[["x", "amount", "grade"]]
    told = clean.assign(sold=np.where(frame["price"] > 0, "in spring", "in autumn"))
    values = {"target": "grade", "kind": "classification"}
    assert warnings_of(tmp_path / "t.csv", clean, **values) == []
    (found,) = warnings_of(tmp_path / "u.csv", told, **values)
    assert "column 'sold' alone says the target (a tree on it is right in 100 % of the rows)" in found


def test_test_rows_that_copy_training_rows_are_counted(tmp_path: Path) -> None:
    frame = leaking()[["x", "amount", "price"]]
    frame.iloc[:100].to_csv(tmp_path / "train.csv", index=False)
    test = frame.iloc[90:140].copy()
    test.loc[90, "price"] = 7.0
    test.to_csv(tmp_path / "test.csv", index=False)
    values = {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv")}
    options = TableOptions(**values, target="price")
    (found,) = load_data(get_task("table"), options, None, tmp_path / "kept").warnings  # said once
    assert found.startswith(
        "10 of 50 test rows have the features of a training row, 9 of them its target"
    )


def test_the_report_begins_with_leaks_and_says_how_numbers_were_read(tmp_path: Path) -> None:
    frame = leaking(100)
    frame["cost"] = [f"${value:,.2f}" for value in frame.pop("amount") * 100]
    frame[["x", "price_in_cents", "cost", "price"]].to_csv(tmp_path / "t.csv", index=False)
    settings = TINY | {"path": tmp_path / "t.csv", "target": "price"}
    run = Run.create("table", tmp_path / "run", settings={k: str(v) for k, v in settings.items()})
    run.predict(0)
    results = run.report()
    report = (tmp_path / "run" / "report.md").read_text()
    first = report.splitlines()[0]
    assert first.startswith("Look at the data before you trust a figure: column 'price_in_cents' alone")
    assert results["verdict"]["data"]["sentence"] == first
    assert "- data: column 'cost' is read as numbers in $: '$" in report


# Groups


def test_groups_are_never_on_both_sides(tmp_path: Path) -> None:
    frame = leaking()[["x", "amount", "price"]].assign(patient=np.arange(200) // 5)
    frame = frame.sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "t.csv", index=False)
    values = {"path": str(tmp_path / "t.csv"), "target": "price", "group": "patient"}
    data = load(TableOptions(**values), None)
    assert data.train.inputs.shape[1] == 2 and len(data.test) == 40
    assert len(data.groups) == len(data.train) == 160 and len(data.groups.unique()) == 32
    assert (data.groups.bincount() == 5).all()
    frame.iloc[:100].to_csv(tmp_path / "train.csv", index=False)
    frame.iloc[100:].to_csv(tmp_path / "test.csv", index=False)
    both = values | {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv")}
    with pytest.raises(OCDError, match=r"values of 'patient' \(group\) are in the training rows too"):
        load(TableOptions(**both), None)
    with pytest.raises(OCDError, match="has no column 'patent'"):
        load(TableOptions(**values | {"group": "patent"}), None)


# What a reviewer found


def loaded(path: Path, text: str, **changes: object) -> TableData:
    path.write_text(text)
    return load(TableOptions(**({"path": str(path), "target": "y"} | changes)), None)


def test_thousands_of_a_semicolon_file_and_a_leading_zero(tmp_path: Path) -> None:
    rows = "".join(f"{n}.{n * 7 % 1000:03d};{n * 37 % 11}\n" for n in range(1, 80))
    data = loaded(tmp_path / "t.csv", "umsatz;y\n" + rows + "950;1\n")
    written = data.reader.features.columns.numbers["umsatz"]
    assert written.group == "." and "'umsatz' is read as numbers" in data.notes[0]
    column = pd.Series(["1,234", "0,950", "12,500"])
    assert find_number_format(column).read(column).tolist() == [1.234, 0.95, 12.5]
    assert find_number_format(pd.Series(["192.168.100.101", "10.100.100.1"])) is None


def test_classes_that_look_alike_stay_apart_and_keep_their_names(tmp_path: Path) -> None:
    rows = "".join(f"{n % 7},{name}\n" for n in range(40) for name in ("01", "1", "x"))
    data = loaded(tmp_path / "t.csv", "x,y\n" + rows, kind="classification")
    assert data.reader.answer.names == ("01", "1", "x") and data.num_classes == 3


def test_features_of_few_values_are_no_copies(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({name: draw.integers(0, 2, 200) for name in "abc"})
    frame["y"] = frame["a"] + draw.normal(0, 1, 200)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert load(TableOptions(path=str(tmp_path / "t.csv"), target="y"), None).warnings == ()
    values = {"target": "y", "kind": "classification", "path": str(tmp_path / "u.csv")}
    frame.assign(y=draw.integers(0, 2, 200)).to_csv(tmp_path / "u.csv", index=False)
    assert load(TableOptions(**values), None).warnings == ()


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (["a", ""], {}, "rows have no value of 'g' \\(group\\)"),
        (["a", "b"], {"drop": "g"}, "group 'g' is in drop"),
    ],
)
def test_groups_that_cannot_be_had(tmp_path: Path, labels: list, changes: dict, message: str) -> None:
    rows = "".join(f"{n},{labels[n % 2]},{n * 37 % 11}\n" for n in range(80))
    with pytest.raises(OCDError, match=message):
        loaded(tmp_path / "t.csv", "x,g,y\n" + rows, group="g", **changes)
