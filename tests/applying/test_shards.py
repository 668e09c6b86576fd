"""Answers by several processes: the same rows and bits as by one, in order, whoever dies."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_apply import run_of, table_settings
from torch import nn

import ocd
from helpers import digits_base, fitted, test_digits
from houses import houses
from ocd import OCD, BatchPredictor, Examples, OCDError, predict_to, read_predictions
from ocd.applying import ApplyOptions, LoadedRun, apply_shard, apply_to, count_answered
from ocd.cli.applying import apply
from ocd.data import Shard, claims
from ocd.data.claims import claimed

MOVING = {"sampling.scale_factor": 1.0, "sampling.spread": 1.0}


def advance(rows: int) -> None:
    pass


# ---- tables and texts, by `ocd apply` ---------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedRun, Path]:
    folder = tmp_path_factory.mktemp("tables")
    houses(160, seed=0).to_csv(folder / "train.csv", index=False)
    houses(50, seed=1).to_csv(folder / "test.csv", index=False)
    houses(500, seed=2).to_csv(folder / "new.csv", index=False)
    run = run_of(folder / "run", "table", table_settings(folder, "price"))
    return ocd.load(run.root), folder


def answered(out: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(out.glob("*.parquet"))])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_answer_as_one_process_does(
    table: tuple[LoadedRun, Path], count: int, tmp_path: Path
) -> None:
    loaded, folder = table
    whole = ApplyOptions(folder / "new.csv", tmp_path / "whole.parquet", id_column="id", part=7)
    apply_to(loaded, whole, advance)
    parts = ApplyOptions(folder / "new.csv", tmp_path / "parts", id_column="id", part=7)
    done = [apply_shard(loaded, parts, Shard(number, count), advance) for number in range(count)]
    assert done[0].rows == 500 and not any(one.rows for one in done[1:])  # the first did all
    expected = pd.read_parquet(tmp_path / "whole.parquet")
    pd.testing.assert_frame_equal(answered(tmp_path / "parts").reset_index(drop=True), expected)
    assert count_answered(tmp_path / "parts") == (500, int(expected["unlike training"].sum()))


def test_one_process_does_its_own_part_first(table: tuple[LoadedRun, Path], tmp_path: Path) -> None:
    loaded, folder = table
    options = ApplyOptions(folder / "new.csv", tmp_path / "parts", part=7)
    order: list[str] = []

    class Stop(Exception):
        pass

    def stop(rows: int) -> None:
        order.append("part")
        if len(order) == 20:
            raise Stop

    with pytest.raises(Stop):
        apply_shard(loaded, options, Shard(1, 2), stop)
    done = sorted(int(path.stem.split("-")[1]) for path in (tmp_path / "parts").glob("*.parquet"))
    assert done == [*range(16, 32), *range(48, 52)]  # its own stretches of 16
    before = {path: path.read_bytes() for path in (tmp_path / "parts").glob("*.parquet")}
    apply_shard(loaded, options, Shard(), advance)
    assert count_answered(tmp_path / "parts")[0] == 500
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_command_shares_the_work_among_processes(
    table: tuple[LoadedRun, Path], tmp_path: Path
) -> None:
    loaded, folder = table
    command = [sys.executable, "-m", "ocd", "apply", str(loaded.run.root)]
    arguments = ["--input", str(folder / "new.csv"), "--out", str(tmp_path / "parts")]
    done = subprocess.run(
        [*command, *arguments, "--num-processes", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"500 rows: {tmp_path / 'parts'}" in done.stdout
    assert answered(tmp_path / "parts")["row"].tolist() == [str(n) for n in range(1, 501)]
    again = subprocess.run(
        [*command, *arguments, "--shard", "1/3"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and "500 rows" in again.stdout
    both = [*command, *arguments, "--shard", "0/2", "--num-processes", "2"]
    refused = subprocess.run(both, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "use one" in refused.stderr


def test_a_bad_row_is_named_by_every_process(table: tuple[LoadedRun, Path], tmp_path: Path) -> None:
    loaded, folder = table
    frame = pd.read_csv(folder / "new.csv").astype({"rooms": object})
    frame.loc[300, "rooms"] = "many"
    frame.to_csv(tmp_path / "bad.csv", index=False)
    options = ApplyOptions(tmp_path / "bad.csv", tmp_path / "parts", part=7)
    with pytest.raises(OCDError, match="many"):
        apply_shard(loaded, options, Shard(), advance)
    assert 0 < count_answered(tmp_path / "parts")[0] <= 301


def test_a_file_and_draws_are_for_one_process(table: tuple[LoadedRun, Path], tmp_path: Path) -> None:
    loaded, folder = table
    with pytest.raises(OCDError, match="into a folder"):
        apply_shard(loaded, ApplyOptions(folder / "new.csv", tmp_path / "a.parquet"), Shard(), advance)
    drawn = ApplyOptions(folder / "new.csv", tmp_path / "parts", tmp_path / "draws.csv")
    with pytest.raises(OCDError, match="predict_to"):
        apply_shard(loaded, drawn, Shard(), advance)


def test_a_damaged_file_of_answers_is_made_again(table: tuple[LoadedRun, Path], tmp_path: Path) -> None:
    loaded, folder = table
    options = ApplyOptions(folder / "new.csv", tmp_path / "parts", part=100)
    apply_shard(loaded, options, Shard(), advance)
    path = tmp_path / "parts/part-000002.parquet"
    content = path.read_bytes()
    flipped = content[:50] + bytes([content[50] ^ 1]) + content[51:]
    for shard in (Shard(), Shard(1, 2)):  # its own, and another's
        for spoilt in (content[:-9], b"", flipped, None):
            path.unlink() if spoilt is None else path.write_bytes(spoilt)
            assert apply_shard(loaded, options, shard, advance).rows == 100
            assert path.read_bytes() == content
    assert apply_shard(loaded, options, Shard(), advance).rows == 0


def test_what_others_are_at_is_awaited(
    table: tuple[LoadedRun, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here the other one gives up, and what it was at is done."""
    monkeypatch.setattr(claims, "POLL", 0.01)
    loaded, folder = table
    options = ApplyOptions(folder / "new.csv", tmp_path / "parts", part=100)
    is_there, released = threading.Event(), []

    def other() -> None:
        with claimed(tmp_path / "parts/claims/000001"):
            is_there.set()
            while len(list((tmp_path / "parts").glob("*.parquet"))) < 4:
                time.sleep(0.01)
            time.sleep(0.2)
            released.append(len(list((tmp_path / "parts").glob("*.parquet"))))

    process = threading.Thread(target=other, daemon=True)
    process.start()
    is_there.wait(20)
    assert apply_shard(loaded, options, Shard(0, 2), advance).rows == 500
    process.join(20)
    assert released == [4] and count_answered(tmp_path / "parts")[0] == 500
    assert "waiting for parts that other processes are at: 1 left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"out": Path("a.csv")}, "into a folder"),
        ({"source": Path("nothing.csv")}, "no such file"),
        ({"draws_out": Path("draws.csv")}, "--draws-out is for one process"),
        ({"id_column": "nobody"}, "nobody"),
        ({"draws": 0}, "at least one draw"),
    ],
)
def test_what_is_wrong_is_said_before_processes_are_started(
    changed: dict[str, Any],
    said: str,
    table: tuple[LoadedRun, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, folder = table
    started: list[object] = []
    monkeypatch.setattr("ocd.cli.processes.run_each", lambda *args, **named: started.append(args))
    monkeypatch.chdir(tmp_path)
    given = {"source": folder / "new.csv", "out": Path("parts")} | changed
    with pytest.raises(OCDError, match=said):
        apply(loaded.run.root, **given, num_processes=2)
    assert not started and not Path("parts").exists()  # which would be bound to what was wrong


def test_one_process_of_a_number_writes_as_two_do(
    table: tuple[LoadedRun, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, folder = table
    monkeypatch.chdir(tmp_path)
    apply(loaded.run.root, folder / "new.csv", Path("parts"), num_processes=1)
    apply(loaded.run.root, folder / "new.csv", Path("one.parquet"), num_processes=1)
    one = pd.read_parquet("one.parquet")
    pd.testing.assert_frame_equal(answered(tmp_path / "parts").reset_index(drop=True), one)
    apply_shard(loaded, ApplyOptions(folder / "new.csv", Path("parts")), Shard(1, 2), advance)


# ---- in a program, by `predict_to` ------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_predictions_in_files_are_those_of_predict(count: int, tmp_path: Path) -> None:
    model, inputs = fitted(MOVING), test_digits(40).inputs
    whole = model.predict(inputs, draws=3, seed=4)
    for number in range(count):
        left = predict_to(
            tmp_path, model, Examples(inputs, torch.zeros(40)), 3, seed=4, shard=f"{number}/{count}",
            rows=3, keep_draws=True, progress=False,
        )  # fmt: skip
    assert left == 0
    parts = list(read_predictions(tmp_path))
    assert torch.cat([part.index for part in parts]).tolist() == list(range(40))
    for name, expected in (("mean", whole.mean), ("std", whole.std), ("base", whole.base)):
        found = torch.cat([getattr(part, name) for part in parts])
        assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(torch.cat([part.draws for part in parts], dim=1), whole.outputs, atol=1e-5)


@pytest.mark.parametrize("rows", [0, -1, 2.5, "3"])
def test_files_hold_a_whole_number_of_examples(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="rows is .*: it must be a whole number, at least 1"):
        predict_to(tmp_path, fitted(MOVING), test_digits(4).inputs, rows=rows, progress=False)


def test_files_are_the_same_bits_whoever_makes_them(tmp_path: Path) -> None:
    model, inputs = fitted(MOVING), test_digits(40).inputs
    predict_to(tmp_path / "one", model, inputs, rows=3, progress=False)
    for number in (2, 0, 3, 1):
        predict_to(tmp_path / "four", model, inputs, rows=3, shard=Shard(number, 4), progress=False)
    one, four = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*")}
        for name in ("one", "four")
    )
    assert one == four and len(one) == 28


def test_what_is_missing_or_changed_is_named(tmp_path: Path) -> None:
    model, inputs = fitted(MOVING), test_digits(10).inputs
    predict_to(tmp_path, model, inputs, rows=4, progress=False)
    path = tmp_path / "part-000001.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(OCDError, match="part-000001.safetensors is cut short or changed"):
        list(read_predictions(tmp_path))
    path.with_suffix(".json").unlink()
    with pytest.raises(OCDError, match="2 of 3 files are there"):
        list(read_predictions(tmp_path))
    predict_to(tmp_path, model, inputs, rows=4, progress=False)
    assert path.read_bytes() == content and len(list(read_predictions(tmp_path))) == 3
    with pytest.raises(OCDError, match="draws is 5, not 6"):
        predict_to(tmp_path, model, inputs, 6, rows=4, progress=False)
    with pytest.raises(OCDError, match="generator is"):
        other = fitted({**MOVING, "training.num_steps": 21})
        predict_to(tmp_path, other, inputs, rows=4, progress=False)


def test_old_answers_are_not_taken_for_those_of_other_values(tmp_path: Path) -> None:
    model, inputs = fitted(MOVING), test_digits(40).inputs
    predict_to(tmp_path, model, inputs, rows=4, progress=False)
    assert predict_to(tmp_path, model, inputs.clone(), rows=4, progress=False) == 0
    with pytest.raises(OCDError, match="parts of other work \\(inputs is"):
        predict_to(tmp_path, model, inputs + 1, rows=4, progress=False)
    one_differs = inputs.clone()
    one_differs[9] += 1  # not among the sixteen that are looked at first
    with pytest.raises(OCDError, match="part-000002.safetensors holds predictions of other inputs"):
        predict_to(tmp_path, model, one_differs, rows=4, progress=False)


def test_old_answers_are_not_taken_for_those_of_another_base(tmp_path: Path) -> None:
    inputs = test_digits(10).inputs
    fitted(MOVING).save_pretrained(tmp_path / "saved")
    base = digits_base()
    model = OCD.from_pretrained(tmp_path / "saved", base)
    predict_to(tmp_path / "found", model, inputs, rows=4, progress=False)
    again = OCD.from_pretrained(tmp_path / "saved", digits_base())
    assert predict_to(tmp_path / "found", again, inputs, rows=4, progress=False) == 0
    with torch.no_grad():
        list(base.parameters())[-1].add_(1.0)
    with pytest.raises(OCDError, match="parts of other work \\(base is"):
        predict_to(tmp_path / "found", model, inputs, rows=4, progress=False)


def test_a_damaged_file_of_predictions_is_made_again(tmp_path: Path) -> None:
    model, inputs = fitted(MOVING), test_digits(10).inputs
    predict_to(tmp_path, model, inputs, rows=4, progress=False)
    path = tmp_path / "part-000001.safetensors"
    content = path.read_bytes()
    for spoilt in (content[:-9], b"", content[:-1] + bytes([content[-1] ^ 1]), None):
        path.unlink() if spoilt is None else path.write_bytes(spoilt)
        assert predict_to(tmp_path, model, inputs, rows=4, progress=False) == 0
        assert path.read_bytes() == content


# ---- engines that map batches -----------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    fitted(MOVING).save_pretrained(folder)
    return folder


def test_a_batch_of_arrays_gets_more_columns(saved: Path) -> None:
    inputs = test_digits(6).inputs
    predictor = BatchPredictor(saved, digits_base, draws=3, seed=2)
    found = predictor({"x": inputs.numpy(), "id": np.arange(6)})
    expected = fitted(MOVING).predict(inputs, 3, seed=2)
    assert list(found) == ["x", "id", "ocd_mean", "ocd_std", "ocd_base"]
    np.testing.assert_allclose(found["ocd_mean"], expected.mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["ocd_std"], expected.std.numpy(), atol=1e-6)
    alone = BatchPredictor(saved, digits_base, keep=False, prefix="")({"x": inputs.double().numpy()})
    assert list(alone) == ["mean", "std", "base"]


def test_it_is_pickled_without_what_it_loaded(saved: Path) -> None:
    predictor = BatchPredictor(saved, digits_base)
    before = len(pickle.dumps(predictor))
    batch = {"x": test_digits(4).inputs.numpy()}
    first = predictor(batch)
    assert len(pickle.dumps(predictor)) == before
    again = pickle.loads(pickle.dumps(predictor))(batch)
    np.testing.assert_array_equal(again["ocd_mean"], first["ocd_mean"])


class Sum(nn.Module):
    """A base of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(left + right))


def make_sum() -> Sum:
    torch.manual_seed(0)
    return Sum()


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().sum(dim=1)


@pytest.mark.parametrize("inputs", [["a", "b"], {"left": "a", "right": "b"}], ids=["list", "dict"])
def test_several_columns_are_several_inputs(inputs: object, tmp_path: Path) -> None:
    left, right = torch.randn(64, 3), torch.randn(64, 3)
    from helpers import config

    given = (left, right) if isinstance(inputs, list) else {"left": left, "right": right}
    small = config({"layer": "layer", **MOVING})
    model = OCD(make_sum(), loss=squared, config=small)
    model.fit(Examples(given, torch.randn(64, 2)), progress=False)
    model.save_pretrained(tmp_path)
    found = BatchPredictor(tmp_path, make_sum, inputs)({"a": left.numpy(), "b": right.numpy()})
    np.testing.assert_allclose(found["ocd_mean"], model.predict(given).mean.numpy(), atol=1e-6)


def test_what_cannot_be_read_is_one_line(saved: Path) -> None:
    predictor = BatchPredictor(saved, digits_base)
    with pytest.raises(OCDError, match="no column 'x'; it has y"):
        predictor({"y": np.zeros(3)})
    with pytest.raises(OCDError, match="column 'x' is of object"):
        predictor({"x": np.array([np.zeros(3), np.zeros(4)], dtype=object)})
    batch = {"x": test_digits(2).inputs.numpy(), "ocd_mean": np.zeros(2)}
    with pytest.raises(OCDError, match="a column 'ocd_mean' already"):
        predictor(batch)


def test_a_dataset_of_the_hub_is_mapped(saved: Path) -> None:
    datasets = pytest.importorskip("datasets")
    inputs = test_digits(10).inputs
    made = datasets.Dataset.from_dict({"x": inputs.numpy()}).with_format("numpy")
    found = made.map(BatchPredictor(saved, digits_base), batched=True, batch_size=4)
    expected = fitted(MOVING).predict(inputs).mean
    np.testing.assert_allclose(np.asarray(found["ocd_mean"]), expected.numpy(), atol=1e-5)


def test_frames_are_mapped_as_spark_hands_them(saved: Path) -> None:
    inputs = test_digits(7).inputs
    rows = [row.numpy().ravel().tolist() for row in inputs]
    frames = [pd.DataFrame({"x": rows[:4], "id": range(4)}), pd.DataFrame({"x": [], "id": []})]
    frames.append(pd.DataFrame({"x": rows[4:], "id": range(4, 7)}, index=[9, 8, 7]))
    predictor = BatchPredictor(saved, digits_base)
    shaped = [
        frame.assign(x=[np.reshape(row, inputs.shape[1:]).tolist() for row in frame["x"]])
        for frame in frames
    ]
    found = pd.concat(list(predictor.pandas(iter(shaped))))
    assert found["id"].tolist() == list(range(7))
    expected = fitted(MOVING).predict(inputs).mean
    np.testing.assert_allclose(np.stack(found["ocd_mean"].tolist()), expected.numpy(), atol=1e-5)


def test_a_worker_that_is_killed_loses_nothing(table: tuple[LoadedRun, Path], tmp_path: Path) -> None:
    loaded, folder = table
    code = (
        "import os, sys, ocd; from pathlib import Path; from ocd.applying import ApplyOptions, "
        "apply_shard; from ocd.data import Shard; done = []\n"
        "def advance(rows):\n"
        "    done.append(rows)\n"
        "    if len(done) == 3: os._exit(9)\n"
        "options = ApplyOptions(Path(sys.argv[2]), Path(sys.argv[3]), part=7)\n"
        "apply_shard(ocd.load(sys.argv[1]), options, Shard(0, 2), advance)\n"
    )
    command = [sys.executable, "-c", code, str(loaded.run.root), str(folder / "new.csv")]
    killed = subprocess.run([*command, str(tmp_path / "parts")], check=False, env=dict(os.environ))
    assert killed.returncode == 9
    assert count_answered(tmp_path / "parts")[0] == 21
    options = ApplyOptions(folder / "new.csv", tmp_path / "parts", part=7)
    apply_shard(loaded, options, Shard(1, 2), advance)
    assert count_answered(tmp_path / "parts")[0] == 500
    numbers = [
        json.loads(p.read_text())["rows"] for p in sorted((tmp_path / "parts").glob("part-*.json"))
    ]
    assert numbers == [7] * 71 + [3]
