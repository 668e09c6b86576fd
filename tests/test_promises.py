"""What docs/promises.md promises: each of its tests is there, and those are here that have no room."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ocd
from helpers import contents
from ocd.audit import check_manifest
from ocd.data import read_state
from ocd.errors import OCDError
from ocd.runs import Run
from processes import as_another_user
from small_run import SMALL, shrink

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "promises.md"
MADE_ANEW = {"report.md", "report.html", "results.json", "metrics.jsonl"}
"""Files that the others are told by: a log, and what `ocd report` makes anew of all that is checked."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with stored lessons."""
    root = tmp_path_factory.mktemp("promises") / "run"
    settings = SMALL | {"collection.storage": "store", "baselines": "few"}
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        run = Run.create("digits", root, settings={key: str(one) for key, one in settings.items()})
        for verb in ("predict", "report"):
            run.do(verb)
    return root


def command(*arguments: str, **options: object) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(ocd.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "ocd", *arguments], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def digits(out: Path, **more: object) -> list[str]:
    settings = SMALL | {"training.num_steps": 100_000, "training.max_epochs": 0} | more
    return [
        "run",
        "digits",
        "--out",
        str(out),
        *(f"--set={key}={one}" for key, one in settings.items()),
    ]


def test_each_promise_has_its_tests() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) >= 12
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in there, f"{path} has no {name}"


def flipped(path: Path) -> None:
    whole, place = bytearray(path.read_bytes()), path.stat().st_size // 2
    if path.suffix == ".pt":  # not a byte between two tensors, which means nothing
        largest = max(zipfile.ZipFile(path).infolist(), key=lambda part: part.file_size)
        name, extra = struct.unpack_from("<HH", whole, largest.header_offset + 26)
        place = largest.header_offset + 30 + name + extra + largest.file_size // 2
    whole[place] ^= 1
    path.write_bytes(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [flipped, cut])
def test_a_damaged_file_of_any_kind_is_named(
    finished: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    files = [path.relative_to(finished) for path in finished.rglob("*") if path.is_file()]
    kinds = {(path.parent.name, path.suffix, path.name.startswith(".")): path for path in files}
    checked = 0
    for (_, _, is_hidden), path in kinds.items():
        if is_hidden or path.name in MADE_ANEW or path.parent.name == "figures":
            continue
        root = tmp_path / f"copy-{checked}"
        shutil.copytree(finished, root)
        damage(root / path)
        assert path.name in what_is_wrong(root), f"{path} was damaged, and is not named"
        checked += 1
    assert checked > 10


def what_is_wrong(root: Path) -> str:
    """What the audit says of a folder's files, and why they cannot be read."""
    said = []
    try:
        run = Run.open(root)
        found = check_manifest(root, *run.facts)
        said += [] if found.passed else [f"{found.text} {found.details}"]
        read_state(root / "checkpoint/seed-0/training.pt")  # which no one reads who is finished
        _, ocd_of_run, work = next(run.at(0).fits(0))
        ocd_of_run.lessons(run.lessons(0), work)
    except OCDError as error:
        said.append(str(error))
    return " ".join(said)


class Harmful:
    """Unpickled, it makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return Path.touch, (self.made,)


def test_no_file_is_read_that_could_run_code(tmp_path: Path) -> None:
    path, made = tmp_path / "state.pt", tmp_path / "made"
    torch.save({"loss": Harmful(made)}, path)
    with pytest.raises(OCDError, match=re.escape(f"{path} cannot be read")):
        read_state(path)
    assert not made.exists()
    for source in (ROOT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                name, given = ast.unparse(call.func), ast.unparse(call)
                assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "joblib.load"), given
                assert name != "torch.load" or "weights_only=True" in given, given
                assert "allow_pickle=True" not in given


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_ends_at_a_point_to_go_on_from(number: int, tmp_path: Path) -> None:
    root = tmp_path / "run"
    process = command(*digits(root, train_size=400))
    until = time.monotonic() + 240
    while not list(root.glob("unfinished/*/*")) and not (root / "checkpoint").exists():
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == "ocd: stopped; the same command goes on from here"
    assert "Traceback" not in errors
    assert not list(root.rglob("*.part"))
    again = command(*digits(root, train_size=400), "--stop-after", "select")
    assert again.communicate(timeout=240) and again.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_a_second_where_python_does_not_look_up(number: int, tmp_path: Path) -> None:
    """A long operation in C, which lets other threads run, as PyTorch's do."""
    program = (
        "import hashlib\n"
        "from ocd.cli.stopping import ending_within_a_second\n"
        "with ending_within_a_second():\n"
        "    print('begun', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)\n"  # a minute or more
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ocd.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(1)  # it is within the operation then, which takes a minute
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    assert "the same command goes on from here" in errors


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = command("settings", "digits")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="users of another kind")
def test_a_folder_that_may_not_be_written_is_one_line(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """As a user who is not its owner, where this one may do everything."""
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    Run.open(root).report()  # imports all that the other user may not read
    before = contents(root)
    code = as_another_user(root, tmp_path, "report", str(root))
    errors = capfd.readouterr().err
    assert code == 2
    assert errors.startswith("ocd: ") and errors.count("\n") == 1
    assert "Permission denied" in errors and str(root) in errors
    assert contents(root) == before


def test_clocks_that_are_set_change_nothing() -> None:
    """No duration is a difference of clock times: those are set back in spring, and by servers."""
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "time.time()" not in text and "datetime.now" not in text, path
