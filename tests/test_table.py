"""`ocd run table`: files of any columns, and one clear line for each that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ocd.errors import OCDError
from ocd.run import Run
from ocd.tasks.table import Options, load, make_base, specialise
from ocd.tasks.table_features import as_dates, find_columns


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
    assert columns.numbers == ["rooms", "garden"]
    assert columns.categories == ["town"] and columns.dates == ["built"]
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


@pytest.mark.parametrize(
    ("values", "is_date"),
    [
        (["2020-01-05", None, "2021-12-31"], True),
        (["3 May 2020", "4 June 2021"], True),
        (["2020-01-05 10:30", "2020-01-06 11:00"], True),
        (["A1", "B2"], False),
        (["1.5", "2.5"], False),
        (["2020", "2021"], False),
        (["2020-01-05", "unknown"], False),
        (["blue", "red"], False),
        ([None, None], False),
    ],
)
def test_what_is_a_date(values: list[str | None], is_date: bool) -> None:
    assert (as_dates(pd.Series(values, dtype=object)) is not None) == is_date


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
        ({"kind": "classification"}, "target 'price' has 160 classes in 160 rows"),
        ({"drop": "rooms,rums"}, "has no column 'rums' (drop)"),
        ({"drop": "rooms,town,built,garden"}, "there is no feature"),
        ({"train_size": 9999}, "train_size is 9999: it must be from 1 to 160"),
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
        ({"network": "transformer"}, "network is 'transformer'"),
    ],
)
def test_options_are_checked(changes: dict[str, object], match: str) -> None:
    with pytest.raises(OCDError, match=match):
        Options(**changes)


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
        ("my_networks:wide", r"answers two rows with (2, 7), not (2, 1)"),
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
    "training.log_every": 3, "diffusion.num_sampling_steps": 2,
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
