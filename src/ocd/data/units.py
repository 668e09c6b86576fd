"""Work cut into fixed units that any number of processes take, on any machines that see one folder.

    units = Units(folder, key)
    for number in units.to_do(Shard(0, 4), total=100):    # ours first, then what others left
        with units.taken(number) as is_ours:
            if is_ours:
                write_tensors(units.path(number), ...)
                units.finish(number, rows=4096)

A unit is a data file, and then its marker, each written aside and renamed: what has a marker is whole.
Units are the same whatever the number of processes, so that two that finish the same one write the same
bits, and no lock decides what is right. A note that a process is at a unit (`claims/`, touched while it
works) only keeps others from doing it too; where it is older than `STALE` seconds by the clock of the
folder's own file system, its process has died, and another takes the unit.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocd.data.files import is_alive, locked, read_json, remove_left, write_json
from ocd.errors import OCDError

STALE = 60.0
"""Seconds after which a process that says nothing is taken for dead."""
BEAT = 10.0
"""Seconds between two signs of life."""
POLL = 0.5
"""Seconds between two looks at whether another process has done what is waited for."""
REMIND = 60.0
"""Seconds between two lines that say what is waited for."""
STRETCH = 16
"""Units in a row that belong to one process: a file is read on, and not searched for each unit."""


@dataclass(frozen=True)
class Shard:
    """One of `of` processes that share the work, counted from 0: `--shard 2/8`."""

    number: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "2/8". Raises OCDError for anything else."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            raise OCDError(f"--shard is {text!r}: it must be I/N, with I from 0 to N - 1, such as 0/8")
        return cls(int(number), int(of))

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.of == 1

    @property
    def leads(self) -> bool:
        """Whether this process does what has to be done once, before and after the units."""
        return self.number == 0

    @property
    def words(self) -> str:
        """Words for the end of a name; "" where there is no other process."""
        return "" if self.is_alone else f", shard {self.number} of {self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def owns(self, unit: int) -> bool:
        """Whether a unit is this process's own: stretches go round."""
        return (unit // STRETCH) % self.of == self.number


class Units:
    """The units in a folder. `key`: what they depend on; units of another key are refused. `suffix`: of
    the data files."""

    def __init__(self, folder: Path, key: dict[str, Any], suffix: str = ".safetensors") -> None:
        self.folder, self.suffix = folder, suffix
        remove_left(folder)
        path = folder / "units.json"
        with locked(path):
            if not path.exists():
                write_json(path, {"key": key})
            elif (known := read_json(path)["key"]) != key:
                other = next((n for n in {**known, **key} if known.get(n) != key.get(n)), "")
                raise OCDError(
                    f"{folder} holds parts of other work ({other} is {known.get(other)!r}, not "
                    f"{key.get(other)!r}): delete it, or use another folder"
                )

    def path(self, number: int) -> Path:
        """The data file of a unit."""
        return self.folder / f"part-{number:06d}{self.suffix}"

    def marker(self, number: int) -> Path:
        """The file that says that a unit is done."""
        return self.folder / f"part-{number:06d}.json"

    def is_done(self, number: int) -> bool:
        return self.marker(number).exists()

    def facts(self, number: int) -> dict[str, Any]:
        """What `finish` was given."""
        found: dict[str, Any] = read_json(self.marker(number))
        return found

    def finish(self, number: int, **facts: Any) -> None:
        """Mark a unit as done; its data file is complete."""
        write_json(self.marker(number), facts)

    def num_done(self, total: int) -> int:
        """How many of the first `total` units are done."""
        return sum(self.is_done(number) for number in range(total))

    def to_do(self, shard: Shard, total: int) -> Iterator[int]:
        """Units that are not done: the process's own in their order, then all others that are left."""
        for own in (True, False):
            for number in range(total):
                if shard.owns(number) == own and not self.is_done(number):
                    yield number

    def until_done(self, shard: Shard, total: int) -> Iterator[int]:
        """Units that this process is at, until all are done, whoever did them: those that others are at
        are waited for. Ends a unit where the next one is asked for."""
        while self.num_done(total) < total:
            for number in self.to_do(shard, total):
                with self.taken(number) as is_ours:
                    if is_ours:
                        yield number
            if self.num_done(total) < total:
                time.sleep(POLL)

    @contextmanager
    def taken(self, number: int) -> Iterator[bool]:
        """Says that this process is at a unit; False where another one is, or it is done."""
        claim = self.folder / "claims" / f"{number:06d}"
        if self.is_done(number) or not self._claim(claim):
            yield False
            return
        if self.is_done(number):  # by a process that ended between the two looks
            claim.unlink(missing_ok=True)
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
            claim.unlink(missing_ok=True)

    def _claim(self, claim: Path) -> bool:
        claim.parent.mkdir(parents=True, exist_ok=True)
        who = f"{socket.gethostname()} {os.getpid()}\n"
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(who)
        except FileExistsError:
            if not self._is_stale(claim):
                return False
            claim.write_text(who, encoding="utf-8")
        return True

    def _is_stale(self, claim: Path) -> bool:
        """Of a process of this machine, whether it is gone; else by the file system's own clock: those
        of machines differ, and change."""
        try:
            host, _, pid = claim.read_text(encoding="utf-8").strip().partition(" ")
        except FileNotFoundError:  # its process has just ended
            return True
        if host == socket.gethostname() and pid.isdecimal() and not is_alive(pid):
            return True
        now = claim.parent / f".now-{socket.gethostname()}-{os.getpid()}"
        now.touch()
        try:
            return now.stat().st_mtime - claim.stat().st_mtime > STALE
        except FileNotFoundError:  # its process has just ended
            return True
        finally:
            now.unlink(missing_ok=True)


def _beat(claim: Path, done: threading.Event) -> None:
    """Signs of life until the work is done."""
    while not done.wait(BEAT):
        try:
            os.utime(claim)
        except FileNotFoundError:
            return


def wait_for(is_ready: Callable[[], bool], what: str, say: Callable[[str], None]) -> None:
    """Wait until another process has done something that is done once; `say` what, now and then.

    There is no end to it: the process that does it may be started later, or again.
    """
    said = -REMIND
    while not is_ready():
        if time.monotonic() - said >= REMIND:
            say(f"waiting for {what}")
            said = time.monotonic()
        time.sleep(POLL)
