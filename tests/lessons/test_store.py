"""The store proves what it holds, and overwrites nothing that it did not make."""

from __future__ import annotations

import json

import pytest
import torch

from helpers import STORED, contents, prepared
from ocd import OCDError
from ocd.data import file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.lessons.store import DeltaStore

KEY = {"base": "a", "data": "b", "overfit": "c"}


def shard(first: int, rows: int) -> dict[str, torch.Tensor]:
    index = torch.arange(first, first + rows)
    return {"index": index, "delta.left": torch.stack([index * 2.0, index * 3.0], dim=1)}


def filled(folder) -> DeltaStore:
    store = DeltaStore.open(folder, KEY)
    store.append(shard(0, 4), 5, [4])
    store.append(shard(5, 3), 8, [])
    store.append(shard(8, 1), 9, [])
    store.finish()
    return store


def test_a_store_is_found_again_as_it_was_left(tmp_path):
    filled(tmp_path)
    again = DeltaStore.open(tmp_path, KEY)
    assert (len(again), again.next_example, again.skipped, again.complete) == (8, 9, [4], True)
    manifest = read_json(tmp_path / "manifest.json")
    for entry in manifest["shards"]:
        assert file_digest(tmp_path / entry["file"]) == entry["sha256"]
        rows = read_tensors(tmp_path / entry["file"])
        assert {name: list(value.shape) for name, value in rows.items()} == entry["shapes"]
    assert not list(tmp_path.glob("*.part"))


def test_rows_of_several_shards_come_in_the_order_asked(tmp_path):
    reader = filled(tmp_path).reader()
    assert len(reader) == 8
    indices = torch.tensor([7, 0, 4, 3, 0, 6])
    rows = reader.rows(indices)
    assert rows["index"].tolist() == [8, 0, 5, 3, 0, 7]
    assert rows["delta.left"][:, 1].tolist() == [24, 0, 15, 9, 0, 21]


def test_a_shard_without_rows_is_not_written(tmp_path):
    store = DeltaStore.open(tmp_path, KEY)
    store.append(shard(0, 0), 3, [0, 1, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert DeltaStore.open(tmp_path, KEY).next_example == 3


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
    damage(tmp_path / "shard-00001.safetensors")
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"shard-00001.safetensors is {message}") as caught:
        store.reader()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", KEY)
def test_another_key_is_refused(tmp_path, name):
    filled(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"another run \\({name} is '{KEY[name]}', not 'x'\\)"):
        DeltaStore.open(tmp_path, KEY | {name: "x"})
    assert contents(tmp_path) == before


def test_another_format_and_a_broken_manifest_are_refused(tmp_path):
    filled(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = read_json(path)
    write_json(path, manifest | {"format_version": 99})
    with pytest.raises(OCDError, match="has format 99"):
        DeltaStore.open(tmp_path, KEY)
    path.write_text(json.dumps(manifest)[:40])
    with pytest.raises(OCDError, match=r"manifest.json is not valid JSON \(line 1"):
        DeltaStore.open(tmp_path, KEY)


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
    damage(tmp_path / "deltas/shard-00002.safetensors")
    before = contents(tmp_path)
    with pytest.raises(OCDError, match="shard-00002.*overfit again"):
        ocd.train(examples, work, progress=False)
    assert contents(tmp_path) == before


def test_a_manifest_of_another_run_is_refused_by_every_verb(tmp_path):
    ocd, work, examples = prepared(tmp_path, STORED)
    path = tmp_path / "deltas/manifest.json"
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
    path = tmp_path / "deltas/manifest.json"
    write_json(path, read_json(path) | {"complete": False})
    with pytest.raises(OCDError, match="not complete: overfit first"):
        ocd.train(examples, work, progress=False)
