"""One verb of a run by several processes: what each of them waits for, and how they are started.

    ocd overfit DIR --shard 2/8        # this process is the second of eight, on any machine
    ocd overfit DIR --num-processes 8  # eight processes on this machine

What is done once (a base, a choice of layer, a plan) is done by the first process; the others wait for
its files. Units (examples to overfit, methods that predict) are taken by all (ocd.data.units). The
first process ends with what has to be made of all units.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ocd.data import Share, read_json, wait_for
from ocd.errors import OCDError
from ocd.evaluation import Together
from ocd.lessons import Workdir
from ocd.runs.comparing import missing_file

if TYPE_CHECKING:
    from ocd.runs.run import Run

GRACE = 5.0
"""Seconds that a process has to end when it is asked to."""


def await_selection(run: Run, seed: int) -> None:
    """Wait until the first process has the base, and the scores of its layers."""
    paths = (run.base_path(seed), run.selection_path(seed))
    _await(
        run.share, lambda: all(path.exists() for path in paths), "the base and the choice of a layer"
    )


def await_plan(run: Run, work: Workdir) -> None:
    """Wait until the first process has decided all that the lessons of a fit depend on."""

    def is_decided() -> bool:
        if not work.plan.exists():
            return False
        saved = read_json(work.plan)
        return saved["plan"] is not None and saved["has_common_move"] is not None

    _await(run.share, is_decided, f"the plan of {work.plan.parent.name}")


def await_training(run: Run, seed: int) -> None:
    """Wait until everything is trained that predicts."""
    last = run.root / "predictions" / f"seed-{seed}.safetensors"

    def is_trained() -> bool:
        missing = missing_file(run, seed)
        return missing in (None, str(last)) and run.reference_path(seed).exists()

    _await(run.share, is_trained, "the training")


def together_of(run: Run, seed: int) -> Together | None:
    """Where the processes that predict a seed put what each method says; None for one that is alone."""
    if run.share.is_alone:
        return None
    return Together(run.unfinished(seed) / "methods", run.share)


def _await(share: Share, is_ready: Callable[[], bool], what: str) -> None:
    if share.leads:
        return
    said = f"{what} by shard 1/{share.of}, which does this once"
    wait_for(is_ready, said, lambda line: print(f"shard {share}: {line}", file=sys.stderr, flush=True))


# Processes on one machine


def in_processes(arguments: list[str], count: int) -> None:
    """Run `ocd ARGUMENTS --shard I/N` for every I, each on its part of the cores, until all have ended.

    Where one is killed, others take its units; the first one is needed. Raises OCDError where a process
    failed, whose own line says why. Whatever ends this process ends those that it started.
    """
    if count < 1:
        raise OCDError(f"--num-processes is {count}: it must be at least 1")
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    started: list[subprocess.Popen[bytes]] = []
    with _ending(started):
        for number in range(1, count + 1):
            command = [sys.executable, "-m", "ocd", *arguments, "--shard", f"{number}/{count}"]
            started.append(subprocess.Popen(command, env=environment))
        while any(process.poll() is None for process in started):
            for number, process in enumerate(started, 1):
                code = process.poll()
                if code and (code > 0 or number == 1):
                    how = f"failed (exit code {code})" if code > 0 else f"was ended by signal {-code}"
                    raise OCDError(
                        f"process {number} of {count} {how}: the same command goes on where it stopped"
                    )
            time.sleep(0.05)
    lost = [str(number) for number, process in enumerate(started, 1) if process.returncode]
    if lost:
        print(f"processes {', '.join(lost)} were killed; others did their units", file=sys.stderr)


@contextmanager
def _ending(started: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """The processes end with this block, also where it is left by Ctrl-C or SIGTERM."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in started:
            process.terminate()
        until = time.monotonic() + GRACE
        for process in started:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def do_shared(folder: Path, verb: str, share: Share, num_processes: int | None = None) -> None:
    """overfit or predict: alone, as one of several processes, or by several started here."""
    from ocd.runs.run import Run

    if num_processes is not None:
        Run.open(folder)  # what is wrong with the folder is said once
        in_processes([verb, str(folder)], num_processes)
        Run.open(folder).do(verb)  # all is there: only what the processes left over is removed
        return
    run = Run.open(folder)
    run.share = share
    run.do(verb)
