"""One command line as several processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

NumProcesses = Annotated[
    int,
    typer.Option("--num-processes", min=1, help="Processes on this machine that share the work."),
]


def run_each(more: Sequence[Sequence[str]], without: Sequence[str]) -> bool:
    """Run this command once for each of `more` arguments, all at a time, and wait for them; whether all
    went well. `without`: options of this command that they do not get. One that fails is named, once
    all have ended: what it has left, whoever comes next does."""
    command = [sys.executable, "-m", "ocd", *without_options(sys.argv[1:], without)]
    started = [subprocess.Popen([*command, *own], stdout=subprocess.DEVNULL) for own in more]
    try:
        codes = [process.wait() for process in started]
    except BaseException:  # Ctrl-C: they were told, too, and save what they have
        for process in started:
            process.wait()
        raise
    for number, code in enumerate(codes):
        if code:
            place = f"process {number} of {len(codes)}"
            typer.echo(f"ocd: {place} ended with exit code {code}", err=True)
    return not any(codes)


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
