"""A disk that is full: one line that says so, and nothing of what was there is lost."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ocd.data import read_state, read_tensors, write_json, write_state, write_tensors, written_aside
from ocd.errors import OCDError

LARGE = {"a": torch.zeros(2**20)}  # four megabytes, on a disk of one
WRITERS: dict[str, Callable[[Path], None]] = {
    "state": lambda path: write_state(path, LARGE),
    "tensors": lambda path: write_tensors(path, LARGE),
    "json": lambda path: write_json(path, "x" * 2**22),
}
every_writer = pytest.mark.parametrize("kind", WRITERS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte; not everybody may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a small disk can be made by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@every_writer
def test_a_full_disk_is_one_line_and_loses_nothing(kind: str, disk: Path) -> None:
    path = disk / "file"
    path.write_text("old")
    with pytest.raises(OCDError, match="file cannot be written, its disk is full") as caught:
        WRITERS[kind](path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [found.name for found in disk.iterdir()] == [
        "file"
    ]  # what was half written makes room again


def test_what_fits_again_is_written(disk: Path) -> None:
    (disk / "other").write_bytes(bytes(2**20 - 2**16))
    small = {"a": torch.ones(2**16)}
    with pytest.raises(OCDError, match="full"):
        write_state(disk / "state", small)
    (disk / "other").unlink()
    write_state(disk / "state", small)
    write_tensors(disk / "tensors", small)
    assert read_state(disk / "state")["a"].sum() == read_tensors(disk / "tensors")["a"].sum() == 2**16


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_systems_own_errors_are_known(code: int, tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="disk is full"), written_aside(tmp_path / "file"):
        raise OSError(code, os.strerror(code))


def test_other_errors_are_passed_on_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), written_aside(tmp_path / "file") as aside:
        aside.write_text("half")
        1 / 0  # noqa: B018
    with pytest.raises(RuntimeError, match="unexpected pos"), written_aside(tmp_path / "file"):
        raise RuntimeError("unexpected pos 704 vs 598")  # on a disk with room
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_what_a_process_that_died_left_is_removed(tmp_path: Path) -> None:
    import socket

    process = subprocess.Popen(["true"])
    process.wait()
    dead = tmp_path / f"file.{socket.gethostname()}.{process.pid}.part"
    alive = tmp_path / f"file.{socket.gethostname()}.{os.getppid()}.part"
    elsewhere = tmp_path / "file.another-machine.1.part"
    for path in (dead, alive, elsewhere):
        path.write_text("half")
    write_json(tmp_path / "file", 1)
    assert not dead.exists() and alive.exists() and elsewhere.exists()
