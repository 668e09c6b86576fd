"""Work cut into fixed units that any number of processes take, on any machines that see one folder.

    units = Units(folder, key)
    for number in units.to_do(Shard(0, 4), total=100):    # ours first, then what others left
        with units.taken(number) as is_ours:
            if is_ours:
                write_tensors(units.path(number), ...)
                units.finish(number, rows=4096)

A unit is a data file, and then its marker, each written aside and renamed: what has a marker was whole.
What has lost its data file since is not done; what was changed is found by the sha256 in its marker
(`drop_damaged`). Units are the same whatever the number of processes, so that two that finish the same
one write the same bits, and no lock decides what is right. A note that a process is at a unit
(ocd.data.claims) only keeps others from doing it too; where its process is gone, another takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocd.data.claims import claimed, pause
from ocd.data.files import locked, read_json, remove_left, write_json
from ocd.data.tensor_files import file_digest
from ocd.errors import OCDError

STRETCH = 16
"""Units in a row that belong to one process: a file is read on, and not searched for each unit."""

SHARE_WORDS = ", shard "


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
        return "" if self.is_alone else f"{SHARE_WORDS}{self.number} of {self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def owns(self, unit: int) -> bool:
        """Whether a unit is this process's own: stretches go round."""
        return (unit // STRETCH) % self.of == self.number


def seconds_by_phase(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each "phase" of a log's events; of a part that several processes took at once (whose
    names end with a share's `words`), those of the one that was at it longest."""
    by_share: dict[str, dict[str, float]] = {}
    for event in events:
        name, _, share = event["phase"].partition(SHARE_WORDS)
        of = by_share.setdefault(name, {})
        of[share] = of.get(share, 0.0) + event["seconds"]
    return {name: _longest(of) for name, of in by_share.items()}


def _longest(seconds: dict[str, float]) -> float:
    """Of the shares of a phase ("1 of 4"; "" where nobody else was at it), one after another for each
    number of processes."""
    longest: dict[str, float] = {}
    for share, of in seconds.items():
        count = share.partition(" of ")[2]
        longest[count] = max(longest.get(count, 0.0), of)
    return sum(longest.values())


class Units:
    """The units in a folder. `key`: what they depend on; units of another key are refused. `suffix`: of
    the data files."""

    def __init__(self, folder: Path, key: dict[str, Any], suffix: str = ".safetensors") -> None:
        self.folder, self.suffix = folder, suffix
        self._is_cleared = False
        path = folder / "units.json"
        if not path.exists():  # who only reads may not be allowed to write
            with locked(path):
                if not path.exists():
                    write_json(path, {"key": key})
        if (known := read_json(path)["key"]) != key:
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
        """Whether a unit has its marker, and the data file that this speaks of."""
        if not self.marker(number).exists():
            return False
        return self.path(number).exists() or self._digest(number) is None

    def drop_damaged(self, number: int) -> None:
        """A unit that is marked, and whose data file is missing or not as it was written (its sha256),
        loses its marker: whoever comes to it does it again. Reads the whole file."""
        if not self.marker(number).exists() or (wanted := self._digest(number)) is None:
            return
        path = self.path(number)
        if not path.exists() or file_digest(path) != wanted:
            self.marker(number).unlink(missing_ok=True)

    def _digest(self, number: int) -> str | None:
        """The sha256 of a unit's data; None where it has none, "" where the marker does not say."""
        try:
            digest: str | None = self.facts(number).get("sha256", "")
        except OCDError:  # cut short, or removed by another process just now
            return ""
        return digest

    def facts(self, number: int) -> dict[str, Any]:
        """What `finish` was given."""
        found: dict[str, Any] = read_json(self.marker(number))
        return found

    def finish(self, number: int, **facts: Any) -> None:
        """Mark a unit as done; its data file is complete. `sha256` among the facts: of this file, by
        which damage is found; None says that the unit has no data file."""
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
                pause()

    @contextmanager
    def taken(self, number: int) -> Iterator[bool]:
        """Says that this process is at a unit; False where another one is, or it is done. The first
        time, what processes that are gone were writing is removed."""
        if not self._is_cleared:
            remove_left(self.folder)
            self._is_cleared = True
        if self.is_done(number):
            yield False
            return
        with claimed(self.folder / "claims" / f"{number:06d}") as is_ours:
            # Not where a process has done it between the two looks.
            yield is_ours and not self.is_done(number)

    def begun(self, number: int) -> Path:
        """Where a unit's loops keep their states (ocd.data.resuming): whoever takes the unit, however
        many processes there are then, goes on with them."""
        return self.folder / "claims" / f"{number:06d}.begun"
