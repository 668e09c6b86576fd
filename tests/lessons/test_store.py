"""The store proves what it holds, and overwrites nothing that it did not make."""

from __future__ import annotations

import json

import pytest
import torch

from helpers import STORED, contents, prepared
from ocd import OCDError
from ocd.data import Shard, file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.lessons.store import DeltaStore

KEY = {"base": "a", "data": "b", "overfit": "c"}


def shard(first: int, rows: int) -> dict[str, torch.Tensor]:
    index = torch.arange(first, first + rows)
    return {"index": index, "delta.left": torch.stack([index * 2.0, index * 3.0], dim=1)}


def opened(folder, **changes) -> DeltaStore:
    return DeltaStore.open(folder, KEY | changes, 9, 4)


def filled(folder) -> DeltaStore:
    """Nine examples in units of four; example 4 was left out."""
    store = opened(folder)
    rows = {0: (shard(0, 4), []), 1: (shard(5, 3), [4]), 2: (shard(8, 1), [])}
    for unit in store.to_do(Shard()):
        store.write(unit, *rows[unit])
    store.finish()
    return store


def test_a_store_is_found_again_as_it_was_left(tmp_path):
    filled(tmp_path)
    again = opened(tmp_path)
    assert (len(again.reader()), again.num_done(), again.complete) == (8, 9, True)
    assert again.reader().skipped.tolist() == [4]
    assert again.reader().examples.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert not list(again.to_do(Shard()))
    for unit in range(3):
        marker = read_json(tmp_path / f"part-00000{unit}.json")
        path = tmp_path / f"part-00000{unit}.safetensors"
        assert file_digest(path) == marker["sha256"]
        rows = read_tensors(path)
        assert {name: list(value.shape) for name, value in rows.items()} == marker["shapes"]
    assert not list(tmp_path.glob("*.part"))


def test_rows_of_several_units_come_in_the_order_asked(tmp_path):
    reader = filled(tmp_path).reader()
    assert len(reader) == 8
    indices = torch.tensor([7, 0, 4, 3, 0, 6])
    rows = reader.rows(indices)
    assert rows["index"].tolist() == [8, 0, 5, 3, 0, 7]
    assert rows["delta.left"][:, 1].tolist() == [24, 0, 15, 9, 0, 21]
    at, found = reader.find(torch.tensor([8, 4, 0]))
    assert found.tolist() == [True, False, True]
    assert reader.rows(at[found])["index"].tolist() == [8, 0]


def test_a_unit_without_rows_has_a_marker_alone(tmp_path):
    store = DeltaStore.open(tmp_path, KEY, 3, 3)
    unit = next(store.to_do(Shard()))
    store.write(unit, shard(0, 0), [0, 1, 2])
    store.finish()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"units.json", ".units.json.lock", "part-000000.json", "complete.json"}
    assert len(store.reader()) == 0 and store.reader().skipped.tolist() == [0, 1, 2]


def test_a_reader_maps_some_files_at_a_time_and_checks_each_when_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.lessons.store.MOST_OPEN", 1)
    monkeypatch.setattr("ocd.lessons.store.CHECKED_AT_ONCE", 2)
    whole = filled(tmp_path)
    reader = whole.reader()
    assert reader.rows(torch.tensor([7, 0, 4]))["index"].tolist() == [8, 0, 5]
    assert len(reader._open) == 1
    flip(tmp_path / "part-000001.safetensors")
    later = whole.reader()  # nothing is read of a file that no row was asked of
    assert later.rows(torch.tensor([0, 7]))["index"].tolist() == [0, 8]
    with pytest.raises(OCDError, match="part-000001.safetensors is cut short or changed"):
        later.rows(torch.tensor([4]))


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cut short or changed"),
        (flip, "cut short or changed"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path, damage, message):
    store = filled(tmp_path)
    damage(tmp_path / "part-000001.safetensors")
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"part-000001.safetensors is {message}") as caught:
        store.reader()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", KEY)
def test_another_key_is_refused(tmp_path, name):
    filled(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"another run \\({name} is '{KEY[name]}', not 'x'\\)"):
        opened(tmp_path, **{name: "x"})
    assert contents(tmp_path) == before


def test_another_format_and_a_broken_file_are_refused(tmp_path):
    filled(tmp_path)
    path = tmp_path / "units.json"
    known = read_json(path)
    write_json(path, {"key": known["key"] | {"format_version": 99}})
    with pytest.raises(OCDError, match=r"another run \(format_version is 99, not 2\)"):
        opened(tmp_path)
    path.write_text(json.dumps(known)[:40])
    with pytest.raises(OCDError, match=r"units.json is not valid JSON \(line 1"):
        opened(tmp_path)
    path.unlink()
    write_json(tmp_path / "manifest.json", {"format_version": 1})
    with pytest.raises(OCDError, match="was written by an earlier version"):
        opened(tmp_path)


@pytest.mark.parametrize("write", [write_json, lambda path, value: write_tensors(path, value)])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(Exception, match=".+"):
        write(path, {"x": object()})
    assert path.read_text() == "old"


def test_tensors_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr("os.replace", lambda *_: calls.append("replace"))
    write_tensors(tmp_path / "file", shard(0, 2))
    assert calls == ["fsync", "replace"]


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "x").write_text("no tensors")
    for path, message in (
        (tmp_path / "x", "cannot be read as safetensors"),
        (tmp_path / "y", "missing"),
    ):
        with pytest.raises(OCDError, match=message) as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(OCDError, match="y is missing"):
        read_json(tmp_path / "y")


# The store of a fit


@pytest.mark.parametrize("damage", [cut, flip])
def test_training_refuses_a_damaged_shard_and_writes_nothing(tmp_path, damage):
    ocd, work, examples = prepared(tmp_path, STORED)
    damage(tmp_path / "deltas/part-000002.safetensors")
    before = contents(tmp_path)
    with pytest.raises(OCDError, match="part-000002.*overfit again"):
        ocd.train(examples, work, progress=False)
    assert contents(tmp_path) == before


def test_a_manifest_of_another_run_is_refused_by_every_verb(tmp_path):
    ocd, work, examples = prepared(tmp_path, STORED)
    path = tmp_path / "deltas/units.json"
    manifest = read_json(path)
    manifest["key"]["base"] = "0123"
    write_json(path, manifest)
    before = contents(tmp_path)
    for verb in (ocd.overfit, ocd.train):
        with pytest.raises(OCDError, match="holds deltas of another run"):
            verb(examples, work, progress=False)
    assert contents(tmp_path) == before


def test_training_before_the_store_is_complete_is_refused(tmp_path):
    ocd, work, examples = prepared(tmp_path, STORED)
    (tmp_path / "deltas/complete.json").unlink()
    with pytest.raises(OCDError, match="not complete: overfit first"):
        ocd.train(examples, work, progress=False)
