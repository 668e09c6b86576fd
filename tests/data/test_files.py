"""Files that are written aside and renamed."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from pathlib import Path

import torch

from ocd.data import Units, write_json, write_state, write_tensors


def test_files_of_every_kind_may_be_read_by_those_who_may_read_new_ones(tmp_path: Path) -> None:
    """safetensors writes files that nobody else may read, which a shared folder has no use for."""
    (tmp_path / "new").touch()
    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    write_state(tmp_path / "a.pt", {"a": torch.zeros(2)})
    write_json(tmp_path / "a.json", {})
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 4 and len(set(modes.values())) == 1, modes


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=write_tensors, args=(tmp_path / "part-000000.safetensors", {"a": torch.zeros(2**26)})
    )
    process.start()
    begun: list[Path] = []
    until = time.monotonic() + 60
    while not begun and time.monotonic() < until:
        begun = [path for path in tmp_path.iterdir() if path.stat().st_size]
    process.kill()
    process.join()
    assert [path.exists() for path in begun] == [True], "it was not killed while it wrote"
    here = socket.gethostname()
    others = {
        f"part-000001.safetensors.{here}.{os.getppid()}.part",  # of a process that lives
        "part-000002.safetensors.another-machine.1.part",  # of which nobody knows here
    }
    for name in others:
        (tmp_path / name).write_text("half")
    units = Units(tmp_path, {"what": 1})
    assert begun[0].exists()  # of one that only reads
    with units.taken(7):
        pass
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == others | {"units.json", "claims"}
    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    assert not list(tmp_path.glob("a.safetensors.*"))
