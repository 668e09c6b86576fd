"""Run folders: killed and started again, they end with the same weights, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from helpers import DIGITS, contents
from mnist_files import write_mnist
from ocd import Examples, OCDError
from ocd.baselines import TRAINED
from ocd.cli import main
from ocd.config import settings_of
from ocd.data import read_json, read_tensors, write_json
from ocd.evaluation import TrainingData
from ocd.runs import Run, audit_run
from ocd.runs.baselines import base_jobs, new_base
from ocd.runs.comparing import make_comparison
from ocd.runs.phases import do_jobs
from ocd.runs.same import FORMAT_VERSION
from ocd.runs.settings import RunOptions, read_settings
from ocd.tasks import TaskData
from ocd.training import Trainer
from small_run import SMALL, shrink

ALL = SMALL | {"alternative": True, "baselines": "all"}
"""With everything that OCD is compared with."""

KILLED = SMALL | {
    "train_size": 400,
    "collection.shard_rows": 4,
    "training.num_steps": 100,
    "training.validate_every": 50,
}
"""Long enough to be killed in the middle."""


METHODS = {
    "base", "ocd", "ocd_ensemble_5", "ocd_mean_network_5", "ocd_mean", "ocd_without_correction_5",
    "correction_only", "no_scale", "alternative_layer",
    "alternative_layer_ensemble_5", "nearest_neighbor", "mean_delta", "random_direction",
    "delta_regression", "fine_tuned_layer", "fine_tuned_base", "label_head", "label_network", "tent_1",
    "tent_10",
    "tent_30", "temperature", "laplace", "deep_ensemble_2", "overfit_test", "overfit_test_all_layers",
}  # fmt: skip


def make(root: Path, settings: dict | None = None, task: str = "digits", **arguments) -> Run:
    merged = SMALL | (settings or {})
    return Run.create(task, root, settings={k: str(v) for k, v in merged.items()}, **arguments)


# kill -9


def ocd_run(root: Path, settings: dict) -> None:
    """What a process of its own does: `ocd run digits --out root ...`."""
    torch.set_num_threads(1)
    shrink(pytest.MonkeyPatch())  # a process that is spawned has no fixtures
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
    return sum(read_json(path)["rows"] for path in (root / "deltas/seed-0").glob("part-*.json"))


def events(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def roles(root: Path) -> set[str]:
    """Whose training the log has."""
    return {event["role"] for event in events(root) if event["event"] == "train"}


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
        first = (killed / "deltas/seed-0/part-000000.safetensors").stat().st_mtime_ns
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
        assert (killed / "deltas/seed-0/part-000000.safetensors").stat().st_mtime_ns == first
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
    assert "checkpoint/seed-0/plan.json" in seen["overfit"]
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
    assert roles(tmp_path) == {"main", "alternative"}


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
    small = ALL | {"train_size": 12, "test_size": 7, "training.batch_size": 4}
    run = make(tmp_path / "run", small, "mnist", data_dir=tmp_path / "data")
    run.do("predict")
    results = run.report()
    assert results["examples"] == {"train": 12, "test": 7}
    assert results["methods"].keys() | results["skipped"].keys() == METHODS
    # A base that has all of 12 examples right has no best temperature.
    assert results["skipped"].keys() <= {"temperature"}


@pytest.mark.parametrize(("preset", "baselines"), [("paper", "paper"), ("released", "all")])
def test_presets_survive_a_tiny_run(tmp_path, preset, baselines):
    settings = {
        "layer": "conv1",
        "denoiser.channels": 8,
        "training.num_steps": 3,
        "training.batch_size": 2,
        "training.task_loss_weight": 0,
        "baselines": baselines,
    }
    run = make(tmp_path, settings, preset=preset)
    assert not run.run_options.encode_x and not run.run_options.augment  # theirs have neither
    run.do("predict")
    predictions = read_json(tmp_path / "predictions/seed-0.json")
    methods = predictions["methods"]
    assert "ocd_mean" not in methods  # these two predict the noise
    assert {"ocd", "ocd_ensemble_5", "no_scale", "nearest_neighbor"} <= methods.keys()
    # Their U-Net has no baseline of its size.
    like_an_mlp = {"delta_regression", "label_head", "label_network"} if baselines == "all" else set()
    assert predictions["skipped"].keys() == like_an_mlp
    assert all("size of an MLP denoiser" in why for why in predictions["skipped"].values())
    assert not {*TRAINED} & methods.keys() - {"fine_tuned_layer"}
    assert ("fine_tuned_layer" in methods) is (baselines == "all")


# What OCD is compared with


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Run, dict]:
    """A run with every baseline, never interrupted, and its results."""
    run = make(tmp_path_factory.mktemp("whole"), ALL)
    run.do("predict")
    return run, run.report()


def weights_of(root: Path) -> dict[str, bytes]:
    """Everything that was trained in a run folder."""
    paths = [*root.glob("base/*.safetensors"), *root.glob("checkpoint/*/model.safetensors")]
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(paths)}


def test_results_have_every_method(whole):
    run, results = whole
    assert results["methods"].keys() == METHODS
    assert results == read_json(run.root / "results.json")
    assert sorted(results["uses_label"]) == ["overfit_test", "overfit_test_all_layers"]
    assert results["skipped"] == {}
    for name, metrics in results["methods"].items():
        assert metrics.keys() == DIGITS.metrics.keys()
        assert all(len(values) == 1 and values[0] is not None for values in metrics.values()), name
    predictions = read_json(run.root / "predictions/seed-0.json")
    assert predictions["methods"].keys() == METHODS
    tensors = read_tensors(run.root / "predictions/seed-0.safetensors")
    assert {name.removeprefix("loss/") for name in tensors if name.startswith("loss/")} == METHODS
    assert tensors["draw_loss"].shape == (5, 20)


def test_baselines_are_trained_each_in_a_folder_of_its_own(whole):
    run, _ = whole
    trained = {f"checkpoint/seed-0-{kind}/model.safetensors" for kind in TRAINED}
    bases = {f"base/seed-0{end}.safetensors" for end in ("", "-member-1", "-fine_tuned_base")}
    fits = {f"checkpoint/seed-0{end}/model.safetensors" for end in ("", "-alternative")}
    assert weights_of(run.root).keys() == trained | bases | fits
    # A layer that is fine-tuned once has no training loop of its own.
    assert roles(run.root) == {"main", "alternative", *TRAINED} - {"fine_tuned_layer"}


def test_seconds_of_every_phase_are_known(whole):
    run, results = whole
    phases = {event["phase"] for event in events(run.root) if event["event"] == "phase"}
    assert phases >= {"base", "select", "overfit", "train", "alternative", "predict", "deep_ensemble",
                      *TRAINED}  # fmt: skip
    assert all(results["seconds"][phase] > 0 for phase in phases)
    predictions = read_json(run.root / "predictions/seed-0.json")
    seconds = predictions["training_seconds"]
    assert seconds.keys() == METHODS
    for kind in ("label_head", "label_network", "fine_tuned_layer"):
        assert seconds[kind] == pytest.approx(results["seconds"][kind])
    assert seconds["deep_ensemble_2"] == pytest.approx(results["seconds"]["deep_ensemble"])
    assert seconds["base"] == pytest.approx(results["seconds"]["base"])
    fit = sum(results["seconds"][phase] for phase in ("select", "overfit", "train"))
    assert seconds["ocd"] == pytest.approx(fit)


def test_the_audit_finds_no_label_in_any_method(whole):
    found = {finding.name: finding for finding in audit_run(whole[0]).findings}
    assert found["labels, seed 0"].passed
    assert found["manifest"].passed
    assert found["figures, seed 0"].passed
    assert "copying without the correction, seed 0" in found


def test_the_audit_finds_a_baseline_that_was_fitted_on_test_labels(whole, monkeypatch):
    """Wherever in the run it took them from: here, where the baselines are put together."""

    def leaking(run, seed):
        # Its inputs and its labels, for whatever is fitted there.
        test = TrainingData(run.data.test, labelled=run.data.test)
        return dataclasses.replace(make_comparison(run, seed), training=test)

    monkeypatch.setattr("ocd.runs.audit.make_comparison", leaking)
    found = {finding.name: finding for finding in audit_run(whole[0]).findings}
    labels = found["labels, seed 0"]
    assert labels.passed is False
    for name in ("nearest_neighbor", "mean_delta"):
        assert f"`{name}`" in labels.text
    assert "`label_head`" not in labels.text  # that one was trained before
    assert found["figures, seed 0"].passed is False  # and the table's are others


def test_the_audit_says_what_it_cannot_read(whole, tmp_path):
    shutil.copytree(whole[0].root, tmp_path / "run")
    base = tmp_path / "run/base/seed-0.safetensors"
    base.unlink()
    found = {finding.name: finding for finding in audit_run(Run.open(tmp_path / "run")).findings}
    assert found["seed 0"].passed is None and "seed-0.safetensors is missing" in found["seed 0"].text
    assert found["manifest"].passed is False
    assert not base.exists()  # an audit trains nothing
    shutil.copy(tmp_path / "run/base/seed-0-member-1.safetensors", base)
    found = {finding.name: finding for finding in audit_run(Run.open(tmp_path / "run")).findings}
    assert found["files, seed 0"].passed is False
    assert "another base" in found["files, seed 0"].text


def test_the_bases_of_the_ensemble_differ_and_follow_their_seeds(whole, tmp_path):
    run, _ = whole
    other = make(tmp_path, ALL | {"num_bases": 3, "alternative": False}, seeds=(0, 1))
    for seed in (0, 1):
        other.overfit(seed)
        do_jobs(other, base_jobs(other, seed))
    files = [path for path in (tmp_path / "base").iterdir() if "fine_tuned" not in path.name]
    found = {path.name: path.read_bytes() for path in files}
    assert len(found) == len(set(found.values())) == 6  # three a seed, and no two are alike
    for name in ("seed-0.safetensors", "seed-0-member-1.safetensors"):
        assert found[name] == (run.root / "base" / name).read_bytes()  # whatever their number


class Stop(Exception):
    """Stands for a kill."""


def test_stopped_among_the_baselines_it_goes_on(whole, tmp_path, monkeypatch):
    """In the middle of a baseline, in front of the ensemble's other bases, and while predicting."""
    take, places = Trainer._train_step, []

    def step(self):
        role = self.files.log.context["role"]
        if (role, self.step) == stop_at:
            raise Stop
        places.append((role, self.step))
        return take(self)

    def stop(*_):
        raise Stop

    monkeypatch.setattr(Trainer, "_train_step", step)
    stop_at = ("label_head", 7)
    with pytest.raises(Stop):
        make(tmp_path, ALL).do("predict")
    stop_at = None
    for place in ("ocd.runs.baselines.write_tensors", "ocd.runs.run.evaluate"):
        before = weights_of(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(Stop):
                make(tmp_path, ALL).do("predict")
        assert before.items() <= weights_of(tmp_path).items()
        assert not list((tmp_path / "predictions").glob("*"))
    make(tmp_path, ALL).do("predict")
    assert weights_of(tmp_path) == weights_of(whole[0].root)  # bit for bit
    # A checkpoint every five steps: two are taken again, of the baseline that was stopped.
    again = {place for place in places if places.count(place) > 1}
    assert again == {("label_head", 5), ("label_head", 6)}
    found = read_json(tmp_path / "predictions/seed-0.json")["methods"]
    assert found == read_json(whole[0].root / "predictions/seed-0.json")["methods"]


def test_fewer_baselines_train_nothing_for_them(tmp_path):
    make(tmp_path, ALL | {"baselines": "paper", "alternative": False}).do("predict")
    assert roles(tmp_path) == {"main"}
    assert not list((tmp_path / "base").glob("*member*"))
    methods = read_json(tmp_path / "predictions/seed-0.json")["methods"]
    assert methods.keys() == {"base", "ocd", "ocd_ensemble_5", "ocd_mean_network_5", "ocd_mean",
                              "ocd_without_correction_5", "correction_only", "no_scale",
                              "nearest_neighbor", "tent_1", "tent_10", "tent_30",
                              "overfit_test", "overfit_test_all_layers"}  # fmt: skip


def test_the_label_network_is_also_trained_for_as_long_as_ocd(tmp_path):
    settings = {"baselines": "more", "training.num_steps": 30, "num_bases": 1}
    run = make(tmp_path, settings)
    run.train(0)
    seconds = run.phase_seconds(0)
    shorter, longer = (
        read_json(tmp_path / f"checkpoint/seed-0-{kind}/config.json")["num_steps"]
        for kind in ("label_network", "label_network_equal_time")
    )
    assert shorter == 30
    ratio = (seconds["overfit"] + seconds["train"]) / seconds["label_network"]
    assert longer == round(30 * ratio)
    run.do("predict")
    predictions = read_json(tmp_path / "predictions/seed-0.json")
    assert "label_network_equal_time" in predictions["methods"]
    sizes = predictions["parameters"]
    assert sizes["label_network_equal_time"] == sizes["label_network"]
    # The number of steps was measured: a second run of the phase goes on with the same one.
    steps = tmp_path / "checkpoint/seed-0-label_network_equal_time/steps.json"
    assert read_json(steps) == {"num_steps": longer}


def test_a_baseline_that_diverges_does_not_take_the_table_away(tmp_path, monkeypatch):
    def broken(self, network, rows, generator):
        return torch.full((), torch.nan, requires_grad=True)

    monkeypatch.setattr("ocd.baselines.trained.objectives.PredictLabel.held_out", broken)
    run = make(tmp_path, {"baselines": "all", "num_bases": 1})
    run.do("predict")
    predictions = read_json(tmp_path / "predictions/seed-0.json")
    assert "label_network" not in predictions["methods"]
    assert "not finite" in predictions["skipped"]["label_network"]
    assert "label_head" in predictions["methods"]


def test_one_base_is_no_ensemble(tmp_path):
    make(tmp_path, ALL | {"num_bases": 1, "encode_x": False, "alternative": False}).do("predict")
    predictions = read_json(tmp_path / "predictions/seed-0.json")
    assert not any("deep_ensemble" in name for name in predictions["methods"])
    assert predictions["skipped"].keys() == {"label_network"}  # it is the encoder with a head
    assert "no encoder of x" in predictions["skipped"]["label_network"]


def test_a_base_that_is_given_was_not_trained(whole, tmp_path):
    given = tmp_path / "given.safetensors"
    given.write_bytes((whole[0].root / "base/seed-0.safetensors").read_bytes())
    make(tmp_path / "run", ALL | {"base": given}).do("predict")
    assert (tmp_path / "run/base/seed-0.safetensors").read_bytes() == given.read_bytes()
    predictions = read_json(tmp_path / "run/predictions/seed-0.json")
    assert predictions["training_seconds"]["base"] is None
    assert predictions["training_seconds"]["deep_ensemble_2"] > 0  # the other one is trained
    member = "base/seed-0-member-1.safetensors"
    assert weights_of(tmp_path / "run")[member] == weights_of(whole[0].root)[member]
    same = read_json(whole[0].root / "predictions/seed-0.json")["methods"]
    assert predictions["methods"] == same  # it is the same base


def test_half_a_line_in_the_log_does_not_keep_a_run_from_predicting(tmp_path):
    make(tmp_path).train(0)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"event": "note", "te')
    make(tmp_path).do("predict")
    assert (tmp_path / "predictions/seed-0.json").exists()


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

    task = dataclasses.replace(DIGITS, load=load, specialise=None)
    monkeypatch.setattr("ocd.runs.folder.get_task", lambda name: task)
    with pytest.raises(OCDError, match="digits has no examples"):
        make(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert isinstance(load(DIGITS.options(), None), TaskData)


@pytest.mark.parametrize(
    "wrong",
    [{"num_draws": 0}, {"held_out": 1.0}, {"held_out": -0.1}, {"num_bases": 0}, {"baselines": "some"},
     {"device": "tpu"}],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(OCDError, match=f"{name} is"):
        RunOptions(**wrong)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(OCDError, match="is no run folder .*: start with `ocd run`"):
        Run.open(tmp_path)


@pytest.mark.parametrize("version", [2, 99, None])
def test_a_run_of_another_version_is_one_line_that_names_it(tmp_path, version):
    """Format 2 is that of version 0.1. Opened or made again, it is refused and kept as it is."""
    make(tmp_path)
    path = tmp_path / "config.json"
    saved = read_json(path)
    saved["config"]["diffusion"]["eta"] = 0.0  # a setting that is gone: it is not read
    write_json(path, saved | {"format_version": version})
    before = contents(tmp_path)
    found = f"format {version}, this version reads {FORMAT_VERSION}"
    for opened in (Run.open, make):
        with pytest.raises(OCDError, match=f"not a run of this version \\({found}\\)") as caught:
            opened(tmp_path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        assert contents(tmp_path) == before


def test_a_generator_is_no_run(tmp_path):
    """Its config.json has a format version too, but no task."""
    (tmp_path / "config.json").write_text(f'{{"format_version": {FORMAT_VERSION}}}')
    with pytest.raises(OCDError, match="is not a run of this version"):
        Run.open(tmp_path)


def test_an_opened_run_is_the_one_that_was_made(tmp_path):
    made = make(tmp_path, {"held_out": 0.5, "other_draws": "1,2"}, seeds=(2, 1))
    frozen = Run.open(tmp_path)
    for name in ("preset", "seeds", "options", "run_options", "config", "data_dir"):
        assert getattr(frozen, name) == getattr(made, name), name


def test_settings_find_their_home():
    settings = {"train_size": "30", "num_draws": "7", "training.num_steps": "8"}
    _, options, run_options, config = read_settings(DIGITS, "fast", settings)
    assert (options.train_size, run_options.num_draws, config.training.num_steps) == (30, 7, 8)
    own = dict(settings_of(read_settings(DIGITS, "fast", {})[3]))
    assert {key: own[key] for key in DIGITS.settings} == DIGITS.settings
    assert read_settings(DIGITS, "paper", {})[3].training.lr == 1e-4
    with pytest.raises(OCDError, match="no setting 'train_sise'; did you mean 'train_size'"):
        read_settings(DIGITS, "fast", {"train_sise": "3"})
    with pytest.raises(OCDError, match="train_size is 'x': it must be"):
        read_settings(DIGITS, "fast", {"train_size": "x"})


def test_a_removed_setting_is_refused_with_what_to_do_instead():
    with pytest.raises(OCDError, match="'controls' was removed .* it is called baselines"):
        read_settings(DIGITS, "fast", {"controls": "paper"})
    with pytest.raises(OCDError, match="'training.patience' was removed .*training.keep_best"):
        read_settings(DIGITS, "fast", {"training.patience": "3"})
    with pytest.raises(OCDError, match="'distillation.num_steps' was removed .*solver=dpm"):
        read_settings(DIGITS, "fast", {"distillation.num_steps": "3"})


def test_variants_are_rows_of_the_table_and_survive_a_second_process(tmp_path):
    settings = {"variants": True, "cross_fitting.num_folds": 2, "collection.storage": "store"}
    run = make(tmp_path, settings)
    run.train(0)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    again = make(tmp_path, settings)
    again.do("predict")
    assert all(path.read_bytes() == content for path, content in files.items())
    results = again.report()
    rows = {"ocd_plain_5", "ocd_unseen_5", "ocd_both_5"}
    assert rows <= results["methods"].keys()
    # Both fits on unseen lessons share the bases of their folds.
    assert len(list((tmp_path / "bases" / "seed-0").glob("*.pt"))) == 2
    assert len(list((tmp_path / "bases").rglob("*.pt"))) == 2
    text = (tmp_path / "report.md").read_text()
    assert "OCD, unseen lessons, no common move, 5 draws" in text
    assert "lessons train the generator" in text


def test_options_of_another_version_are_named(tmp_path):
    path = tmp_path / "config.json"
    Run.create("digits", tmp_path, settings={name: str(value) for name, value in SMALL.items()})
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"run_options": saved["run_options"] | {"controls": "all"}}))
    with pytest.raises(OCDError, match="option that this version does not know \\(controls\\)"):
        Run.open(tmp_path)
    path.write_text(json.dumps(saved | {"options": saved["options"] | {"rotate": 3}}))
    with pytest.raises(OCDError, match="does not know \\(rotate\\)"):
        Run.open(tmp_path)


def test_a_base_of_any_task_depends_on_its_seed_alone() -> None:
    """Also where a task takes its chance from torch's own generator, as an example of a page may."""

    def train(base: torch.nn.Linear, data: object, options: object, seed: int, say: object) -> None:
        with torch.no_grad():
            base.bias += torch.randn(2)

    def made(seed: int) -> torch.Tensor:
        before = torch.random.get_rng_state()
        base = new_base(lambda *of: torch.nn.Linear(3, 2), train, None, None, seed, "cpu")
        assert torch.equal(before, torch.random.get_rng_state())
        return torch.cat([base.weight.flatten(), base.bias]).detach()

    first = made(0)
    torch.manual_seed(5)
    assert torch.equal(first, made(0)) and not torch.equal(first, made(1))


def test_what_a_metric_needs_is_asked_for_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path / "run")
    found = dataclasses.replace(run.task.metrics["calibration_error"], needs="no_such_package")
    task = dataclasses.replace(run.task, metrics={"calibration_error": found})
    with pytest.raises(OCDError, match="metric calibration_error needs no_such_package, which is not"):
        dataclasses.replace(run, task=task).select(0)
    assert not run.base_path(0).exists()
