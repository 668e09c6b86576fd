"""One command line as several processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from ocd.errors import OCDError

NumProcesses = Annotated[
    int,
    typer.Option("--num-processes", min=1, help="Processes on this machine that share the work."),
]
POLL = 0.05
"""Seconds between two looks at whether a process has ended."""
GRACE = 5.0
"""Seconds that a process has to end when it is asked to."""


def run_each(more: Sequence[Sequence[str]], without: Sequence[str]) -> None:
    """Run this command once for each of `more` arguments, all at a time, each on its part of the cores,
    and wait for them. `without`: options of this command that they do not get. One that fails is named,
    once all have ended: what it has left, whoever comes next does. What ends this process (Ctrl-C,
    SIGTERM) ends those that it started.
    """
    command = [sys.executable, "-m", "ocd", *without_options(sys.argv[1:], without)]
    threads = max(1, (os.cpu_count() or 1) // max(1, len(more)))
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    started: list[subprocess.Popen[bytes]] = []
    with _ended_together(started):
        for own in more:
            started.append(
                subprocess.Popen([*command, *own], stdout=subprocess.DEVNULL, env=environment)
            )
        while any(process.poll() is None for process in started):
            time.sleep(POLL)
        codes = [process.poll() for process in started]
    for number, code in enumerate(codes):
        if code:
            place = f"process {number} of {len(codes)}"
            typer.echo(f"ocd: {place} ended with exit code {code}", err=True)


def run_shards(count: int) -> None:
    """This command as so many processes, each with its share of the work."""
    each = [["--shard", f"{number}/{count}"] for number in range(count)]
    run_each(each, without=["--num-processes"])


def check_one_way(shard: str | None, num_processes: int | None) -> None:
    """Raises OCDError where a command is to be one of several processes, and to start them."""
    if shard is not None and num_processes is not None:
        raise OCDError("--shard is one of several processes, --num-processes starts them: use one")


@contextmanager
def _ended_together(started: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """The processes end with this block, however it is left: by a signal, too (ocd.cli.stopping)."""
    try:
        yield
    finally:
        for process in started:
            process.terminate()  # nothing where it has ended
        until = time.monotonic() + GRACE
        for process in started:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def without_options(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """A command line without these options and their values."""
    kept, skip = [], False
    for argument in arguments:
        if skip or any(argument.startswith(f"{name}=") for name in names):
            skip = False
        elif argument in names:
            skip = True
        else:
            kept.append(argument)
    return kept
