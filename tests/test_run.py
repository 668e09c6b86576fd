"""Run folders: killed and started again, they end with the same weights, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from helpers import DIGITS, contents
from ocd import Examples, OCDError
from ocd.cli import main
from ocd.config import settings_of
from ocd.files import read_json
from ocd.run import Run
from ocd.store import read_tensors
from ocd.tasks.base import TaskData
from ocd.tasks.settings import RunOptions, read_settings
from test_tasks import write_mnist

SMALL = {
    "train_size": 60,
    "test_size": 20,
    "base_epochs": 1,
    "alternative": False,
    "layer": "fc1",
    "overfit.lr": 0.02,
    "collection.storage": "on_the_fly",
    "selection.num_draws": 4,
    "selection.num_examples": 4,
    "denoiser.width": 32,
    "denoiser.num_blocks": 1,
    "training.num_steps": 10,
    "training.task_loss_weight": 0.5,
    "training.batch_size": 16,
    "training.checkpoint_every": 5,
    "training.validate_every": 5,
    "training.log_every": 5,
}
"""A run of digits that takes a second."""

KILLED = SMALL | {
    "train_size": 400,
    "collection.shard_rows": 4,
    "training.num_steps": 100,
    "training.validate_every": 50,
}
"""Long enough to be killed in the middle."""


def make(root: Path, settings: dict | None = None, task: str = "digits", **arguments) -> Run:
    merged = SMALL | (settings or {})
    return Run.create(task, root, settings={k: str(v) for k, v in merged.items()}, **arguments)


# kill -9


def ocd_run(root: Path, settings: dict) -> None:
    """What a process of its own does: `ocd run digits --out root ...`."""
    torch.set_num_threads(1)
    pairs = [part for item in settings.items() for part in ("--set", f"{item[0]}={item[1]}")]
    sys.argv = ["ocd", "run", "digits", "--out", str(root), "--stop-after", "train", *pairs]
    with (root.parent / "stderr.txt").open("w") as errors, contextlib.redirect_stderr(errors):
        main()


def start(how: str, root: Path, settings: dict) -> BaseProcess:
    process = multiprocessing.get_context(how).Process(target=ocd_run, args=(root, settings))
    process.start()
    return process


def kill_when(process: BaseProcess, ready: Callable[[], bool]) -> None:
    """SIGKILL as soon as `ready`."""
    stop_at = time.monotonic() + 120
    while not ready():
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < stop_at, "it never came to the place where it is killed"
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def finish(process: BaseProcess, root: Path) -> None:
    process.join(timeout=300)
    assert process.exitcode == 0, (root.parent / "stderr.txt").read_text()


def collected(root: Path) -> int:
    path = root / "deltas/seed-0/manifest.json"
    return read_json(path)["next_example"] if path.exists() else 0


def events(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


# A forked process has its imports already; one that is spawned begins as the command does.
@pytest.mark.parametrize("how", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("storage", ["store", "on_the_fly"])
def test_killed_and_started_again_ends_with_the_same_weights(tmp_path, storage, how):
    settings = KILLED | {"collection.storage": storage}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = make(whole, settings)
    run.train(0)  # never interrupted

    if storage == "store":
        kill_when(start(how, killed, settings), lambda: collected(killed) >= 40)
        assert collected(killed) < 400
        assert not (killed / "checkpoint/seed-0/training.pt").exists()
        first = (killed / "deltas/seed-0/shard-00000.safetensors").stat().st_mtime_ns
    with (killed / "metrics.jsonl").open("a") if killed.exists() else open(os.devnull, "w") as log:
        log.write('{"event": "train", "se')  # a line that was being written

    kill_when(start(how, killed, settings), (killed / "checkpoint/seed-0/training.pt").exists)
    assert not (killed / "checkpoint/seed-0/config.json").exists()
    finish(start(how, killed, settings), killed)

    weights = "checkpoint/seed-0/model.safetensors"
    expected, found = read_tensors(whole / weights), read_tensors(killed / weights)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert (whole / weights).read_bytes() == (killed / weights).read_bytes()
    # It went on, and did not begin again: each early step was taken once.
    steps = [event["step"] for event in events(killed) if event["event"] == "train"]
    assert steps.count(5) == 1
    assert sorted(set(steps)) == list(range(5, 101, 5))
    if storage == "store":
        assert (killed / "deltas/seed-0/shard-00000.safetensors").stat().st_mtime_ns == first
        assert contents(killed / "deltas") == contents(whole / "deltas")
    assert not list(killed.rglob("*.part"))


# The verbs


def test_every_verb_goes_on_where_it_was_stopped(tmp_path):
    run = make(tmp_path)
    seen = {}
    for verb in ("select", "overfit", "train", "predict"):
        getattr(run, verb)(0)
        seen[verb] = contents(tmp_path)
        for again in list(seen):
            getattr(make(tmp_path), again)(0)  # each earlier verb has nothing left to do
        now = contents(tmp_path)
        changed = {name for name in seen[verb] if seen[verb][name] != now[name]}
        assert changed <= {"metrics.jsonl"}, verb
        seen[verb] = now
    assert "selection/seed-0.json" in seen["select"]
    assert not any(name.startswith(("deltas", "checkpoint")) for name in seen["select"])
    assert "checkpoint/seed-0/decisions.json" in seen["overfit"]
    assert "checkpoint/seed-0/model.safetensors" in seen["train"]
    assert not any(name.startswith("predictions") for name in seen["train"])
    assert "predictions/seed-0.json" in seen["predict"]


def test_a_verb_does_what_it_needs_first(tmp_path):
    run = make(tmp_path)
    run.do("predict")
    results = run.report()
    assert results["methods"].keys() >= {"base", "ocd", "ocd_ensemble_5", "overfit_test"}
    assert results["seeds"] == [0]
    assert results["layer"] == "fc1"
    assert all(results["seconds"][phase] > 0 for phase in ("base", "select", "train", "predict"))


def test_seeds_differ_in_training_and_may_be_added(tmp_path):
    make(tmp_path).do("train")
    run = make(tmp_path, seeds=(1,))
    assert run.seeds == [0, 1] == Run.open(tmp_path).seeds
    run.do("train")
    for seed in (0, 1):
        saved = read_json(tmp_path / f"checkpoint/seed-{seed}/config.json")
        assert saved["config"]["seed"] == seed
    first, second = (
        read_tensors(tmp_path / f"checkpoint/seed-{seed}/model.safetensors") for seed in (0, 1)
    )
    assert any(not torch.equal(first[name], second[name]) for name in first)
    again = make(tmp_path / "again", seeds=(1,))
    again.do("train")
    found = read_tensors(tmp_path / "again/checkpoint/seed-1/model.safetensors")
    assert all(torch.equal(found[name], second[name]) for name in found)  # alone or after another


def test_the_second_best_layer_is_fitted_too(tmp_path):
    run = make(tmp_path, {"alternative": True, "layer": "auto"})
    run.do("train")
    selection = read_json(tmp_path / "selection/seed-0.json")
    order = sorted(selection["names"], key=lambda n: -selection["scores"][selection["names"].index(n)])
    assert [selection["chosen"], selection["alternative"]] == order[:2]
    for member, role in (("seed-0", "chosen"), ("seed-0-alternative", "alternative")):
        saved = read_json(tmp_path / f"checkpoint/{member}/config.json")
        assert saved["layer"] == selection[role]
    roles = {event["role"] for event in events(tmp_path) if event["event"] == "train"}
    assert roles == {"main", "alternative"}


def test_examples_can_be_kept_from_the_base(tmp_path):
    run = make(tmp_path, {"held_out": 0.25})
    pixels = [{image.numpy().tobytes() for image in part.inputs} for part in
              (run.base_examples, run.examples, run.data.train)]  # fmt: skip
    assert (len(run.base_examples), len(run.examples)) == (45, 15)
    assert not pixels[0] & pixels[1]
    assert pixels[0] | pixels[1] == pixels[2]
    seen = []
    task = dataclasses.replace(run.task, train_base=lambda base, data, *_: seen.append(len(data.train)))
    dataclasses.replace(run, task=task).base(0)
    assert seen == [45]


def test_base_is_trained_once_and_kept(tmp_path):
    first = make(tmp_path).base(0)
    weights = read_tensors(tmp_path / "base/seed-0.safetensors")
    again = make(tmp_path).base(0)
    for name, value in again.state_dict().items():
        assert torch.equal(value, weights[name])
        assert torch.equal(value, first.state_dict()[name])
    assert [event["phase"] for event in events(tmp_path)] == ["base"]


def test_mnist_survives_a_tiny_run(tmp_path):
    write_mnist(tmp_path / "data")
    small = {"train_size": 12, "test_size": 7, "training.batch_size": 4, "alternative": True}
    run = make(tmp_path / "run", small, "mnist", data_dir=tmp_path / "data")
    run.do("predict")
    results = run.report()
    assert results["examples"] == {"train": 12, "test": 7}
    assert {"base", "ocd", "ocd_mean", "overfit_test", "nearest_neighbor", "no_scale",
            "alternative_layer"} <= results["methods"].keys()  # fmt: skip


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_presets_survive_a_tiny_run(tmp_path, preset):
    settings = {
        "layer": "conv1",
        "denoiser.channels": 8,
        "denoiser.multipliers": "1,2",
        "denoiser.attention_sizes": "5",
        "training.num_steps": 3,
        "training.batch_size": 2,
        "training.num_accumulated": 1,
        "training.task_loss_weight": 0,
    }
    run = make(tmp_path, settings, preset=preset)
    assert not run.run_options.encode_x and not run.run_options.augment  # theirs have neither
    run.do("predict")
    methods = read_json(tmp_path / "predictions/seed-0.json")["methods"]
    assert {"ocd", "ocd_ensemble_5", "no_scale"} <= methods.keys()
    assert "ocd_mean" not in methods  # these two predict the noise


# What a run refuses


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"training.num_steps": 11}, "training.num_steps 10 -> 11"),
        ({"train_size": 50}, "train_size 60 -> 50"),
        ({"num_draws": 3}, "num_draws 5 -> 3"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path, changed, message):
    make(tmp_path).base(0)
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"holds another run \\({message}\\): give another --out"):
        make(tmp_path, changed)
    with pytest.raises(OCDError, match=r"holds another run .*'fast' -> 'paper'|holds another run"):
        make(tmp_path, preset="paper")
    assert contents(tmp_path) == before
    assert make(tmp_path).seeds == [0]  # the same one is welcome


def test_a_wrong_layer_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(OCDError, match="no layer 'fc9'; did you mean"):
        make(tmp_path / "new", {"layer": "fc9"})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_task_without_examples_is_refused(tmp_path, monkeypatch, part):
    def load(options, data_dir):
        data = DIGITS.load(options, data_dir)
        empty = Examples(data.train.inputs[:0], data.train.targets[:0])
        return dataclasses.replace(data, **{part: empty})

    monkeypatch.setattr("ocd.run.get_task", lambda name: dataclasses.replace(DIGITS, load=load))
    with pytest.raises(OCDError, match="digits has no examples"):
        make(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert isinstance(load(DIGITS.options(), None), TaskData)


@pytest.mark.parametrize("wrong", [{"num_draws": 0}, {"held_out": 1.0}, {"held_out": -0.1}])
def test_impossible_options_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(OCDError, match=f"{name} is"):
        RunOptions(**wrong)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(OCDError, match="is no run folder .*: start with `ocd run`"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text('{"format_version": 1}')
    with pytest.raises(OCDError, match="is not a run of format 1"):
        Run.open(tmp_path)


def test_an_opened_run_is_the_one_that_was_made(tmp_path):
    made = make(tmp_path, {"held_out": 0.5, "denoiser.multipliers": "1,2"}, seeds=(2, 1))
    opened = Run.open(tmp_path)
    for name in ("preset", "seeds", "options", "run_options", "config", "data_dir"):
        assert getattr(opened, name) == getattr(made, name), name


def test_settings_find_their_home():
    settings = {"train_size": "30", "num_draws": "7", "training.num_steps": "8"}
    options, run_options, config = read_settings(DIGITS, "fast", settings)
    assert (options.train_size, run_options.num_draws, config.training.num_steps) == (30, 7, 8)
    own = dict(settings_of(read_settings(DIGITS, "fast", {})[2]))
    assert {key: own[key] for key in DIGITS.settings} == DIGITS.settings
    assert read_settings(DIGITS, "paper", {})[2].training.lr == 1e-4
    with pytest.raises(OCDError, match="no setting 'train_sise'; did you mean 'train_size'"):
        read_settings(DIGITS, "fast", {"train_sise": "3"})
    with pytest.raises(OCDError, match="train_size is 'x': it must be"):
        read_settings(DIGITS, "fast", {"train_size": "x"})
