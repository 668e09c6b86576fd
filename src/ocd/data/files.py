"""Small files, written under another name and renamed: a reader never sees half of one."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocd.errors import OCDError

_HOST = re.sub(r"[^\w-]", "_", socket.gethostname())
_ASIDE = re.compile(r"\.(?P<host>[\w-]+)-(?P<process>\d+)-\d+\.part$")


def aside_of(path: Path) -> Path:
    """Where this thread writes a file before it is renamed. No other process has the name, on this
    machine or on another that sees the folder."""
    return path.with_name(f"{path.name}.{_HOST}-{os.getpid()}-{threading.get_ident()}.part")


def sweep(root: Path) -> None:
    """Remove what killed processes of this machine were writing below `root`. Those of other machines
    may be alive."""
    for path in root.rglob("*.part"):
        found = _ASIDE.search(path.name)
        if found and found["host"] == _HOST and not _is_alive(int(found["process"])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # the disk is full
        aside.unlink(missing_ok=True)
        raise
    os.replace(aside, path)


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
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, sorted and indented, so that two files of the same value are equal."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Raises OCDError where the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OCDError(f"{path} is missing") from None
    except json.JSONDecodeError as error:
        raise OCDError(f"{path} is not valid JSON (line {error.lineno}: {error.msg})") from None
