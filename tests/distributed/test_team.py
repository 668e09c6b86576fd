"""A training in two processes is that of one, to rounding; and goes on with another number of them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fitting_in_processes import COUNT, fit_of

from helpers import TINY
from ocd import OCDError
from ocd.data import Shard, read_json, read_tensors
from ocd.distributed import Team, check_alone, launched, team_of
from ocd.lessons import Workdir
from ocd.runs import Run
from small_run import SMALL

SCRIPT = Path(__file__).parent / "fitting_in_processes.py"


def launch(
    count: int, what: str, root: Path | list[Path], *more: object, stop_at: int = 0, ends_with: int = 0
) -> list[str]:
    """Processes with the environment that torchrun gives them; what each said on stderr. `root`: of all
    of them, or of each one. `ends_with`: the exit code that they are to have."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(SCRIPT.parent.parent), *sys.path])
    common = {
        **os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "STOP_AT": str(stop_at),
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    roots = root if isinstance(root, list) else count * [root]
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), what, str(roots[rank]), *map(str, more)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    said = []
    for process in started:
        said.append(process.communicate(timeout=240)[1])
        assert process.returncode == (3 if stop_at else ends_with), said[-1]
    return said


def losses(root: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["event"] == "train"}


def overfitted(root: Path, storage: str, common_move: str) -> Path:
    """A fit in one process up to its training."""
    settings = {"collection.storage": storage, "common_move": common_move}
    fit_of(settings).overfit(TINY["linear"].examples(COUNT), Workdir(root), progress=False)
    return root


SLOW = pytest.mark.slow


@pytest.mark.parametrize("storage", ["store", pytest.param("on_the_fly", marks=SLOW)])
@pytest.mark.parametrize("common_move", ["never", "always"])  # of one base, and in folds
@pytest.mark.parametrize("normed", [pytest.param("0", marks=SLOW), "1"])
def test_two_processes_train_as_one_does(
    tmp_path: Path, storage: str, common_move: str, normed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the encoder has a batch norm: its statistics are those of the whole batch."""
    monkeypatch.setenv("NORMED", normed)
    begun = overfitted(tmp_path / "begun", storage, common_move)
    shutil.copytree(begun, tmp_path / "two")
    launch(1, "train", begun, storage, common_move)
    launch(2, "train", tmp_path / "two", storage, common_move)
    one, two = losses(begun), losses(tmp_path / "two")
    assert one.keys() == two.keys() == {5, 10, 15, 20, 25, 30}
    for step, loss in one.items():
        assert two[step] == pytest.approx(loss, rel=1e-3), step
    weights = [read_tensors(r / "checkpoint/model.safetensors") for r in (begun, tmp_path / "two")]
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=SLOW)])
def test_a_training_goes_on_with_another_number_of_processes(
    tmp_path: Path, before: int, after: int
) -> None:
    begun = overfitted(tmp_path / "begun", "store", "never")
    shutil.copytree(begun, tmp_path / "other")
    launch(1, "train", begun, "store", "never")
    launch(before, "train", tmp_path / "other", "store", "never", stop_at=15)
    assert (tmp_path / "other/checkpoint/training.pt").exists()
    assert not (tmp_path / "other/checkpoint/config.json").exists()
    launch(after, "train", tmp_path / "other", "store", "never")
    steps = list(losses(tmp_path / "other"))
    assert steps == [5, 10, 15, 20, 25, 30]
    for step, loss in losses(begun).items():
        assert losses(tmp_path / "other")[step] == pytest.approx(loss, rel=1e-3), step


def test_a_whole_fit_in_two_processes(tmp_path: Path) -> None:
    """One folder, one generator, and both predict the same."""
    launch(2, "fit", tmp_path / "two", "store", "auto")
    first, second = (
        read_tensors(tmp_path / f"two/predicted-{rank}.safetensors")["outputs"] for rank in range(2)
    )
    assert torch.equal(first, second)
    lines = (tmp_path / "two/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if '"train"' in line]
    assert steps == sorted(set(steps))  # one of them writes the log


def test_a_run_in_two_processes(tmp_path: Path) -> None:
    """All that is needed for its predictions: trainings by both, baselines and methods by either."""
    settings = SMALL | {"baselines": "few", "collection.storage": "store"}
    run = Run.create("digits", tmp_path / "two", settings={k: str(v) for k, v in settings.items()})
    shutil.copytree(run.root, tmp_path / "one")
    launch(2, "run", run.root, "store", "never")
    Run.open(tmp_path / "one").do("predict")
    found, expected = (
        read_json(root / "predictions/seed-0.json")["methods"] for root in (run.root, tmp_path / "one")
    )
    assert found.keys() == expected.keys()
    for name, metrics in expected.items():
        assert found[name] == pytest.approx(metrics, rel=0.1), name
    assert not list((run.root / "checkpoint").rglob("*.part"))


def test_a_part_without_examples_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Averages are those of the whole batch, however it is parted."""
    torch.manual_seed(0)
    network, inputs = torch.nn.Linear(4, 2), torch.randn(7, 4)
    whole = torch.nn.Linear(4, 2)
    whole.load_state_dict(network.state_dict())
    whole(inputs).square().mean().backward()
    for parts in ([slice(0, 2), slice(2, 7)], [slice(0, 7), slice(7, 7)]):
        sums: list[torch.Tensor] = []

        def collect(flat: torch.Tensor, to: list[torch.Tensor] = sums) -> None:
            to.append(flat.clone())

        monkeypatch.setattr("torch.distributed.all_reduce", collect)
        for number, part in enumerate(parts):
            copy = torch.nn.Linear(4, 2)
            copy.load_state_dict(network.state_dict())
            few = {}
            if len(inputs[part]):
                error = copy(inputs[part]).square().mean()
                few = {"denoise_loss": 3 * error.detach(), "loss": error}
            Team(Shard(number, 2)).gradients(copy, few, inputs[part])
        total = sum(sums)

        def add(flat: torch.Tensor, total: torch.Tensor = total) -> None:
            flat.copy_(total)

        monkeypatch.setattr("torch.distributed.all_reduce", add)
        copy = torch.nn.Linear(4, 2)
        means = Team(Shard(1, 2)).gradients(
            copy, {}, inputs[:0]
        )  # whose process does not know their names
        wanted = float(whole(inputs).detach().square().mean())
        assert {name: float(value) for name, value in means.items()} == pytest.approx(
            {"loss": wanted, "denoise_loss": 3 * wanted}, rel=1e-5
        )
        for one, other in zip(copy.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)


def test_a_loss_of_an_unknown_name_is_not_averaged() -> None:
    network = torch.nn.Linear(1, 1)
    loss = network(torch.zeros(1, 1)).sum()
    with pytest.raises(ValueError, match="unknown name: mine"):
        Team(Shard(0, 2)).gradients(network, {"loss": loss, "mine": loss}, torch.zeros(1, 1))


@pytest.mark.parametrize("behind", [0, 1])
def test_processes_that_go_on_at_different_steps_are_noticed(tmp_path: Path, behind: int) -> None:
    """Both end, with one line: none of them waits for the other."""
    begun = overfitted(tmp_path / "begun", "store", "never")
    launch(1, "train", begun, "store", "never", stop_at=15)
    folders = [begun, begun]
    folders[behind] = tmp_path / "other"
    shutil.copytree(begun, tmp_path / "other")
    (tmp_path / "other/checkpoint/training.pt").unlink()
    wanted = "process 0 at 0, process 1 at 15" if behind == 0 else "process 0 at 15, process 1 at 0"
    for errors in launch(2, "train", folders, "store", "never", ends_with=2):
        assert "go on at different steps" in errors and wanted in errors, errors
        assert errors.count("\n") == 1


def test_parts_of_a_batch_are_all_of_it() -> None:
    for count in (0, 1, 7, 24):
        parts = [list(range(count))[Team(Shard(n, 5)).own(count)] for n in range(5)]
        assert [row for part in parts for row in part] == list(range(count))


def test_who_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched() == Shard() and team_of(launched()) is None
    check_alone("this")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == Shard(1, 2)
    with pytest.raises(OCDError, match="this is for one process"):
        check_alone("this")
    with pytest.raises(OCDError, match="a fit without a workdir is for one process"):
        TINY["linear"].ocd().fit(TINY["linear"].examples(10))
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(OCDError, match="are not numbers"):
        launched()
