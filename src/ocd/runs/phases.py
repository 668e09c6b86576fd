"""The phases of a run: what one process does while others wait for it, and what all take a part in.

    do_jobs(run, [phase_job(run, "base", seed, [path], train)])   # once, by whoever is there first
    with shared_phase(run, "overfit", seed): ...                    # by each, a part of it

A process that is at a phase gives signs of life (ocd.data.claims). Where it is gone, another goes on
with what it had begun, which lies in a folder that does not depend on the number of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ocd.data import Job, claimed, on_one_thread, resumable, share_out
from ocd.tasks import kept_in

if TYPE_CHECKING:
    from ocd.runs.folder import RunFolder


def threads_of(run: RunFolder) -> AbstractContextManager[None]:
    """For what must be the same bits, however many processes there are, and threads in each."""
    return on_one_thread() if run.is_shared else nullcontext()


@contextmanager
def phase(run: RunFolder, name: str, seed: int, of: str = "") -> Iterator[None]:
    """Work that is resumable; what comes of it is written inside. Its seconds, those of killed
    processes too, are logged. `of`: tells phases of one name apart."""
    with kept_in(run.root / "features"), _timed(run, name, seed, run.unfinished(seed) / (of or name)):
        yield


@contextmanager
def shared_phase(run: RunFolder, name: str, seed: int) -> Iterator[None]:
    """A part of work that several processes are at. What they have begun lies with its units; here is
    the clock alone, one for each share: of two processes of one share, one has it."""
    own = f"{name}{run.share.words}"
    with claimed(run.unfinished(seed) / "claims" / f"part of {own}") as is_ours:
        where = run.unfinished(seed) / own
        with (
            threads_of(run),
            kept_in(run.root / "features"),
            _timed(run, own, seed, where) if is_ours else resumable(None),
        ):
            yield


@contextmanager
def _timed(run: RunFolder, name: str, seed: int, where: Path) -> Iterator[None]:
    with resumable(where) as place:
        try:
            yield
        finally:
            run.log(seed).write("phase", phase=name, seconds=round(place.seconds, 3))
            place.restart_clock()


def phase_job(
    run: RunFolder,
    name: str,
    seed: int,
    written: Sequence[Path],
    work: Callable[[], object],
    is_done: Callable[[], bool] | None = None,
    of: str = "",
) -> Job:
    """A phase as a job that one of several processes does. `written`: files and folders that come of
    it, which enter the manifest; by these it is done, or by `is_done`."""

    def do() -> None:
        with phase(run, name, seed, of=of):
            work()
        run.enter(*(path for path in written if path.exists()))

    def all_there() -> bool:
        return all(path.exists() for path in written)

    claim = run.unfinished(seed) / "claims" / (of or name)
    return Job(f"{of or name} of seed {seed}", claim, is_done or all_there, do)


def do_jobs(run: RunFolder, jobs: Sequence[Job]) -> None:
    """Return where all are done, by this process or by others."""
    who = "" if run.share.is_alone else f"shard {run.share}: "
    share_out(jobs, lambda line: print(f"{who}{line}", file=sys.stderr, flush=True))
