"""Files that are written aside and renamed."""

from __future__ import annotations

from pathlib import Path

import torch

from ocd.data import write_json, write_state, write_tensors


def test_files_of_every_kind_may_be_read_by_those_who_may_read_new_ones(tmp_path: Path) -> None:
    """safetensors writes files that nobody else may read, which a shared folder has no use for."""
    (tmp_path / "new").touch()
    write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    write_state(tmp_path / "a.pt", {"a": torch.zeros(2)})
    write_json(tmp_path / "a.json", {})
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 4 and len(set(modes.values())) == 1, modes
