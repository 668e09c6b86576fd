"""A verb by several processes: the same bits as by one, also where one of them is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers import contents
from ocd.cli import main
from ocd.data import Shard, Units, read_json, read_tensors, write_tensors
from ocd.errors import OCDError
from ocd.evaluation import Together
from ocd.evaluation.evaluating import _Judged
from ocd.lessons import collection
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.store import DeltaStore
from ocd.runs import Run, do_shared
from ocd.runs.shares import together_of
from ocd.training import Trainer
from small_run import SMALL, shrink

SETTINGS = SMALL | {
    "train_size": 400, "collection.storage": "store", "collection.shard_rows": 16, "baselines": "few",
}  # fmt: skip


def make(root: Path, **settings: object) -> Run:
    merged = SETTINGS | settings
    return Run.create("digits", root, settings={key: str(value) for key, value in merged.items()})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process made, up to the deltas; and a copy in which nothing is overfitted yet."""
    root = tmp_path_factory.mktemp("one")
    make(root / "begun").select(0)
    shutil.copytree(root / "begun", root / "whole")
    make(root / "whole").overfit(0)
    return root


@pytest.fixture(scope="module")
def predicted(one: Path) -> Path:
    """The same with its predictions, by one process; `trained` beside it has none."""
    shutil.copytree(one / "whole", one / "trained")
    make(one / "trained").train(0)
    shutil.copytree(one / "trained", one / "predicted")
    make(one / "predicted").predict(0)
    return one / "predicted"


def fork(root: Path, verb: str, shard: str, dies: tuple[Any, str, int] | None = None) -> BaseProcess:
    """`dies`: a class or module, a function of it, and behind which call the process is killed."""

    def body() -> None:
        torch.set_num_threads(1)
        patch = pytest.MonkeyPatch()
        shrink(patch)
        patch.setattr("ocd.data.claims.POLL", 0.01)
        if dies is not None:
            patch.setattr(*dies[:2], killing(getattr(*dies[:2]), dies[2]))
        do_shared(root, verb, Shard.parse(shard))

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    return process


def killing(method: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        found, calls = method(*arguments, **named), calls + 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return called


def all_of(root: Path, verb: str, count: int, times: int = 1) -> None:
    """All shards, each of them some times."""
    started = [fork(root, verb, f"{number}/{count}") for number in times * [*range(count)]]
    for process in started:
        process.join(240)
        assert process.exitcode == 0


def deltas(root: Path) -> dict[str, str]:
    return contents(root / "deltas")


@pytest.mark.parametrize("count", [2, 4, 8])
def test_several_processes_overfit_to_the_same_bits(one: Path, tmp_path: Path, count: int) -> None:
    shutil.copytree(one / "begun", tmp_path / "run")
    all_of(tmp_path / "run", "overfit", count)
    assert deltas(tmp_path / "run") == deltas(one / "whole")
    assert len(deltas(one / "whole")) > 50
    plans = [
        read_json(root / "checkpoint/seed-0/plan.json") for root in (tmp_path / "run", one / "whole")
    ]
    assert plans[0]["plan"] == plans[1]["plan"]


def test_a_phase_lasts_as_long_as_the_longest_process(one: Path, tmp_path: Path) -> None:
    """In the report a phase by several processes is not the sum of their times."""
    shutil.copytree(one / "begun", tmp_path / "run")
    start = time.monotonic()
    all_of(tmp_path / "run", "overfit", 2)
    run = Run.open(tmp_path / "run")
    assert run.phase_seconds(0)["overfit"] < time.monotonic() - start
    assert not [name for name in run.phase_seconds(0) if "shard" in name]


def test_the_work_of_a_killed_process_is_done_by_others(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    first, second = fork(root, "overfit", "0/2"), fork(root, "overfit", "1/2")
    until = time.monotonic() + 120
    while not list((root / "deltas").rglob("part-000003.json")) and time.monotonic() < until:
        time.sleep(0.002)
    second.kill()
    second.join()
    first.join(240)
    assert (second.exitcode, first.exitcode) == (-signal.SIGKILL, 0)
    assert deltas(root) == deltas(one / "whole")  # what was being written is gone too


def test_no_process_needs_the_first_one(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    third = fork(root, "overfit", "2/3")
    third.join(240)
    assert third.exitcode == 0 and deltas(root) == deltas(one / "whole")


def times(root: Path, pattern: str) -> dict[str, int]:
    """When files were written."""
    files = (path for path in root.rglob(pattern) if path.is_file())
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def test_another_number_of_processes_repeats_nothing_but_the_running_unit(
    one: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    first = fork(root, "overfit", "1/4", dies=(DeltaStore, "write", 3))
    first.join(240)
    assert first.exitcode == -signal.SIGKILL
    before = times(root, "part-*.json") | times(root, "plan.json") | times(root, "seed-0*")
    assert len(times(root, "part-*.json")) == 3 and len(before) > 5
    second = fork(root, "overfit", "1/2")
    second.join(240)
    assert second.exitcode == 0 and deltas(root) == deltas(one / "whole")
    after = times(root, "*")
    assert {name: after[name] for name in before} == before


def test_what_was_begun_of_a_unit_is_gone_on_with(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of processes is then."""
    monkeypatch.setattr("ocd.data.resuming.SAVE_EVERY", 0.0)
    monkeypatch.setattr("ocd.data.resuming.SAVING_SHARE", 0)
    monkeypatch.setattr("ocd.lessons.collection.chunk_size_of", lambda *_: 4)
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    first = fork(root, "overfit", "1/4", dies=(collection, "_overfit", 6))  # in the second unit
    first.join(240)
    assert first.exitcode == -signal.SIGKILL
    seen: list[slice] = []
    overfit = collection._overfit

    def spied(overfitter: Overfitter, chunk: slice, seed: int) -> Any:
        seen.append(chunk)
        return overfit(overfitter, chunk, seed)

    monkeypatch.setattr(collection, "_overfit", spied)
    run = Run.open(root)
    run.share = Shard(0, 2)
    run.overfit(0)
    assert deltas(root) == deltas(one / "whole")
    units = [read_json(path) for path in (one / "whole/deltas").rglob("part-*.json")]
    chunks = sum(-(-(unit["rows"] + len(unit["skipped"])) // 4) for unit in units)
    assert len(seen) == chunks - 5  # the first unit's four, and the one that was saved of the second


def assert_predicted_alike(root: Path, whole: Path) -> None:
    found, expected = (read_tensors(r / "predictions/seed-0.safetensors") for r in (root, whole))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name].nan_to_num(), values.nan_to_num()), name
    numbers = [read_json(r / "predictions/seed-0.json") for r in (root, whole)]
    for name in ("methods", "parameters", "skipped", "uses_label"):
        assert numbers[0][name] == numbers[1][name]


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_predict_to_the_same_bits(
    predicted: Path, tmp_path: Path, count: int
) -> None:
    root = tmp_path / "run"
    shutil.copytree(predicted.parent / "trained", root)
    all_of(root, "predict", count)
    assert_predicted_alike(root, predicted)
    Run.open(root).do("predict")  # by one process: nothing is left to do, and nothing left over
    assert not list((root / "unfinished").iterdir())
    assert Run.open(root).report()["methods"] == Run.open(predicted).report()["methods"]


def steps(root: Path) -> list[int]:
    """The steps of the generator's training, as they were logged."""
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["event"] == "train" and line["role"] == "main"]


@pytest.mark.parametrize("waits", [True, False])
def test_a_training_whose_process_is_killed_is_finished_by_another(
    one: Path, predicted: Path, tmp_path: Path, waits: bool
) -> None:
    """By one that waits for it, or by one that comes later; from where it was."""
    root = tmp_path / "run"
    shutil.copytree(one / "whole", root)
    first = fork(root, "predict", "0/2", dies=(Trainer, "_after_step", 7))
    until = time.monotonic() + 60
    while not (root / "unfinished/seed-0/claims/train main").exists() and time.monotonic() < until:
        time.sleep(0.001)
    second = fork(root, "predict", "1/2") if waits else None
    first.join(240)
    assert first.exitcode == -signal.SIGKILL
    second = second or fork(root, "predict", "1/2")
    second.join(240)
    assert second.exitcode == 0
    assert steps(root) == [5, 10]  # no step twice
    assert_predicted_alike(root, predicted)


def test_one_process_alone_takes_over_what_several_have_predicted(
    predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    shutil.copytree(predicted.parent / "trained", root)
    first = fork(root, "predict", "1/3", dies=(Units, "finish", 4))
    first.join(240)
    assert first.exitcode == -signal.SIGKILL
    markers = list((root / "unfinished/seed-0").glob("methods-*/part-*.json"))
    done = {read_json(path)["method"] for path in markers}
    assert len(done) == 4
    asked: list[str] = []
    judge = _Judged._one
    monkeypatch.setattr(_Judged, "_one", lambda self, name: asked.append(name) or judge(self, name))
    Run.open(root).do("predict")
    assert asked and not done & set(asked)
    assert_predicted_alike(root, predicted)


def test_the_same_command_twice_at_once_does_its_work_once(
    one: Path, predicted: Path, tmp_path: Path
) -> None:
    """Neither knows of the other."""
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    all_of(root, "predict", 1, times=2)
    assert steps(root) == [5, 10]
    assert deltas(root) == deltas(one / "whole")
    assert_predicted_alike(root, predicted)
    assert not list((root / "unfinished").iterdir())


def test_what_was_predicted_with_other_weights_is_not_taken(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "whole", root)
    run = Run.open(root)
    before = together_of(run, 0)
    path = next(root.glob("base/seed-0*.safetensors"))
    tensors = read_tensors(path)
    name = next(iter(tensors))
    write_tensors(
        path, {key: value.clone() for key, value in tensors.items()} | {name: tensors[name] + 1}
    )
    after = together_of(run, 0)
    assert before.folder != after.folder


def test_the_weights_of_seed_10_are_not_those_of_seed_1(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    for name in ("base/seed-1", "base/seed-1-member-0", "checkpoint/seed-1-early/model"):
        write_tensors(run.root / f"{name}.safetensors", {"a": torch.ones(1)})
    before = together_of(run, 1).folder
    for name in ("base/seed-10", "base/seed-10-member-0", "checkpoint/seed-10/model"):
        write_tensors(run.root / f"{name}.safetensors", {"a": torch.ones(1)})
    assert together_of(run, 1).folder == before
    write_tensors(run.root / "checkpoint/seed-1-early/model.safetensors", {"a": torch.zeros(1)})
    assert together_of(run, 1).folder != before


def test_a_damaged_method_is_done_anew_once_its_file_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"base": SimpleNamespace(uses_mean_network=False)}
    table: Any = SimpleNamespace(names=["base"], methods=methods, notes=[], skipped={})
    comparison: Any = SimpleNamespace(settings=SimpleNamespace(num_draws=2))
    test: Any = None
    monkeypatch.setattr(_Judged, "_one", lambda self, name: {"output": torch.ones(3), "notes": []})

    def every() -> dict[str, Any]:
        return _Judged(comparison, test, table, Together(tmp_path, Shard())).every()

    expected = every()["base"]["output"]
    path = tmp_path / "part-000000.pt"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OCDError, match="delete it to do its work anew"):
        every()
    path.unlink()
    assert torch.equal(every()["base"]["output"], expected)


def ocd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def test_the_command_starts_processes(tmp_path: Path) -> None:
    whole, many = tmp_path / "whole", tmp_path / "many"
    make(whole, baselines="none").select(0)
    shutil.copytree(whole, many)
    done = ocd("overfit", many, "--num-processes", 2)
    assert done.returncode == 0, done.stderr
    # As many threads as there are cores, or three: the bits of a sum depend on that.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "3")
        assert ocd("overfit", whole).returncode == 0
    assert deltas(many) == deltas(whole) and deltas(whole)


def test_processes_that_fail_are_named(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    (root / "base/seed-0.safetensors").write_bytes(b"damaged")
    done = ocd("overfit", root, "--num-processes", 2)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for number in range(2):
        assert f"process {number} of 2 ended with exit code 2" in done.stderr
    assert "base/seed-0.safetensors" in done.stderr.splitlines()[-1]


def test_ending_the_command_ends_its_processes(one: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(one / "begun", root)
    command = [sys.executable, "-m", "ocd", "overfit", str(root), "--num-processes", "2"]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    children: list[int] = []
    until = time.monotonic() + 60
    while len(children) < 2 and time.monotonic() < until:
        path = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        children = [int(number) for number in path.read_text().split()]
        time.sleep(0.01)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode == 128 + signal.SIGTERM, errors
    assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert "Traceback" not in errors
    Run.open(root).do("overfit")
    assert (root / "checkpoint/seed-0/plan.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "2/2"], "must be I/N, with I from 0 to N - 1"),
        (["--shard", "1/2", "--num-processes", "2"], "use one"),
    ],
)
@pytest.mark.parametrize("verb", ["overfit", "predict"])
def test_wrong_numbers_are_one_line(
    one: Path, verb: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["ocd", verb, str(one / "begun"), *options])
        main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
