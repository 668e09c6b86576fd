"""Overfitted examples for the training loop: made or stored, they agree; a stop changes nothing."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from helpers import LOSS, PCA, STORED, config, contents, digits, digits_base, prepared, trainer_of
from ocd import OCD, Examples, OCDError, overfit
from ocd.data import read_json, read_tensors, seeded
from ocd.lessons import CollectionConfig, Workdir
from ocd.lessons.planning import measure_cost
from ocd.tasks.images.augmentation import image_transform
from ocd.tasks.images.encoder import ImageEncoder


class Stop(Exception):
    """Stands for a kill between two chunks."""


def make(settings, *, transform=None, encoder=None) -> OCD:
    return OCD(digits_base(), loss=LOSS, config=config(settings), transform=transform, encoder=encoder)


def sources(ocd: OCD, examples: Examples, work: Workdir):
    """The training loop's source of examples, and what makes them."""
    trainer = trainer_of(ocd, examples, work)
    return trainer.source, trainer.overfitter


@pytest.mark.parametrize("settings", [STORED, STORED | PCA], ids=["rank one", "dense"])
def test_store_holds_what_overfit_gives(tmp_path, settings):
    ocd, work, examples = prepared(tmp_path, settings, num_examples=37)
    expected = overfit(ocd.base, ocd.config.layer, LOSS, examples.inputs, examples.targets, lr=0.02)
    source, _ = sources(ocd, examples, work)
    indices = torch.tensor([36, 0, 17, 16, 3])
    rows = source.rows(indices, seeded(0))
    assert torch.allclose(rows.delta.dense()[:, 0], expected.dense()[indices], atol=1e-7)
    assert torch.equal(rows.inputs, examples.inputs[indices])
    assert torch.equal(rows.targets, examples.targets[indices])
    assert source.examples.tolist() == list(range(37))


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_on_the_fly_gives_what_the_store_gives(tmp_path, layer):
    given = {}
    for storage in ("store", "on_the_fly"):
        settings = {"collection.storage": storage, "layer": layer}
        ocd, work, examples = prepared(tmp_path / storage, settings, num_examples=30)
        source, _ = sources(ocd, examples, work)
        given[storage] = source.rows(torch.tensor([5, 29, 0]), seeded(0))
    one, other = given["store"], given["on_the_fly"]
    assert torch.allclose(one.delta.dense(), other.delta.dense(), atol=1e-7)
    assert one.features.keys() == other.features.keys()
    for name, values in one.features.items():
        assert torch.allclose(values, other.features[name], atol=1e-5)
    assert not (tmp_path / "on_the_fly/deltas").exists()


@pytest.mark.parametrize("settings", [STORED, STORED | PCA], ids=["rank one", "dense"])
def test_a_collection_that_was_stopped_ends_with_the_same_bytes(tmp_path, monkeypatch, settings):
    def run(folder, stop_after=None):
        ocd = make(settings | {"overfit.chunk_size": 7}, transform=image_transform(1, 0))
        seen = []

        def advance(rows):
            seen.append(rows)
            if stop_after is not None and sum(seen) > stop_after:
                raise Stop

        with monkeypatch.context() as patch:
            patch.setattr("ocd.lessons.collection.progress_bar", lambda *_: _Bar(advance))
            ocd.overfit(digits(60), Workdir(folder))
        return seen

    run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "stopped", stop_after=37)
    done = 16 * len(list((tmp_path / "stopped/deltas").glob("part-*.json")))
    assert 0 < done < 60
    assert not (tmp_path / "stopped/deltas/complete.json").exists()
    resumed = run(tmp_path / "stopped")
    assert resumed[0] == done  # what was done is not done again
    assert contents(tmp_path / "stopped/deltas") == contents(tmp_path / "whole/deltas")


class _Bar:
    def __init__(self, advance):
        self.advance = advance

    def __enter__(self):
        return self.advance

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize("encoder", [True, False])
def test_augmented_inputs_are_stored_with_their_deltas(tmp_path, encoder):
    """The dataset does not have them; without a transform it does, and the store keeps none."""
    examples = digits(20)
    net = ImageEncoder(1, 8, widths=(4, 4, 4), num_features=5) if encoder else None
    for name, transform in (("augmented", image_transform(1, 0)), ("plain", None)):
        ocd, work = make(STORED, transform=transform, encoder=net), Workdir(tmp_path / name)
        ocd.overfit(examples, work, progress=False)
        source, overfitter = sources(ocd, examples, work)
        rows = source.rows(torch.arange(20), seeded(0))
        assert torch.equal(rows.inputs, examples.inputs) is (transform is None)
        assert torch.equal(rows.targets, examples.targets)
        again = overfitter.frozen.capture(rows.inputs)
        assert torch.allclose(again.output, rows.features["output"], atol=1e-5)
        expected = overfitter.overfit(rows.inputs, rows.targets)
        assert torch.allclose(rows.delta.dense(), expected.dense(), atol=1e-6)
        stored = read_tensors(work.deltas / "part-000000.safetensors")
        assert ("inputs" in stored) is ("targets" in stored) is (transform is not None)


def jumble(inputs, generator):
    """Whatever a batch is augmented by, all of its examples alike: the worst for chunks."""
    return inputs + 0.1 * torch.randn(1, generator=generator)


@pytest.mark.parametrize("transform", [None, jumble], ids=["plain", "augmented"])
def test_a_lesson_depends_neither_on_the_chunk_nor_on_what_was_made_before(tmp_path, transform):
    """In other chunks to rounding; in the same ones, bit by bit, whatever the process did before."""
    found = {}
    for name, settings in {
        "whole": {}, "small": {"overfit.chunk_size": 5}, "units": {"collection.shard_rows": 10},
    }.items():  # fmt: skip
        ocd, work = make(STORED | settings, transform=transform), Workdir(tmp_path / name)
        ocd.overfit(digits(40), work, progress=False)
        source, _ = sources(ocd, digits(40), work)
        found[name] = source.rows(torch.arange(40), seeded(0))
    for other in ("small", "units"):
        assert torch.allclose(found["whole"].inputs, found[other].inputs, atol=1e-6)
        one, two = found["whole"].delta.dense(), found[other].delta.dense()
        assert torch.allclose(one, two, atol=1e-6), other
    ocd, work = make(STORED, transform=transform), Workdir(tmp_path / "again")
    ocd.overfit(digits(40), work, progress=False)
    before = contents(work.deltas)
    for unit in (0, 2):  # a process that makes these alone
        (work.deltas / f"part-00000{unit}.json").unlink()
    (work.deltas / "complete.json").unlink()
    again = make(STORED, transform=transform)
    again.overfit(digits(40), Workdir(tmp_path / "again"), progress=False)
    assert contents(work.deltas) == before


def test_what_a_selection_asked_of_the_base_does_not_change_the_lessons(tmp_path):
    """The layer is chosen in another batch of the base, which rounds otherwise."""
    settings = STORED | {"layer": "auto", "selection.num_examples": 7, "selection.num_draws": 3}
    for name in ("one", "two"):
        make(settings).fit(digits(40), Workdir(tmp_path / name), progress=False)
    stored = tmp_path / "two/deltas"
    before = contents(stored)
    for path in (*stored.rglob("part-*.json"), *stored.rglob("complete.json")):
        path.unlink()  # the plan is there: what a second process begins with
    make(settings).overfit(digits(40), Workdir(tmp_path / "two"), progress=False)
    assert contents(stored) == before == contents(tmp_path / "one/deltas")


@pytest.mark.parametrize("storage", ["store", "on_the_fly"])
def test_of_more_examples_than_are_wanted_some_are_taken(tmp_path, storage):
    settings = {"collection.storage": storage, "collection.max_examples": 30, "seed": 3}
    ocd, work = make(settings), Workdir(tmp_path)
    ocd.fit(digits(100), work, progress=False)
    assert any("made of 30 of 100 examples" in note for note in ocd.notes)
    source, overfitter = sources(ocd, digits(100), work)
    assert len(source.examples) == 30
    inputs, _ = overfitter.problem.fetch(torch.arange(30))
    places = [int((digits(100).inputs == row).flatten(1).all(1).nonzero()[0]) for row in inputs]
    assert places == sorted(set(places)) and places[-1] > 60
    assert all("max_examples" not in note for note in make({}).fit(digits(40), progress=False).notes)


class Pair(nn.Module):
    """A base with two inputs, as a tuple or by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x, y):
        return self.second((self.first(x) + y).relu())


@pytest.mark.parametrize("form", [tuple, dict])
def test_tuples_and_dicts_survive_the_store(tmp_path, form):
    x, y = torch.randn(30, 4), torch.randn(30, 6)
    inputs = (x, y) if form is tuple else {"x": x, "y": y}
    examples = Examples(inputs, torch.randint(3, (30,)))

    class Encoder(nn.Module):
        def forward(self, x, y):
            return x

    ocd = OCD(
        Pair(), loss=LOSS, config=config(STORED | {"layer": "first"}), encoder=Encoder(),
        transform=lambda inputs, generator: inputs,
    )  # fmt: skip
    work = Workdir(tmp_path)
    ocd.overfit(examples, work, progress=False)
    source, _ = sources(ocd, examples, work)
    rows = source.rows(torch.tensor([29, 2]), seeded(0)).inputs
    assert isinstance(rows, form)
    names = ["x", "y"] if form is dict else [0, 1]
    for name in names:
        assert torch.equal(rows[name], inputs[name][[29, 2]])


@pytest.mark.parametrize("storage", ["store", "on_the_fly"])
def test_examples_that_are_not_finite_are_left_out_and_counted(tmp_path, storage):
    examples = digits(40)
    inputs = examples.inputs.clone()
    inputs[7] = torch.nan
    broken = Examples(inputs, examples.targets)
    ocd, work = make({"collection.storage": storage}), Workdir(tmp_path)
    ocd.overfit(broken, work, progress=False)
    source, overfitter = sources(ocd, broken, work)
    rows = source.rows(torch.arange(len(source.examples)), seeded(0))
    assert rows.delta.isfinite().all()
    assert len(rows.targets) == 39
    assert torch.equal(rows.targets, examples.targets[[i for i in range(40) if i != 7]])
    if storage == "store":
        assert read_json(tmp_path / "deltas/complete.json")["skipped"] == [7]
        assert 7 not in source.examples
    else:
        assert overfitter.skipped == {7}


def test_too_many_that_are_not_finite_are_refused_each_time(tmp_path):
    examples = digits(40)
    inputs = examples.inputs.clone()
    inputs[::10] = torch.nan  # a tenth
    broken = Examples(inputs, examples.targets)
    settings = {"collection.storage": "store", "collection.shard_rows": 8}
    for _ in range(4):  # each time the units go on, and nothing is done in the end
        with pytest.raises(OCDError, match="that is not finite"):
            make(settings).overfit(broken, Workdir(tmp_path), progress=False)
    assert not (tmp_path / "deltas/complete.json").exists()


def test_a_batch_of_bad_examples_alone_is_empty(tmp_path):
    examples = digits(40)
    inputs = examples.inputs.clone()
    inputs[7] = torch.nan
    broken = Examples(inputs, examples.targets)
    ocd, work = make({"collection.storage": "on_the_fly"}), Workdir(tmp_path)
    ocd.overfit(broken, work, progress=False)
    source, overfitter = sources(ocd, broken, work)
    overfitter.skipped.clear()
    assert len(source.rows(torch.tensor([7]), seeded(0))) == 0
    assert len(source.rows(torch.tensor([6, 7]), seeded(0))) == 1
    assert overfitter.skipped == {7}


@pytest.mark.parametrize("storage", ["store", "on_the_fly"])
def test_too_many_bad_examples_stop_the_run(tmp_path, storage):
    inputs = digits(40).inputs.clone()
    inputs[10:15] = torch.nan
    broken = Examples(inputs, digits(40).targets)
    ocd = make({"collection.storage": storage})
    with pytest.raises(OCDError, match=r"5 of 40 examples .*not finite \(examples 10, 11, 12"):
        ocd.fit(broken, Workdir(tmp_path), progress=False)


@pytest.mark.parametrize(("limit", "storage"), [(1e9, "on_the_fly"), (0.0, "store")])
def test_storage_is_chosen_by_measured_cost_and_said(tmp_path, monkeypatch, limit, storage):
    monkeypatch.setattr("ocd.lessons.planning.ON_THE_FLY_COST", limit)
    augmented = make({"collection.storage": "auto"}, transform=lambda inputs, generator: inputs + 0.1)
    augmented.overfit(digits(100), Workdir(tmp_path), progress=False)
    record = read_json(tmp_path / "checkpoint/plan.json")
    assert record["plan"]["storage"] == storage
    assert any("overfitting costs" in note for note in record["notes"])
    notes = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [note["text"] for note in notes] == record["notes"]


def test_without_augmentation_deltas_are_made_once(tmp_path):
    prepared(tmp_path, {"collection.storage": "auto"})
    record = read_json(tmp_path / "checkpoint/plan.json")
    assert record["plan"]["storage"] == "store"
    assert any("examples are not augmented" in note for note in record["notes"])


def test_cost_is_in_units_of_a_forward_pass_by_medians(tmp_path, monkeypatch):
    ocd, work, examples = prepared(tmp_path)
    _, overfitter = sources(ocd, examples, work)
    clock = iter([0, 1, 4, 4, 6, 14, 14, 17, 20])  # forward 1, 2, 3 seconds; overfitting 3, 8, 3
    monkeypatch.setattr("ocd.lessons.planning._now", lambda device: next(clock))
    assert measure_cost(overfitter, num_examples=64) == 1.5
    assert next(clock, None) is None


def test_seeds_are_functions_of_their_numbers():
    def first(*numbers: int) -> float:
        return torch.rand(1, generator=seeded(*numbers)).item()

    indices = [(a, b) for a in range(20) for b in range(20)]
    assert len({first(*place) for place in indices}) == len(indices)
    assert first(3, 4, 5) == first(3, 4, 5)
    assert len({first(3, 4), first(4, 3), first(3, 4, 0), first(0, 3, 4)}) == 4


@pytest.mark.parametrize(("name", "value", "least"), [("shard_rows", 0, 1), ("num_workers", -1, 0)])
def test_impossible_counts_are_refused(name, value, least):
    message = f"collection.{name} is {value}: it must be at least {least}"
    with pytest.raises(OCDError, match=message):
        CollectionConfig(**{name: value})
