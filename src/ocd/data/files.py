"""Small files, written under another name and renamed: a reader never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import math
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocd.errors import OCDError

LITTLE = 2**26
"""Bytes below which a disk is full, where a library does not say why it failed."""


def aside_of(path: Path) -> Path:
    """Where a file is written until it is whole: a name that no other process has, on any machine."""
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A file to write, which gets the name `path` once all of it is on the disk. What stood there stays
    until then, and where the writing fails. Raises OCDError where the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException as error:
        full = _is_full(error, path.parent)
        aside.unlink(missing_ok=True)
        if full:
            raise OCDError(
                f"{path} cannot be written, its disk is full: nothing is lost; make room, and the same "
                "command goes on"
            ) from None
        raise
    os.replace(aside, path)
    remove_left(path.parent, path.name)


def remove_left(folder: Path, name: str = "*") -> None:
    """Remove what processes that are gone have begun to write in a folder, of files of this name or of
    any; never that of a process that lives, nor that of another machine, of which nobody knows here."""
    pattern = name if name == "*" else glob.escape(name)
    for left in folder.glob(f"{pattern}.{glob.escape(socket.gethostname())}.*.part"):
        if not is_alive(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether a disk was full: libraries have errors of their own for it, and torch speaks of an
    unexpected position."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if "No space left" in text or "quota exceeded" in text:
        return True
    return "unexpected pos" in text and shutil.disk_usage(folder).free < LITTLE


def is_alive(pid: str) -> bool:
    """Whether there is a process of this machine with this number."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old file or the new one, never half of it."""
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time between reading and rewriting `path`; several may work on one folder."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system: one process a folder there
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, sorted and indented, so that two files of the same value are equal."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def finite_only(value: Any) -> Any:
    """The same with None for each number that is not finite: JSON has no other word for it."""
    if isinstance(value, dict):
        return {key: finite_only(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Raises OCDError where the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OCDError(f"{path} is missing") from None
    except json.JSONDecodeError as error:
        raise OCDError(f"{path} is not valid JSON (line {error.lineno}: {error.msg})") from None
