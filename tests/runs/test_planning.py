"""`ocd plan`: what is measured is there, and what is computed follows from it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from helpers import contents
from ocd import OCDError
from ocd.cli import main
from ocd.data import read_tensors
from ocd.runs import Run, plan_run, sampling
from processes import as_another_user
from small_run import SMALL, shrink

_PLAN = ("plan", "--examples", "2e4")
STORED = SMALL | {"collection.storage": "store", "collection.max_examples": 5000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its training, in runs/digits."""
    root = tmp_path_factory.mktemp("planning") / "runs" / "digits"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        run = Run.create("digits", root, settings={key: str(value) for key, value in STORED.items()})
        run.train(0)
    return root


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    monkeypatch.setattr("ocd.runs.sampling.LONG_ENOUGH", 0.0)


def test_phases_grow_with_what_they_say(folder: Path) -> None:
    plan = plan_run(Run.open(folder), 20_000, workers=4)
    sample = plan.sample
    phases = {phase.name: phase for phase in plan.phases}
    assert min(sample.forward, sample.lesson, sample.draws, sample.train, sample.memory) > 0
    assert phases["overfit"].seconds == pytest.approx(5000 * sample.lesson)
    assert phases["predict"].seconds == pytest.approx(20_000 * sample.draws)
    assert phases["predict"].shared == pytest.approx(5000 * sample.draws)
    assert phases["train"].seconds == phases["train"].shared == pytest.approx(sample.train)
    assert sample.steps == 10 and phases["train"].is_measured and not phases["predict"].is_measured
    assert plan.disk["lessons"] == 5000 * sample.lesson_bytes


@pytest.mark.skipif(os.name != "posix", reason="users of another kind")
@pytest.mark.parametrize("common_move", ["never", "always"])  # on one base, and in folds
def test_a_run_that_may_not_be_written_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, common_move: str
) -> None:
    """By a user who is not its owner, where this one may do everything."""
    root = tmp_path / "run"
    settings = STORED | {"common_move": common_move, "collection.max_examples": 40}
    Run.create("digits", root, settings={key: str(value) for key, value in settings.items()}).train(0)
    monkeypatch.setattr(sys, "argv", ["ocd", *_PLAN, str(root)])
    with pytest.raises(SystemExit):
        main()  # imports all that the other user may not read
    capfd.readouterr()
    before = contents(root)
    code = as_another_user(root, tmp_path, *_PLAN, str(root))
    said = capfd.readouterr()
    assert code == 0, said.err
    assert "20,000 examples" in said.out and not said.err
    assert contents(root) == before


def test_bytes_are_those_of_the_files(folder: Path) -> None:
    sample = plan_run(Run.open(folder), 10).sample
    files = [read_tensors(path) for path in folder.rglob("deltas/**/part-*.safetensors")]
    written = sum(values.nbytes for rows in files for values in rows.values())
    assert written == sample.lesson_bytes * sum(len(rows["index"]) for rows in files) > 0
    assert sample.example_bytes == 8 * 8 * 4 + 8  # an image of 8 by 8, and a label


def test_a_device_is_computed_and_named_as_such(folder: Path) -> None:
    here, there = (plan_run(Run.open(folder), 10_000, device=device) for device in (None, "h100"))
    assert here.faster == 1 and there.faster >= 1
    train = next(phase for phase in there.phases if phase.name == "train")
    assert not train.is_measured
    with pytest.raises(OCDError, match="no figures of the device 'tpu': use one of a100"):
        plan_run(Run.open(folder), 10_000, device="tpu")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["digits", "--examples", "1e8", "--workers", "64"], 0, "100,000,000 examples like those of"),
        (["runs/digits", "--device", "h100"], 0, "not measured: an h100 is taken as"),
        (["mnist"], 2, "ocd run mnist --quick"),
        (["digits", "--examples", "many"], 2, "it must be a number such as 1e8"),
        (["digits", "--examples", "0"], 2, "both must be at least 1"),
    ],
)
def test_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: list[str],
    code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setattr(sys, "argv", ["ocd", "plan", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code or 0) == code
    assert said in "".join(capsys.readouterr())


def test_for_a_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["ocd", "plan", str(folder), "--examples", "1000", "--json"])
    with pytest.raises(SystemExit):
        main()
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == 1000 and found["sample"]["draws"] > 0


def test_a_run_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    settings = {key: str(value) for key, value in STORED.items()}
    run = Run.create("digits", tmp_path / "run", settings=settings)
    with pytest.raises(OCDError, match="no trained generator yet"):
        plan_run(run, 10)


@pytest.mark.parametrize(("of_one", "expected"), [(7.0, [1, 1]), (0.2, [1] * 6), (1e-4, [1, 4, 256])])
def test_slow_work_is_measured_on_one_example_and_fast_work_on_many(
    monkeypatch: pytest.MonkeyPatch, of_one: float, expected: list[int]
) -> None:
    now, counts = [0.0], []

    def work(rows: slice) -> None:
        counts.append(rows.stop)
        now[0] += of_one * rows.stop

    monkeypatch.setattr(sampling, "LONG_ENOUGH", 1.0)
    monkeypatch.setattr(sampling.time, "perf_counter", lambda: now[0])
    assert sampling._seconds(work, 256) == pytest.approx(of_one)
    if of_one > 0.1:
        assert counts == expected
    else:
        assert [count for count in (1, 4, 256) if count in counts] == expected and counts[-1] == 256
        assert sum(counts[counts.index(256) + 1 :]) * of_one >= 1
