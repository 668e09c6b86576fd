"""The record of a fit: read back as it was written, and known by everything that the fit depends on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from helpers import LOSS, config, digits, digits_base
from ocd import Examples, OCDConfig, OCDError
from ocd.base import Way
from ocd.config import settings_of
from ocd.data import read_json
from ocd.lessons import FitRecord, Plan, Problem, Workdir, make_plan
from ocd.lessons.record import fit_key

PLAN = Plan("fc1", Way("shift", widen=True), 0.02, "rank_one", "rank_one", "on_the_fly")


def problem(**changes: object) -> Problem:
    return dataclasses.replace(Problem(digits_base(), LOSS, digits(20)), **changes)


def opened(root: Path, settings: OCDConfig | None = None) -> FitRecord:
    return FitRecord.open(Workdir(root), problem(), (settings or config()).to_dict())


@pytest.mark.parametrize("plan", [None, PLAN])
@pytest.mark.parametrize("layer", [None, "fc1"])
def test_a_record_is_read_back_as_it_was_saved(tmp_path, layer, plan):
    record = opened(tmp_path)
    assert (record.layer, record.plan, record.notes) == (None, None, [])
    record.layer, record.plan = layer, plan
    record.note("one", "two")
    record.save()
    assert opened(tmp_path) == record


def test_a_note_is_taken_and_logged_once(tmp_path):
    record = opened(tmp_path)
    record.note("one", "two", "one")
    record.note("two")
    assert record.notes == ["one", "two"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["one", "two"]


def test_a_plan_is_what_it_is():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.lr = 0.1  # type: ignore[misc]


def test_the_plan_of_a_fit_says_why():
    plan, notes = make_plan(problem(), "fc1", config().lessons)
    assert plan == PLAN
    starts = ["layer fc1 moves by a shift of its output", "overfit lr 0.02: ", "code rank_one: "]
    assert all(note.startswith(start) for note, start in zip(notes, starts, strict=True))


@pytest.mark.parametrize("key", [key for key, _ in settings_of(OCDConfig())])
def test_every_setting_is_in_the_key(key):
    """And the deltas of a store depend on those of the layer, the seed, Eq. 1 and the store alone."""
    settings = config().to_dict()
    before = fit_key(problem(), settings)
    group, _, name = key.rpartition(".")
    (settings[group] if group else settings)[name] = "another"
    after = fit_key(problem(), settings)
    assert after["config"] != before["config"] and after["all"] != before["all"]
    of_deltas = key in ("layer", "seed") or group in ("overfit", "collection")
    assert (after["overfit"] != before["overfit"]) is of_deltas


def test_what_is_not_a_setting_is_in_the_key_too():
    other = digits_base()
    other.fc2.bias.data += 1
    examples = digits(20)
    moved = Examples(examples.inputs.clone(), examples.targets)
    moved.inputs[3, 0, 2, 2] += 1
    changes = {
        "base": {"base": other},
        "data": {"dataset": moved},
        "parts": {"encoder": torch.nn.Linear(2, 3)},
        "made_by": {"transform": lambda inputs, generator: inputs},
    }
    before = fit_key(problem(), config().to_dict())
    assert fit_key(problem(), config().to_dict()) == before
    for name, change in changes.items():
        after = fit_key(problem(**change), config().to_dict())
        different = {key for key in before if before[key] != after[key]}
        assert different == {name, "all"} | ({"parts"} if name == "made_by" else set())


def test_a_damaged_record_is_named(tmp_path):
    record = opened(tmp_path)
    record.save()
    assert read_json(record.work.plan)["plan"] is None
    record.work.plan.write_text('{"key": ')
    with pytest.raises(OCDError, match="plan.json is not valid JSON"):
        opened(tmp_path)
