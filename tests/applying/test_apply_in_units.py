"""A folder of answers, by any number of processes: each row once, in order, to the same bits."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_apply import Stopping, houses, in_another_process, run_of, table_settings

import ocd
from helpers import contents
from mnist_files import png, write_mnist
from ocd import OCDError
from ocd.applying import ApplyOptions, Ask, apply_in_units, apply_to, goes_to_a_folder
from ocd.data import Share, read_json, read_tensors
from ocd.runs import Run
from small_run import SMALL


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("prices")
    houses(160, seed=0).to_csv(folder / "train.csv", index=False)
    houses(50, seed=1).to_csv(folder / "test.csv", index=False)
    return run_of(folder / "run", "table", table_settings(folder, "price"))


def ignore(count: int) -> None:
    """What a bar of progress is told."""


def read(folder: Path) -> pd.DataFrame:
    parts = [pd.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("form", ["csv", "parquet", "folder"])
def test_the_rows_are_those_of_one_file_of_answers(prices: Run, tmp_path: Path, form: str) -> None:
    rows, source = houses(60, seed=5), tmp_path / f"new.{form}"
    if form == "csv":
        rows.to_csv(source, index=False)
    elif form == "parquet":
        rows.to_parquet(source, row_group_size=13)
    else:
        source.mkdir()
        for number, (start, stop) in enumerate([(0, 25), (25, 25), (25, 60)]):
            rows[start:stop].to_parquet(source / f"{number}.parquet")
        (source / "_SUCCESS").touch()
    loaded = ocd.load(prices.root)
    options = ApplyOptions(source, tmp_path / "out", tmp_path / "draws", "id", part=8)
    done = apply_in_units(loaded, options, Share(), ignore)
    assert done.rows == 60 and done.note == ""
    rows.to_csv(tmp_path / "one.csv", index=False)
    one = ApplyOptions(tmp_path / "one.csv", tmp_path / "one.parquet", tmp_path / "d.parquet", "id")
    apply_to(loaded, one, ignore)
    found, expected = read(tmp_path / "out"), pd.read_parquet(tmp_path / "one.parquet")
    assert found["row"].tolist() == rows["id"].tolist() == expected["row"].tolist()
    for name in ("base", "ocd", "std", "low 50 %"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)
    draws = read(tmp_path / "draws")
    assert len(draws) == 60 * 40
    np.testing.assert_allclose(
        draws["value"], pd.read_parquet(tmp_path / "d.parquet")["value"], rtol=1e-3
    )


def work(root: Path, options: ApplyOptions, share: Share) -> None:
    torch.set_num_threads(1)
    apply_in_units(ocd.load(root), options, share, ignore)


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_answer_to_the_same_bits(prices: Run, tmp_path: Path, count: int) -> None:
    houses(90, seed=5).to_parquet(tmp_path / "new.parquet", row_group_size=20)
    options = ApplyOptions(tmp_path / "new.parquet", tmp_path / "whole", part=8)
    apply_in_units(ocd.load(prices.root), options, Share(), ignore)
    many = dataclasses.replace(options, out=tmp_path / "many")
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=work, args=(prices.root, many, Share(number, count)))
        for number in range(1, count + 1)
    ]
    for process in reversed(started):  # the first one, which counts the rows, is the last to begin
        process.start()
    for process in started:
        process.join(240)
        assert process.exitcode == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "whole")
    assert read_json(tmp_path / "many" / "complete.json") == {
        "num_remarks": 0, "parts": 12, "rows": 90, "unlike": read_json(
            tmp_path / "whole" / "complete.json")["unlike"],
    }  # fmt: skip


def test_it_goes_on_where_it_was_stopped_and_no_row_comes_twice(prices: Run, tmp_path: Path) -> None:
    houses(50, seed=5).to_csv(tmp_path / "new.csv", index=False)
    options = ApplyOptions(tmp_path / "new.csv", tmp_path / "out", part=8)
    seen: list[int] = []
    for stop_after in (1, 2, None):
        try:
            apply_in_units(Stopping(ocd.load(prices.root), stop_after, seen), options, Share(), ignore)
        except KeyboardInterrupt:
            assert not (tmp_path / "out" / "complete.json").exists()
    assert seen == [8, 8, 8, 8, 8, 8, 2]
    assert len(read(tmp_path / "out")) == 50
    with pytest.raises(OCDError, match="holds other answers"):
        again = dataclasses.replace(options, ask=Ask(draws=7))
        apply_in_units(ocd.load(prices.root), again, Share(), ignore)


def test_a_csv_is_read_once_by_a_process(prices: Run, tmp_path: Path, monkeypatch) -> None:
    houses(50, seed=5).to_csv(tmp_path / "new.csv", index=False)
    loaded, starts = ocd.load(prices.root), []
    real = type(loaded).read

    def counted(self, source, size, start=0):
        starts.append(start)
        return real(self, source, size, start)

    monkeypatch.setattr(type(loaded), "read", counted)
    options = ApplyOptions(tmp_path / "new.csv", tmp_path / "out", part=8)
    apply_in_units(loaded, options, Share(), ignore)
    assert starts == [0]


def test_images_are_answered_as_tensors(tmp_path: Path) -> None:
    pixels = write_mnist(tmp_path / "data")["test"]
    settings = SMALL | {"train_size": 12, "test_size": 7, "base_epochs": 1}
    run = run_of(tmp_path / "run", "mnist", settings, tmp_path / "data")
    (tmp_path / "pictures").mkdir()
    for number, one in enumerate(pixels):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(png(one))
    options = ApplyOptions(tmp_path / "pictures", tmp_path / "out", tmp_path / "draws", part=3)
    apply_in_units(ocd.load(run.root), options, Share(), ignore)
    answers = ocd.load(run.root).predict(pixels)
    parts = [read_tensors(path) for path in sorted((tmp_path / "out").glob("*.safetensors"))]
    assert [len(part["ocd"]) for part in parts] == [3, 3, 1]
    for name, expected in {"ocd": answers.ocd, "base": answers.base, "std": answers.std}.items():
        found = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    ids = [name for n in range(3) for name in read_json(tmp_path / f"out/part-0000{n}.json")["ids"]]
    assert ids == [f"{number}.png" for number in range(7)]
    draws = read_tensors(tmp_path / "draws/part-00002.safetensors")["draws"]
    assert draws.shape == (5, 1, 10)


def test_the_command_starts_processes(prices: Run, tmp_path: Path) -> None:
    houses(40, seed=5).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "out"
    done = in_another_process(
        prices.root, "--input", tmp_path / "new.csv", "--out", out, "--num-processes", 2
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"40 rows: {out}\n"
    assert len(read(out)) == 40


def test_what_cannot_be_is_one_line(prices: Run, tmp_path: Path) -> None:
    loaded, source = ocd.load(prices.root), tmp_path / "new.csv"
    houses(4, seed=5).to_csv(source, index=False)
    with pytest.raises(OCDError, match="is one file: several processes answer into a folder"):
        goes_to_a_folder(loaded, ApplyOptions(source, tmp_path / "a.csv"), Share(1, 2))
    with pytest.raises(OCDError, match="draws go into a folder"):
        goes_to_a_folder(loaded, ApplyOptions(source, tmp_path / "a", tmp_path / "d.csv"), Share())
    assert not goes_to_a_folder(loaded, ApplyOptions(source, tmp_path / "a.csv"), Share())
    (tmp_path / "nothing").mkdir()
    for empty in (tmp_path / "nothing", _empty(tmp_path / "empty.csv")):
        with pytest.raises(OCDError, match="there are no"):
            apply_in_units(loaded, ApplyOptions(empty, tmp_path / "b"), Share(), ignore)
    assert not (tmp_path / "b").exists() and os.path.exists(source)


def _empty(path: Path) -> Path:
    houses(0, seed=0).to_csv(path, index=False)
    return path
