"""A task from outside the package: `package.module:NAME`, found again by the run folder's verbs."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocd
from ocd import OCDError
from ocd.cli import main
from ocd.runs import Run
from ocd.tasks import TASKS, folder_name, get_task
from small_run import shrink

SOURCE = '''
"""The sum of four numbers, in two units."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from ocd import Examples
from ocd.evaluation import REGRESSION_METRICS
from ocd.tasks import Task, TaskData


@dataclass(frozen=True)
class Options:
    base: str | None = None
    count: int = 80


def load(options, data_dir):
    torch.manual_seed(0)
    inputs = torch.randn(options.count + 20, 4)
    both = Examples(inputs, inputs.sum(dim=1, keepdim=True) + inputs[:, :1] ** 2)
    train, test = slice(0, options.count), slice(options.count, None)
    return TaskData(Examples(*both.rows(train)), Examples(*both.rows(test)))


def train_base(base, data, options, seed, progress):
    optimizer = torch.optim.Adam(base.parameters(), lr=1e-2)
    for _ in range(20):
        error = (base(data.train.inputs) - data.train.targets).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()


SUMS = Task(
    name="sums", module="-", summary="sums", data="made here", licence="none", size="nothing",
    minutes="1", options=Options, load=load, train_base=train_base,
    make_base=lambda options, data: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
    loss=lambda outputs, targets: (outputs - targets).square().mean(dim=1),
    metrics=REGRESSION_METRICS, join_draws=lambda outputs: outputs.mean(dim=0),
    make_encoder=lambda options, data: None, make_transform=lambda options: None,
    settings={"collection.storage": "on_the_fly", "training.num_steps": 10}, layer="2",
)
CHOSEN = replace(SUMS, name="chosen", specialise=lambda options: replace(SUMS, summary="chosen"))
NUMBER = 3
'''
SMALL = {
    "baselines": "none", "alternative": "false", "overfit.lr": "0.02", "denoiser.width": "16",
    "training.batch_size": "16", "training.validate_every": "5", "num_draws": "3",
}  # fmt: skip
NAME = "own_tasks.sums:SUMS"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a package of tasks that nothing has imported."""
    (tmp_path / "own_tasks").mkdir()
    (tmp_path / "own_tasks" / "sums.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part])
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0].startswith("own_tasks")]:
        del sys.modules[name]


def elsewhere(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in another process, which Python itself gives no current folder to import from."""
    environment = os.environ | {"PYTHONPATH": str(Path(ocd.__file__).parents[1])}
    command = [sys.executable, "-P", "-m", "ocd", *arguments]
    return subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )


def test_a_task_from_outside_runs_to_its_report_which_is_made_again_by_others(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shrink(monkeypatch)
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    monkeypatch.setattr(sys, "argv", ["ocd", "run", NAME, "--set", "count=60", *settings])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert not stopped.value.code, said.err
    assert said.err.count("importing own_tasks.sums for the task") == 1
    folder = home / "runs" / "own_tasks-sums-SUMS"
    assert json.loads((folder / "config.json").read_text())["task"] == NAME
    assert json.loads((folder / "results.json").read_text())["examples"] == {"train": 60, "test": 20}
    (folder / "report.md").unlink()
    again = elsewhere(home, "report", str(folder))
    assert again.returncode == 0, again.stderr
    assert f"# OCD on `{NAME}`" in (folder / "report.md").read_text()
    assert again.stderr.count("importing own_tasks.sums for the task") == 1
    moved = elsewhere(home.parent, "predict", str(folder))
    assert moved.returncode == 2 and moved.stderr.count("\n") == 2  # what is imported, and why not
    assert f"ocd: no task '{NAME}': no module 'own_tasks' in the current folder" in moved.stderr


def test_a_folder_holds_the_name_by_which_its_task_is_found(home: Path) -> None:
    made = Run.create(NAME, home / "run", settings=SMALL)
    assert made.task.name == NAME and get_task(NAME).loss is made.task.loss
    assert Run.open(home / "run").task.name == NAME
    with pytest.raises(OCDError, match="holds another run"):
        Run.create("own_tasks.sums:CHOSEN", home / "run", settings=SMALL)


def test_a_task_that_its_options_change_keeps_the_name(home: Path) -> None:
    name = "own_tasks.sums:CHOSEN"
    made = Run.create(name, home / "run", settings=SMALL)
    assert (made.task.name, made.task.summary) == (name, "chosen")
    assert Run.open(home / "run").task.name == name


def test_its_settings_are_listed(home: Path) -> None:
    found = elsewhere(home, "settings", NAME)
    assert found.returncode == 0, found.stderr
    assert f"# of the task {NAME}" in found.stdout and "count=80" in found.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_tasks.none:SUMS", "no module 'own_tasks.none' in the current folder"),
        ("own_nothing:SUMS", "no module 'own_nothing' in the current folder"),
        (
            "own_tasks.sums:SUM",
            "own_tasks.sums has no SUM; did you mean 'SUMS'.*its tasks: SUMS, CHOSEN",
        ),
        ("own_tasks.empty:SUMS", "own_tasks.empty has no SUMS, and no other task"),
        ("own_tasks.sums:NUMBER", "it is of type int, not an ocd.tasks.Task"),
        ("own_tasks.sums:load", "it is of type function, not an ocd.tasks.Task"),
        ("own_tasks/sums.py:SUMS", "package.module:NAME \\(a module as it is imported, not its file"),
        ("sums.py:SUMS", "package.module:NAME \\(a module as it is imported, not its file"),
        ("own_tasks.sums:", "is package.module:NAME"),
        (":SUMS", "is package.module:NAME"),
        ("own_tasks.broken:SUMS", "own_tasks.broken cannot be imported: it went wrong"),
        ("own_tasks.needy:SUMS", "own_tasks.needy cannot be imported: No module named 'not_there'"),
    ],
)
def test_what_is_no_task_is_said_in_one_line(home: Path, name: str, message: str) -> None:
    (home / "own_tasks" / "empty.py").write_text("")
    (home / "own_tasks" / "broken.py").write_text("raise ValueError('it went wrong\\nbadly')")
    (home / "own_tasks" / "needy.py").write_text("import not_there.at_all")
    with pytest.raises(OCDError, match=f"^no task '{name}': .*{message}") as caught:
        get_task(name)
    assert "\n" not in str(caught.value)


def test_a_file_of_the_current_folder_does_not_stand_in_for_an_installed_module(home: Path) -> None:
    (home / "colorsys.py").write_text("raise ValueError('of the current folder')")
    sys.modules.pop("colorsys", None)
    with pytest.raises(OCDError, match="colorsys has no SUMS"):
        get_task("colorsys:SUMS")


def test_the_default_folder_has_neither_colon_nor_dots() -> None:
    assert folder_name("a.b_c:TASK") == "a-b_c-TASK"
    assert all(folder_name(name) == name for name in TASKS)


def test_another_name_leaves_all_else_as_it_is(home: Path) -> None:
    found = get_task(NAME)
    own = sys.modules["own_tasks.sums"].SUMS
    assert dataclasses.replace(found, name="sums") == own and own.name == "sums"
