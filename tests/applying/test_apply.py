"""A fitted run answers for new data: in another process, from files, as the run itself predicted."""

from __future__ import annotations

import csv
import gzip
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ocd
from houses import houses
from mnist_files import png, write_mnist
from ocd import OCDError
from ocd.applying import ApplyOptions, Ask, LoadedRun, apply_to
from ocd.base import example_losses
from ocd.data import read_tensors
from ocd.runs import Run
from ocd.tasks import NewRows
from scenes import write_scene
from small_run import SMALL

TABLE = {
    "width": 8, "blocks": 1, "base_epochs": 3, "num_bases": 1, "num_draws": 40, "other_draws": "",
    "baselines": "none", "selection.num_examples": 4, "selection.num_draws": 6, "denoiser.width": 16,
    "training.num_steps": 12, "training.batch_size": 16, "training.validate_every": 6,
    "cross_fitting.num_folds": 2, "sampling.confidence": 0.5,
}  # fmt: skip
VIEWS = {
    "size": 12, "depths": 6, "encodings": 3, "width": 16, "grid": 8, "base_steps": 20,
    "base_rays": 64, "film_frames": 0, "selection.num_draws": 4, "selection.num_examples": 2,
    "overfit.excerpt": 64, "overfit.num_steps": 2, "collection.shard_rows": 4, "baselines": "none",
    "denoiser.width": 16, "training.num_steps": 6, "training.batch_size": 4,
    "training.validate_every": 3,
}  # fmt: skip


def run_of(root: Path, task: str, settings: dict[str, object], data_dir: Path | None = None) -> Run:
    texts = {name: str(value) for name, value in settings.items()}
    run = Run.create(task, root, "fast", data_dir, [0], texts)
    run.predict(0)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    houses(160, seed=0).to_csv(folder / "train.csv", index=False)
    houses(50, seed=1).to_csv(folder / "test.csv", index=False)
    return folder


def table_settings(folder: Path, target: str) -> dict[str, object]:
    other = "grade" if target == "price" else "price"
    paths = {"path": folder / "train.csv", "test_path": folder / "test.csv", "target": target}
    kind = "regression" if target == "price" else "classification"
    return TABLE | paths | {"drop": f"id,{other}", "kind": kind}


@pytest.fixture(scope="module")
def prices(folder: Path) -> Run:
    return run_of(folder / "prices", "table", table_settings(folder, "price"))


@pytest.fixture(scope="module")
def grades(folder: Path) -> Run:
    return run_of(folder / "grades", "table", table_settings(folder, "grade"))


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, np.ndarray]:
    folder = tmp_path_factory.mktemp("mnist")
    pixels = write_mnist(folder / "data")
    settings = SMALL | {"train_size": 12, "test_size": 7, "base_epochs": 1}
    return run_of(folder / "run", "mnist", settings, folder / "data"), pixels["test"]


def in_another_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocd", "apply", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_table_is_answered_as_the_run_predicted_it(prices: Run, folder: Path) -> None:
    out = folder / "prices.csv"
    done = in_another_process(
        prices.root, "--input", folder / "test.csv", "--out", out, "--id", "id",
        "--draws-out", folder / "draws.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, rows = pd.read_csv(out), pd.read_csv(folder / "test.csv")
    assert found["row"].tolist() == rows["id"].tolist()
    saved = read_tensors(prices.root / "predictions" / "seed-0.safetensors")
    for column, method in (("ocd", "ocd_ensemble_40"), ("base", "base")):
        losses = (found[column] - rows["price"]) ** 2
        np.testing.assert_allclose(losses, saved[f"loss/{method}"].numpy(), rtol=1e-3)
    draws = pd.read_csv(folder / "draws.csv").pivot(index="row", columns="draw", values="value")
    draws = draws.loc[found["row"]]
    np.testing.assert_allclose(draws.mean(axis=1), found["ocd"], rtol=1e-5)
    np.testing.assert_allclose(draws.std(axis=1, ddof=0), found["std"], rtol=1e-3, atol=1e-2)
    inside = draws.ge(found["low 50 %"].values, axis=0) & draws.le(found["high 50 %"].values, axis=0)
    assert (inside.mean(axis=1) == 0.5).mean() > 0.8
    assert (found["low 90 %"] <= found["low 50 %"]).all()
    assert not (folder / "prices.csv.parts").exists()


def test_classes_are_answered_by_their_names(grades: Run, folder: Path) -> None:
    out = folder / "grades.parquet"
    done = in_another_process(grades.root, "--input", folder / "test.csv", "--out", out)
    assert done.returncode == 0, done.stderr
    found, rows = pd.read_parquet(out), pd.read_csv(folder / "test.csv")
    assert {*found["ocd"]} <= {"cheap", "dear"}
    assert found["row"].tolist() == [str(number + 1) for number in range(50)]
    np.testing.assert_allclose(found["p cheap"] + found["p dear"], 1, rtol=1e-5)
    own = np.where(rows["grade"] == "dear", found["p dear"], found["p cheap"])
    saved = read_tensors(grades.root / "predictions" / "seed-0.safetensors")
    np.testing.assert_allclose(
        -np.log(own), saved["loss/ocd_ensemble_40"].numpy(), rtol=1e-3, atol=1e-5
    )


def write_idx(path: Path, pixels: np.ndarray) -> None:
    data = struct.pack(">4i", 2051, *pixels.shape) + pixels.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("source", ["idx", "idx.gz", "png", "parquet", "arrays", "pillow"])
def test_images_of_every_kind_are_answered_as_the_run_predicted_them(
    mnist: tuple[Run, np.ndarray], tmp_path: Path, source: str
) -> None:
    run, pixels = mnist
    loaded = ocd.load(run.root)
    if source in ("arrays", "pillow"):
        from PIL import Image

        images = pixels if source == "arrays" else [Image.fromarray(one) for one in pixels]
        answers = loaded.predict(images)
        found = torch.tensor(answers.frame()[[f"p {n}" for n in range(10)]].to_numpy())
    else:
        path = {
            "idx": tmp_path / "new-images-idx3-ubyte",
            "idx.gz": tmp_path / "new-images-idx3-ubyte.gz",
            "png": tmp_path / "pictures",
            "parquet": run.data_dir / "ylecun/mnist/mnist/test-00000-of-00001.parquet",
        }[source]
        if source == "png":
            path.mkdir()
            for number, one in enumerate(pixels):
                (path / f"{number}.png").write_bytes(png(one))
        elif source != "parquet":
            write_idx(path, pixels)
        out = tmp_path / "out.csv"
        apply_to(loaded, ApplyOptions(path, out, part=3), lambda count: None)
        frame = pd.read_csv(out)
        found = torch.from_numpy(frame[[f"p {n}" for n in range(10)]].to_numpy())
        if source == "png":
            assert frame["row"].tolist() == [f"{number}.png" for number in range(7)]
    saved = read_tensors(run.root / "predictions" / "seed-0.safetensors")["loss/ocd_ensemble_5"]
    labels = torch.arange(7) % 10
    losses = -found.double().log()[torch.arange(7), labels]
    torch.testing.assert_close(losses.float(), saved, rtol=1e-3, atol=1e-5)


def test_views_are_drawn_from_cameras(tmp_path: Path) -> None:
    data = write_scene(tmp_path / "data")
    run = run_of(tmp_path / "run", "nerf-lego", VIEWS, data)
    out = tmp_path / "views"
    done = in_another_process(
        run.root, "--input", data / "lego" / "transforms_test.json", "--out", out, "--draws", 3
    )
    assert done.returncode == 0, done.stderr
    for kind in ("base", "ocd", "std"):
        assert len(list((out / kind).glob("*.png"))) == 3
    with (out / "answers.csv").open() as file:
        assert [row["row"] for row in csv.DictReader(file)] == [f"./test/r_{n}" for n in range(3)]
    answers = ocd.load(run.root).predict(run.data.test.inputs)
    losses = example_losses(run.task.loss, answers.ocd, run.data.test.targets)
    saved = read_tensors(run.root / "predictions" / "seed-0.safetensors")["loss/ocd_ensemble_5"]
    torch.testing.assert_close(losses, saved, rtol=1e-3, atol=1e-5)


# What is written, and what is gone on with


def test_a_mean_has_no_draws(prices: Run, folder: Path) -> None:
    answers = ocd.load(prices.root).predict(houses(3, seed=2), answer="mean")
    assert answers.std is None and not answers.intervals and len(answers.draws) == 1
    assert "std" not in answers.frame().columns
    few = ocd.load(prices.root).predict(houses(3, seed=2), draws=5)
    assert few.intervals.keys() == {50}


def test_parts_are_gone_on_with_and_end_in_the_same_bytes(prices: Run, tmp_path: Path) -> None:
    houses(50, seed=5).to_csv(tmp_path / "new.csv", index=False)
    loaded = ocd.load(prices.root)
    options = ApplyOptions(tmp_path / "new.csv", tmp_path / "whole.csv", tmp_path / "d.csv", part=8)
    apply_to(loaded, options, lambda count: None)
    seen: list[int] = []
    for stop_after in (1, 2, None):
        again = ApplyOptions(tmp_path / "new.csv", tmp_path / "parts.csv", tmp_path / "e.csv", part=8)
        try:
            apply_to(Stopping(loaded, stop_after, seen), again, lambda count: None)
        except KeyboardInterrupt:
            assert (tmp_path / "parts.csv.parts").exists() and not (tmp_path / "parts.csv").exists()
    assert seen == [8, 8, 8, 8, 8, 8, 2]  # nothing twice
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "e.csv").read_bytes() == (tmp_path / "d.csv").read_bytes()


class Stopping(LoadedRun):
    """Stops before it answers another part."""

    def __init__(self, loaded: LoadedRun, stop_after: int | None, seen: list[int]) -> None:
        super().__init__(loaded.run, loaded.seed, loaded.ocd, loaded.reference)
        self.left, self.seen = stop_after, seen

    def answer(self, rows: NewRows, ask: Ask) -> ocd.Answers:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        self.seen.append(len(rows))
        return super().answer(rows, ask)


def test_parts_of_other_answers_are_not_gone_on_with(prices: Run, tmp_path: Path) -> None:
    houses(20, seed=5).to_csv(tmp_path / "new.csv", index=False)
    loaded = ocd.load(prices.root)
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        apply_to(
            Stopping(loaded, 1, []), ApplyOptions(tmp_path / "new.csv", out, part=8), lambda count: None
        )
    with pytest.raises(OCDError, match="holds parts of other answers"):
        apply_to(
            loaded,
            ApplyOptions(tmp_path / "new.csv", out, ask=Ask(draws=7), part=8),
            lambda count: None,
        )


def test_only_some_rows_are_in_memory(prices: Run, tmp_path: Path) -> None:
    houses(40, seed=5).to_csv(tmp_path / "new.csv", index=False)
    loaded = ocd.load(prices.root)
    stretches: Iterator[NewRows] = loaded.read(tmp_path / "new.csv", 16, 0)
    assert [len(rows) for rows in stretches] == [16, 16, 8]
    assert [len(rows) for rows in loaded.read(tmp_path / "new.csv", 16, 32)] == [8]


def test_more_columns_and_another_order_change_nothing(prices: Run) -> None:
    rows, loaded = houses(6, seed=3), ocd.load(prices.root)
    expected = loaded.predict(rows).ocd
    shuffled = rows[sorted(rows.columns, reverse=True)].assign(more=1).drop(columns=["price", "grade"])
    assert torch.equal(loaded.predict(shuffled).ocd, expected)
    one_by_one = [loaded.predict(rows.iloc[[place]]).ocd for place in range(6)]
    torch.testing.assert_close(torch.cat(one_by_one), expected, rtol=1e-4, atol=1e-2)


def test_a_category_that_is_new_is_said(prices: Run) -> None:
    rows = houses(3, seed=3)
    rows.loc[1, "town"] = "Bergen"
    answers = ocd.load(prices.root).predict(rows)
    assert answers.remarks == ["", "town 'Bergen' is new", ""]


def test_inputs_far_from_the_training_rows_are_said(prices: Run) -> None:
    rows = houses(100, seed=4)
    near = ocd.load(prices.root).predict(rows)
    assert near.is_unlike.float().mean() < 0.2 and (near.nearer >= 0).all() and (near.nearer <= 1).all()
    odd = rows.assign(rooms=1e6, rent="$9,999,999.00", town="Bergen", built="01.01.1900")
    assert ocd.load(prices.root).predict(odd).nearer.mean() > 0.9


# What is refused, and the one line that says why


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


REFUSED = {
    "no file": (lambda p: p / "nothing.csv", "no such file"),
    "a folder": (lambda p: p, "is a folder"),
    "another ending": (
        lambda p: _text(p / "new.xlsx", "a"),
        "a table is a .csv, .tsv or .parquet file",
    ),
    "empty": (lambda p: _text(p / "new.csv", ""), "cannot be read as a table"),
    "no rows": (lambda p: write(houses(0, 0), p / "new.csv"), "there are no rows"),
    "a column less": (
        lambda p: write(houses(4, 0).drop(columns="town"), p / "new.csv"),
        "lacks the columns 'town'",
    ),
    "a column by another name": (
        lambda p: write(houses(4, 0).rename(columns={"rooms": "room"}), p / "new.csv"),
        "lacks the columns 'rooms'; did you mean 'room'?",
    ),
    "a word for a number": (
        lambda p: write(_with(houses(4, 0), 2, rooms="many"), p / "new.csv"),
        "row 3, column 'rooms': 'many' is not a number as the training rows have it",
    ),
    "another currency": (
        lambda p: write(_with(houses(4, 0), 0, rent="€12.00"), p / "new.csv"),
        "row 1, column 'rent': '€12.00' is not a number",
    ),
    "another way of dates": (
        lambda p: write(_with(houses(4, 0), 3, built="2010-05-01"), p / "new.csv"),
        "row 4, column 'built': '2010-05-01' is not a date",
    ),
    "neither yes nor no": (
        lambda p: write(_with(houses(4, 0), 1, garden="maybe"), p / "new.csv"),
        "row 2, column 'garden': 'maybe' is not a number",
    ),
    "latin-1": (
        lambda p: _bytes(
            p / "new.csv", houses(2, 0).assign(town="é").to_csv(index=False).encode("latin-1")
        ),
        "is not text in UTF-8",
    ),
    "two columns of one name": (
        lambda p: _text(p / "new.csv", "rooms,rooms \n1,2\n"),
        "has two columns called 'rooms'",
    ),
}


def _with(frame: pd.DataFrame, row: int, **values: object) -> pd.DataFrame:
    frame = frame.astype(object)
    for name, value in values.items():
        frame.loc[row, name] = value
    return frame


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_file_of_draws_is_refused_where_nothing_is_drawn(tmp_path):
    with pytest.raises(
        OCDError, match="d.csv: the answer `mean` is one pass, in which nothing is drawn"
    ):
        ApplyOptions(tmp_path / "a.csv", tmp_path / "o.csv", tmp_path / "d.csv", ask=Ask(answer="mean"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_table_gives_one_clear_line(prices: Run, tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    (tmp_path / "in").mkdir()
    source, out = make(tmp_path / "in"), tmp_path / "out.csv"
    with pytest.raises(OCDError) as caught:
        apply_to(ocd.load(prices.root), ApplyOptions(source, out), lambda count: None)
    text = str(caught.value)
    assert message in text and "\n" not in text and not out.exists()


def test_rows_before_one_that_is_refused_are_kept(prices: Run, tmp_path: Path) -> None:
    bad = write(_with(houses(20, 0), 15, rooms="many"), tmp_path / "new.csv")
    with pytest.raises(OCDError, match="row 16, column 'rooms'"):
        apply_to(
            ocd.load(prices.root), ApplyOptions(bad, tmp_path / "out.csv", part=8), lambda count: None
        )
    assert (tmp_path / "out.csv.parts" / "answers-0.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "nothing"], "has no column 'nothing' (--id)"),
        (["--seed", "5"], "has no seed 5; there are: 0"),
        (["--draws", "0"], "draws is 0"),
        (["--answer", "median"], "answer is 'median'"),
    ],
)
def test_options_that_are_wrong_give_one_clear_line(
    prices: Run, folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "out.csv"
    done = in_another_process(prices.root, "--input", folder / "test.csv", "--out", out, *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_input_is_not_written_over(prices: Run, tmp_path: Path) -> None:
    path = write(houses(4, 0), tmp_path / "new.csv")
    with pytest.raises(OCDError, match="is the input: write the answers to another file"):
        ApplyOptions(path, tmp_path / ".." / tmp_path.name / "new.csv")


@pytest.mark.parametrize("out", ["answers", "answers.csv", "more/../answers.csv"])
def test_answers_do_not_become_inputs(prices: Run, tmp_path: Path, out: str) -> None:
    """All files of a folder are read, also those that were not there when it was first looked at."""
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for given in (tmp_path / "in", tmp_path / "link"):
        for wrong in (given / out, tmp_path / "in" / out):
            with pytest.raises(OCDError, match="is in the folder of the input") as caught:
                ApplyOptions(given, wrong)
            assert "\n" not in str(caught.value)
    with pytest.raises(OCDError, match="is in the folder of the input"):
        ApplyOptions(tmp_path / "in", tmp_path / "out", tmp_path / "in" / "draws")
    ApplyOptions(tmp_path / "in", tmp_path / out)


def test_what_the_report_says_against_a_run_is_said(prices: Run, folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(prices.root, tmp_path / "run")
    assert ocd.load(tmp_path / "run").cautions == []  # there is no report yet
    results = Run.open(tmp_path / "run").report()
    found = ocd.load(tmp_path / "run").cautions
    verdict = results["verdict"]
    expected = [] if verdict["statement"] == "gain" else [verdict["sentence"]]
    if verdict["distribution"]["statement"] == "wrong":
        expected.append(verdict["distribution"]["sentence"])
    assert found == expected and found
    done = in_another_process(
        tmp_path / "run", "--input", folder / "test.csv", "--out", tmp_path / "out.csv"
    )
    assert done.returncode == 0 and all(line in done.stderr for line in found)


def test_a_run_that_is_not_trained_says_so(folder: Path, tmp_path: Path) -> None:
    settings = {name: str(value) for name, value in table_settings(folder, "price").items()}
    run = Run.create("table", tmp_path / "run", "fast", None, [0], settings)
    with pytest.raises(OCDError, match="is not trained yet"):
        ocd.load(run.root)
    with pytest.raises(OCDError, match="is no run folder"):
        ocd.load(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 28, 28), np.uint8), "there are no images"),
        (np.zeros((2, 27, 28), np.uint8), r"images have shape \(2, 1, 27, 28\)"),
        (np.full((2, 28, 28), 3.0), "pixels are from 3 to 3"),
        (np.full((2, 28, 28), np.nan), "pixels are from nan"),
    ],
)
def test_images_that_do_not_fit_give_one_clear_line(
    mnist: tuple[Run, np.ndarray], data: np.ndarray, message: str
) -> None:
    with pytest.raises(OCDError, match=message):
        ocd.load(mnist[0].root).predict(data)


def test_the_data_that_a_run_was_trained_on_are_not_needed(prices: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(prices.root, tmp_path / "run")
    config = (tmp_path / "run" / "config.json").read_text()
    train = str(prices.options.path)
    assert train in config
    (tmp_path / "run" / "config.json").write_text(config.replace(train, "gone.csv"))
    shutil.rmtree(tmp_path / "run" / "predictions")
    rows = houses(3, seed=3)
    expected = ocd.load(prices.root).predict(rows).ocd
    assert torch.equal(ocd.load(tmp_path / "run").predict(rows).ocd, expected)
    written = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not written & {".pkl", ".pickle", ".joblib"}


# What a reviewer found: wrong in silence once, or unclear


def test_truth_values_have_one_spelling_and_empty_lines_of_one_column_are_rows(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, 90)
    flags = np.where(x > 0.2, "true", "false")
    pd.DataFrame({"flag": flags, "y": x + draw.normal(0, 0.3, 90)}).to_csv(
        tmp_path / "t.csv", index=False
    )
    settings = TABLE | {"path": tmp_path / "t.csv", "target": "y", "categories": "flag"}
    run = run_of(tmp_path / "run", "table", settings)
    loaded = ocd.load(run.root)
    (tmp_path / "new.csv").write_text("flag\ntrue\n\nFALSE\n")
    apply_to(loaded, ApplyOptions(tmp_path / "new.csv", tmp_path / "o.csv"), lambda count: None)
    found = pd.read_csv(tmp_path / "o.csv", keep_default_na=False)
    assert found["row"].tolist() == [1, 2, 3]
    assert found["remark"].tolist() == ["", "flag '(missing)' is new", ""]
    typed = loaded.predict(pd.DataFrame({"flag": [True, False]})).ocd[:, 0]
    np.testing.assert_allclose(typed, found["ocd"].iloc[[0, 2]], rtol=1e-4, atol=1e-5)


def test_numbers_such_as_no_training_row_had_are_said(prices: Run, tmp_path: Path) -> None:
    rows = houses(4, seed=3)
    rows["rooms"] = [2.0, 1e30, np.nan, 3.0]  # some training rows lack it
    rows.loc[3, "rent"] = None
    remarks = ocd.load(prices.root).predict(rows).remarks
    assert remarks[0] == "" and remarks[2] == ""
    assert remarks[1] == "rooms is far beyond the training rows"
    assert remarks[3] == "rent is missing, as in no training row"


def test_infinite_numbers_are_said(prices: Run, tmp_path: Path) -> None:
    rows = houses(3, seed=3)
    rows["rent"] = [1.0, np.inf, 2.0]  # no training row lacks it
    rows["rooms"] = [-np.inf, 2.0, 3.0]
    remarks = ocd.load(prices.root).predict(rows).remarks
    assert remarks[0] == "rooms is infinite, which is read as missing"
    assert remarks[1] == "rent is infinite, which is read as missing"
    rows = houses(3, seed=3).astype({"rooms": object})
    rows["rooms"] = ["2", "1e400", "-inf"]
    rows.to_csv(tmp_path / "new.csv", index=False)
    options = ApplyOptions(tmp_path / "new.csv", tmp_path / "o.csv", id_column="id", part=2)
    apply_to(ocd.load(prices.root), options, lambda count: None)
    said = pd.read_csv(tmp_path / "o.csv", keep_default_na=False)["remark"].tolist()
    assert said == ["", *["rooms is infinite, which is read as missing"] * 2]


def test_ids_are_as_the_file_has_them(prices: Run, tmp_path: Path) -> None:
    rows = houses(12, seed=3)
    rows["id"] = pd.array([2**60 + n for n in range(11)] + [None], dtype="Int64")
    rows.to_parquet(tmp_path / "new.parquet")
    options = ApplyOptions(tmp_path / "new.parquet", tmp_path / "o.csv", id_column="id", part=5)
    apply_to(ocd.load(prices.root), options, lambda count: None)
    found = pd.read_csv(tmp_path / "o.csv", dtype=str, keep_default_na=False)["row"].tolist()
    assert found == [str(2**60 + n) for n in range(11)] + [""]


def test_one_row_as_a_dict_and_what_is_no_table(prices: Run) -> None:
    loaded, rows = ocd.load(prices.root), houses(1, seed=3)
    row = {name: value[0] for name, value in rows.to_dict("list").items()}
    assert torch.equal(loaded.predict(row).ocd, loaded.predict(rows).ocd)
    for data, message in (
        ("new.csv", "a str is no table"),
        (None, "a NoneType is no table"),
        ([], "there are no rows"),
        (pd.concat([rows, rows[["rooms"]]], axis=1), "two columns called 'rooms'"),
    ):
        with pytest.raises(OCDError, match=message):
            loaded.predict(data)


def test_answers_and_draws_have_files_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="write the draws to another file"):
        ApplyOptions(tmp_path / "a.csv", tmp_path / "o.csv", tmp_path / "o.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(OCDError, match="is a folder: name a file"):
        ApplyOptions(tmp_path / "a.csv", tmp_path / "d.csv")


def test_a_repeated_column_is_refused(prices: Run, tmp_path: Path) -> None:
    text = houses(3, 0).to_csv(index=False)
    (tmp_path / "new.csv").write_text(text.replace("price,", "rooms,", 1))
    with pytest.raises(OCDError, match="has two columns called 'rooms'"):
        apply_to(
            ocd.load(prices.root),
            ApplyOptions(tmp_path / "new.csv", tmp_path / "o.csv"),
            lambda count: None,
        )


def test_images_of_truth_values_and_of_32_bits(mnist: tuple[Run, np.ndarray], tmp_path: Path) -> None:
    from PIL import Image

    loaded, pixels = ocd.load(mnist[0].root), mnist[1]
    black = pixels > 127
    expected = loaded.predict(black.astype(np.float32)).ocd
    assert torch.equal(loaded.predict(black).ocd, expected)
    Image.fromarray(pixels[0].astype(np.int32)).save(tmp_path / "dark.tiff")
    (tmp_path / "._0.png").write_bytes(b"x")  # of another system's folders
    with pytest.raises(OCDError, match="of which white is not known"):
        list(loaded.read(tmp_path, 4))
    (tmp_path / "dark.tiff").unlink()
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(OCDError, match=r"empty\.png: the file is empty"):
        list(loaded.read(tmp_path, 4))
    for data in ("x", None, [Path("x.png")]):
        with pytest.raises(OCDError, match="is no image|holds no numbers"):
            loaded.predict(data)
