"""Tensors on disk: safetensors files, written under another name and renamed when complete."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ocd.data.files import written_aside
from ocd.errors import OCDError

MARK = "made by ocd"
"""In the metadata of the files that are written here."""


def is_written_here(path: Path) -> bool:
    """Whether a safetensors file was written by this library (since version 1.0)."""
    try:
        with safe_open(path, framework="pt") as file:
            return MARK in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file so that a reader never sees half of it.

    Not by `save_file`: that begins a file whose name says nothing of its process, so that what a killed
    one has left of it could never be told from what a living one is at.
    """
    whole = save(_apart(tensors), metadata={MARK: "yes"})
    with written_aside(path) as aside:
        aside.write_bytes(whole)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, contiguous on the CPU; one that shares memory with another (tied weights) is copied,
    since the format does not have that."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    return apart


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Raises OCDError where the file is missing, truncated or not safetensors."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise OCDError(f"{path} is missing") from None
    except Exception as error:  # safetensors raises its own types for a damaged header
        raise OCDError(f"{path} cannot be read as safetensors: {error}") from None


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def only_tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """A module's state without its extra state, which is the module's own affair."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def load_strictly(module: nn.Module, path: Path, digest: str | None) -> None:
    """Raises OCDError for weights of another digest (None: not known, as in the first checkpoints),
    and naming the first parameter that is missing, unexpected or of another shape."""
    state, current = read_tensors(path), module.state_dict()
    wanted = only_tensors(current)
    if digest is not None and file_digest(path) != digest:
        raise OCDError(f"{path} belongs to another save than its config.json: save again")
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise OCDError(f"{path} has no {name!r}")
        if name not in wanted:
            raise OCDError(f"{path} has {name!r}, which the network has not")
        if state[name].shape != wanted[name].shape:
            raise OCDError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, the network's has "
                f"{tuple(wanted[name].shape)}"
            )
    module.load_state_dict(current | state)
