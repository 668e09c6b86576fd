"""Which of several processes is at a piece of work: a note with signs of life, on a shared folder.

    with claimed(folder / "plan") as is_ours:       # False where another process is at it
        ...
    share_out([Job("plan", folder / "plan", is_done, work)], say)   # done by one, awaited by all

The note says host and process, and is touched while the process lives. It is void where its process is
gone: at once on the same machine, elsewhere where it is silent for `STALE` seconds by the clock of the
folder's own file system (the clocks of machines differ, and change). Another takes the work over then.
A process that was only halted for so long does no harm: all work here ends with the same bits.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocd.data.files import is_alive, locked

STALE = 60.0
"""Seconds after which a process that says nothing is taken for dead."""
BEAT = 10.0
"""Seconds between two signs of life."""
POLL = 0.5
"""Seconds between two looks at whether another process has done what is waited for."""
REMIND = 60.0
"""Seconds between two lines that say what is waited for."""


@contextmanager
def claimed(claim: Path) -> Iterator[bool]:
    """Says that this process is at a piece of work, with signs of life; False where another one is."""
    if not _take(claim):
        yield False
        return
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(claim, done), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        done.set()
        beat.join()
        if _is_ours(claim):  # and not of one that took the work over while this process was halted
            claim.unlink(missing_ok=True)


def _take(claim: Path) -> bool:
    while True:
        claim.parent.mkdir(parents=True, exist_ok=True)
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(_who())
            return True
        except FileNotFoundError:  # the folder was removed by one that found all work done
            continue
        except FileExistsError:
            if not _is_void(claim):
                return False
        with locked(claim.parent / "taking"):  # of those that find it void, one takes it
            if not claim.exists():
                continue
            if not _is_void(claim):
                return False
            claim.write_text(_who(), encoding="utf-8")
            return True


def _who() -> str:
    return f"{socket.gethostname()} {os.getpid()}\n"


def _is_ours(claim: Path) -> bool:
    try:
        return claim.read_text(encoding="utf-8") == _who()
    except FileNotFoundError:
        return False


def _is_void(claim: Path) -> bool:
    """Whether the process of a note is gone, or has said nothing for long."""
    try:
        host, _, pid = claim.read_text(encoding="utf-8").strip().partition(" ")
    except FileNotFoundError:  # its process has just ended
        return True
    if host == socket.gethostname() and pid.isdecimal() and not is_alive(pid):
        return True
    now = claim.parent / f".now-{socket.gethostname()}-{os.getpid()}"
    try:
        now.touch()
        return now.stat().st_mtime - claim.stat().st_mtime > STALE
    except FileNotFoundError:  # its process has just ended
        return True
    finally:
        now.unlink(missing_ok=True)


def _beat(claim: Path, done: threading.Event) -> None:
    """Signs of life until the work is done."""
    while not done.wait(BEAT):
        if not _is_ours(claim):
            return
        with contextlib.suppress(FileNotFoundError):
            os.utime(claim)


@dataclass(frozen=True)
class Job:
    """Work that one of several processes does. `name`: in words. `claim`: the file of the note."""

    name: str
    claim: Path
    is_done: Callable[[], bool]
    work: Callable[[], None]


def share_out(jobs: Sequence[Job], say: Callable[[str], None]) -> None:
    """Return where all jobs are done, each by some process: those that nobody is at are done here, in
    their order, and the others awaited; `say` which, now and then. A job must not need one after it."""
    left, said = list(jobs), -REMIND
    while left := [job for job in left if not job.is_done()]:
        ours = next((job for job in left if _do(job)), None)
        if ours is not None:
            left.remove(ours)
            continue
        if time.monotonic() - said >= REMIND:
            say(f"another process is at: {', '.join(job.name for job in left)}; waiting for it")
            said = time.monotonic()
        pause()


def _do(job: Job) -> bool:
    """Whether the job was this process's, and is done now."""
    with claimed(job.claim) as is_ours:
        if is_ours and not job.is_done():
            job.work()
        return is_ours


def wait_for(is_ready: Callable[[], bool], what: str, say: Callable[[str], None]) -> None:
    """Wait until the first process of a launch has done something that is done once; `say` what, now
    and then. Where that process dies, its launcher ends the others."""
    said = -REMIND
    while not is_ready():
        if time.monotonic() - said >= REMIND:
            say(f"waiting for {what}")
            said = time.monotonic()
        pause()


def pause() -> None:
    """The time between two looks at what others do."""
    time.sleep(POLL)
