"""Predictions of a dataset in a folder: the same bits by any number of processes, and as `predict`."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from helpers import TINY, contents, fitted, test_digits
from ocd import OCD, OCDError, StoredPredictions
from ocd.data import num_rows


@pytest.mark.parametrize("kind", TINY)
def test_they_are_what_predict_gives(tmp_path: Path, kind: str) -> None:
    tiny = TINY[kind]
    ocd = tiny.ocd().fit(tiny.examples(40), progress=False)
    inputs = tiny.inputs(23, seed=3)
    expected = ocd.predict(inputs, draws=3, seed=1)
    stored = ocd.predict_to(
        tmp_path, inputs, draws=3, seed=1, unit_rows=5, keep_draws=True, progress=False
    )
    rows = stored.rows()
    assert len(stored) == num_rows(inputs) == len(rows["mean"]) and stored.num_units == 5
    for name in ("mean", "std", "mean_network", "base"):
        torch.testing.assert_close(rows[name], getattr(expected, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["outputs"].transpose(0, 1), expected.outputs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["scale"].T, expected.scale, rtol=1e-4, atol=1e-5)
    assert torch.equal(stored.rows(slice(4, 12))["mean"], rows["mean"][4:12])
    assert [start for start, _ in stored.parts()] == [0, 5, 10, 15, 20]
    assert torch.equal(torch.cat([part["std"] for _, part in stored.parts()]), rows["std"])


def part(ocd: OCD, folder: Path, shard: str) -> None:
    torch.set_num_threads(1)
    ocd.predict_to(folder, test_digits(), draws=2, unit_rows=3, shard=shard, progress=False)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_several_processes_predict_to_the_same_bits(tmp_path: Path, count: int) -> None:
    ocd = fitted()
    part(ocd, tmp_path / "one", "1/1")
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=part, args=(ocd, tmp_path / "many", f"{number}/{count}"))
        for number in range(1, count + 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert len(StoredPredictions.open(tmp_path / "many")) == 40


class Counted(Dataset):
    """Images one by one; `seen` is how many were read."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.seen, self.stop_at = 0, stop_at

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        self.seen += 1
        if self.seen > self.stop_at:
            raise KeyboardInterrupt
        return test_digits().inputs[index]


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    ocd = fitted()
    with pytest.raises(KeyboardInterrupt):
        ocd.predict_to(tmp_path / "a", Counted(30), unit_rows=8, progress=False)
    with pytest.raises(OCDError, match="lacks 3 of 5 parts: call predict_to again"):
        StoredPredictions.open(tmp_path / "a")
    again = Counted()
    ocd.predict_to(tmp_path / "a", again, unit_rows=8, progress=False)
    assert again.seen < 40  # three units of five, and a few to know the inputs again
    ocd.predict_to(tmp_path / "b", test_digits(), unit_rows=8, progress=False)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_other_predictions_are_not_gone_on_with(tmp_path: Path) -> None:
    ocd = fitted()
    ocd.predict_to(tmp_path, test_digits(), draws=2, progress=False)
    before = contents(tmp_path)
    for change in ({"draws": 3}, {"seed": 1}, {"unit_rows": 7}, {"keep_draws": True}):
        with pytest.raises(OCDError, match="holds other predictions"):
            ocd.predict_to(tmp_path, test_digits(), **{"draws": 2, "progress": False, **change})
    with pytest.raises(OCDError, match=r"holds other predictions \(inputs differ\)"):
        ocd.predict_to(tmp_path, test_digits().inputs + 1, draws=2, progress=False)
    with pytest.raises(OCDError, match=r"\(generator differ\)"):
        fitted({"seed": 5}).predict_to(tmp_path, test_digits(), draws=2, progress=False)
    assert contents(tmp_path) == before


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    stored = fitted().predict_to(tmp_path, test_digits(), draws=2, unit_rows=8, progress=False)
    path = tmp_path / "part-00002.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))
    stored.rows(slice(0, 8))
    with pytest.raises(OCDError, match="part-00002.safetensors is cut short or changed"):
        stored.rows()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit_rows": 0}, "unit_rows is 0"), ({"shard": "5/4"}, "must be I/N"),
        ({"mode": "modes"}, "mode is"), ({"draws": 0}, "draws is 0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(OCDError, match=message):
        fitted().predict_to(tmp_path / "x", test_digits(), progress=False, **arguments)
    assert not (tmp_path / "x").exists()
    stored = fitted().predict_to(tmp_path / "y", test_digits(3), progress=False)
    with pytest.raises(OCDError, match="rows are asked for as a slice"):
        stored.rows(slice(0, 3, 2))
