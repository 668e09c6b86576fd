"""What tests of several processes, and of other users of a machine, share."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

from ocd.cli import main


def run_together(processes: Iterable[BaseProcess], seconds: float = 120) -> None:
    """Start all of them, and see each end well."""
    started = list(processes)
    for process in started:
        process.start()
    for process in started:
        process.join(seconds)
        assert process.exitcode == 0


def as_another_user(root: Path, tmp_path: Path, *arguments: str) -> int | None:
    """The exit code of a command by a user who may read the folder `root` in `tmp_path` and change
    nothing there; who runs the tests may do everything. What the command imports has to be imported."""
    places = [root, *root.rglob("*")]
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)
    above = [path for path in tmp_path.parents if path.name.startswith(("pytest", "popen"))]
    for path in (tmp_path, *above):
        path.chmod(path.stat().st_mode | 0o055)
    child = multiprocessing.get_context("fork").Process(target=_run_as_another, args=(arguments,))
    child.start()
    child.join(120)
    for path in places:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return child.exitcode


def _run_as_another(arguments: tuple[str, ...]) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
    sys.argv = ["ocd", *arguments]
    main()
