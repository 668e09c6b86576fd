"""Work that is cut into units, which any number of processes take, on any machines that see a folder.

    units = Units(folder, "shard")
    for number in units.to_do(count, Share(2, 8)):      # of eight processes, what the second takes
        units.write(number, tensors, {"rows": 4096})    # shard-00001.safetensors, then its marker

A unit is a data file, then a marker beside it (JSON), which holds the hash of the data. Both are
written under a name that no other process has, and renamed. Processes share nothing but the folder:
there is no server and no lock. Each begins with units of its own, by their numbers, and then takes
those that are still missing: of a process that died, or is slow. What a unit holds depends on its
number alone, so that one that two processes finish is the same bits. No clock is compared with another.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ocd.data.files import read_json, write_json
from ocd.data.tensor_files import file_digest, write_tensors
from ocd.errors import OCDError

POLL = 0.5
"""Seconds between two looks at whether another process has done what is waited for."""
PATIENCE = 2.0
"""How long a unit of another process is waited for, in units of the own longest one; no less than so
many seconds."""
REMIND = 60.0
"""Seconds between two lines that say what is waited for."""


@dataclass(frozen=True)
class Share:
    """Which of `of` processes this is, counted from 1. The default is one that works alone."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise OCDError(
                f"a shard is {self.number}/{self.of}: it must be I/N, such as 2/8, with I from 1 to N"
            )

    @classmethod
    def parse(cls, text: str | None) -> Share:
        """Of "I/N"; None is a process that works alone. Raises OCDError for anything else."""
        if text is None:
            return cls()
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise OCDError(f"--shard is {text!r}: it must be I/N, such as 2/8, with I from 1 to N")
        return cls(int(parts[0]), int(parts[1]))

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.of == 1

    @property
    def leads(self) -> bool:
        """Whether this process does what has to be done once, before and after the units."""
        return self.number == 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def words(self) -> str:
        """Words for the end of a name; "" where there is no other process."""
        return "" if self.is_alone else f", shard {self.number} of {self.of}"

    def own(self, count: int) -> range:
        """The units that this process takes first: neighbours, as they are read."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)

    def all(self) -> list[Share]:
        """All processes, this one too."""
        return [Share(number, self.of) for number in range(1, self.of + 1)]


@dataclass(frozen=True)
class Units:
    """The units in a folder, `name`-00000 and on, and the ending of their data."""

    folder: Path
    name: str
    ending: str = ".safetensors"

    def data(self, number: int) -> Path:
        """The file of a unit's data."""
        return self.folder / f"{self.name}-{number:05d}{self.ending}"

    def marker(self, number: int) -> Path:
        """The file that says that a unit is done."""
        return self.folder / f"{self.name}-{number:05d}.json"

    def is_done(self, number: int) -> bool:
        """Whether a unit has its marker."""
        return self.marker(number).exists()

    def done(self) -> set[int]:
        """The units that are done, by one look at the folder."""
        if not self.folder.exists():
            return set()
        wanted = re.compile(re.escape(self.name) + r"-(\d+)\.json")
        found = (wanted.fullmatch(path.name) for path in self.folder.iterdir())
        return {int(match[1]) for match in found if match}

    def to_do(self, count: int, share: Share) -> Iterator[int]:
        """Of `count` units those that are not done when their turn comes, the own ones first. Ends when
        all are done, whoever did them.

        Of what others have left, the first unit of each is probably being worked on: it is taken only
        if it is not done after a while.
        """
        done, longest = self.done(), 0.0
        for number in share.own(count):
            if number not in done and not self.is_done(number):
                start = time.monotonic()
                yield number
                longest = max(longest, time.monotonic() - start)
        first: list[int] = []
        since = time.monotonic()
        while missing := sorted(set(range(count)) - self.done()):
            rests = (set(one.own(count)) & set(missing) for one in share.all())
            begun = sorted(min(rest) for rest in rests if rest)
            if begun != first:
                first, since = begun, time.monotonic()
            free = [number for number in missing if number not in begun]
            if not free and time.monotonic() - since >= max(PATIENCE, PATIENCE * longest):
                free = missing
            if free:  # processes that look for more at the same time begin in different places
                yield free[(share.number - 1) * len(free) // share.of]
            else:
                time.sleep(POLL)

    def write(self, number: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write a unit's tensors, if there are any, and then its marker with some facts."""
        if tensors:
            write_tensors(self.data(number), tensors)
        self.mark(number, facts)

    def mark(self, number: int, facts: dict[str, Any]) -> None:
        """Write the marker of a unit whose data, if it has any, are in their file."""
        if self.data(number).exists():
            facts = facts | {"sha256": file_digest(self.data(number))}
        write_json(self.marker(number), facts)

    def facts(self, number: int) -> dict[str, Any]:
        """What a unit's marker says. Raises OCDError where it is missing or damaged."""
        found: dict[str, Any] = read_json(self.marker(number))
        return found

    def check(self, number: int, remedy: str) -> None:
        """Raises OCDError where a unit's data are missing, cut short or changed; `remedy` helps."""
        path, wanted = self.data(number), self.facts(number).get("sha256")
        if wanted is None:
            return
        if not path.exists() or file_digest(path) != wanted:
            what = "missing" if not path.exists() else "cut short or changed (wrong sha256)"
            raise OCDError(f"{path} is {what}: {remedy}")


def wait_for(
    is_ready: Callable[[], bool], what: str, say: Callable[[str], None], poll: float = POLL
) -> None:
    """Wait until another process has done something that is done once; `say` what, now and then.

    There is no end to it: the process that does it may be started later, or again.
    """
    said = -REMIND
    while not is_ready():
        if time.monotonic() - said >= REMIND:
            say(f"waiting for {what}")
            said = time.monotonic()
        time.sleep(poll)
