"""Work that a killed process leaves half done, and the next one goes on with.

    with resumable(folder):                                # where states are kept until all is done
        loop = ResumableLoop("base", network=network, optimizer=optimizer, order=generator)
        for step in loop.steps(1000):                      # goes on behind the last step that was saved
            ...
        rate = remembered("rate", lambda: {"lr": search()})["lr"]    # done once

A loop saves about every second, and a result once it is there. The folder is not handed from function
to function: between a run, which knows it, and a loop in a task's training there are functions of other
people (`fit_base`, `train_base`). Where nothing is `resumable`, nothing is saved.

States are known by their names, and by the order of those that share one. So the work in a folder is
the same in every process; what a later one may skip has a name or a folder (`resumable_part`) of its
own.

How to write a loop, so that it ends with the same bits wherever it is killed:

* Everything that a step changes and a later one needs is a part, or lies in `values`: weights,
  optimiser, schedule, generators, the permutation of an epoch, the best weights so far.
* What comes before the loop is made anew in each process, and must not depend on earlier ones. Where it
  depends on the global generator, seed that first.
* Where a step may be the last, call `end()`; an exception, or a `break`, saves nothing.
* What comes of the work is written inside the `resumable` block, and under another name first: the
  states are removed when the block ends, and only then nothing is left to go on with.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from ocd.data.files import read_json, write_json, written_aside
from ocd.errors import OCDError

SAVE_EVERY = 1.0
"""Seconds of work between two saves: the most that a kill costs, but for large states."""
SAVING_SHARE = 10
"""Saving takes at most one part in so many of the time: a large state is saved less often."""
WORTH = 0.05
"""Seconds below which finished work is not worth a file: it is done again as fast."""
State = dict[str, Any]
"""Tensors, numbers, texts and None, in dicts, lists and tuples."""
Item = TypeVar("Item")


class Stateful(Protocol):
    """A module, an optimiser, a schedule: anything that can be saved and loaded."""

    def state_dict(self) -> State: ...
    def load_state_dict(self, state_dict: State, /) -> Any: ...


class GlobalRandom:
    """PyTorch's global generator of a device as a part of a loop: dropout knows no other."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> State:
        on_gpu = self.device.type == "cuda"
        state = {"cuda": torch.cuda.get_rng_state(self.device)} if on_gpu else {}
        return {"cpu": torch.get_rng_state(), **state}

    def load_state_dict(self, state_dict: State, /) -> None:
        torch.set_rng_state(state_dict["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state_dict["cuda"], self.device)


# Where states are


@dataclass
class Place:
    """A folder of states, and a clock of the work that is done in it, by earlier processes too.

    The clock is written whenever something is saved here or in a place inside, so that phases and
    methods that were killed are timed as if they had not been, up to the work that is done twice.
    `folder`: None keeps nothing, and only the clock goes. `outer`: the place that this one is in.
    """

    folder: Path | None
    outer: Place | None = None
    _started: float = field(default_factory=lambda: time.perf_counter())
    _before: float = 0.0
    _saving: float = 0.0
    _uses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.folder is not None and (self.folder / "seconds.json").exists():
            self._before = read_json(self.folder / "seconds.json")

    @property
    def seconds(self) -> float:
        """Seconds of work, saving not counted. Those between the last save and a kill are lost."""
        return self._before + time.perf_counter() - self._started - self._saving

    def restart_clock(self) -> None:
        """Count from zero, here and in later processes: the seconds so far are written elsewhere."""
        self._started, self._before, self._saving = time.perf_counter(), 0.0, 0.0
        if self.folder is not None and self.folder.exists():
            write_json(self.folder / "seconds.json", 0.0)

    def path_of(self, name: str) -> Path | None:
        """The file of a state; of the second with this name another one."""
        if self.folder is None:
            return None
        plain = re.sub(r"[^\w.+-]", "_", name)
        self._uses[plain] += 1
        number = self._uses[plain]
        return self.folder / (plain if number == 1 else f"{plain}~{number}")

    def _saved(self, seconds: float) -> None:
        """`seconds` went into saving. The clocks of this place and of those around it are kept."""
        self._saving += seconds
        if self.folder is not None:
            write_json(self.folder / "seconds.json", self.seconds)
        if self.outer is not None:
            self.outer._saved(seconds)


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def resumable(folder: Path | None) -> Iterator[Place]:
    """Loops and results in this block are kept in `folder`, which is removed where the block ends well.

    The folder has to be of this work alone; write what comes of the work inside the block.
    """
    place = Place(folder, _PLACE.get())
    token = _PLACE.set(place)
    try:
        yield place
    finally:
        _PLACE.reset(token)
    if folder is not None and folder.exists():
        shutil.rmtree(folder)


@contextmanager
def resumable_part(name: str) -> Iterator[Place]:
    """`resumable` in a folder inside the present one; without one, only the clock goes."""
    outer = _PLACE.get()
    path = None if outer is None else outer.path_of(name)
    with resumable(None if path is None else path.with_name(path.name + ".parts")) as place:
        yield place


# What is kept


class SaveTimer:
    """Says when to save: `SAVE_EVERY` seconds after the last time, later where saving takes long."""

    def __init__(self) -> None:
        self._last, self._cost = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Since the last save."""
        return time.perf_counter() - self._last

    @property
    def is_due(self) -> bool:
        return self.seconds >= max(SAVE_EVERY, SAVING_SHARE * self._cost)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around a save: how long it takes is no work, and decides when the next one is due."""
        start = time.perf_counter()
        yield
        self._last = time.perf_counter()
        self._cost = self._last - start
        if (place := _PLACE.get()) is not None:
            place._saved(self._cost)


class ResumableLoop:
    """A loop that is saved as it goes, and begins behind the last step that an earlier process saved.

    `parts`: whatever a step changes and a later one depends on; loaded at once, where there is a state.
    `values`: the same for tensors and numbers that are no part's (on the CPU where they were loaded).
    Everything is bit for bit what it was: a loop that was killed ends as one that was not.
    """

    def __init__(self, name: str, **parts: Stateful | torch.Generator) -> None:
        place = _PLACE.get()
        self._path = None if place is None else place.path_of(name)
        self._parts, self._timer = parts, SaveTimer()
        self.values: State = {}
        self.step = 0
        self._is_last = False
        if self._path is not None and self._path.exists():
            self._load(read_state(self._path))

    def steps(self, number: int) -> Iterator[int]:
        """The steps that are left of `number`."""
        return self.saving_after(range(self.step, 0 if self._is_last else number))

    def saving_after(self, items: Iterable[Item]) -> Iterator[Item]:
        """These items, with a save behind those of them where one is due, and behind the last.

        They are those that are left: of a list, `items[loop.step:]`; of chunks, those from a place in
        `values` on. Short work is not saved at its end, since it is done again as fast.
        """
        for item in items:
            yield item
            self.step += 1
            if self._path is not None and self._timer.is_due:
                self._save()
            if self._is_last:
                break
        if self._path is not None and self._timer.seconds > WORTH:
            self._save()

    def end(self) -> None:
        """Let this step be the last one. (After a `break` the state would be that of an unfinished
        loop.)"""
        self._is_last = True

    def _save(self) -> None:
        assert self._path is not None
        with self._timer.saving():
            parts = {
                name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
                for name, part in self._parts.items()
            }
            state = {"step": self.step, "is_last": self._is_last, "values": self.values, "parts": parts}
            write_state(self._path, state)

    def _load(self, state: State) -> None:
        self.step, self._is_last = state["step"], state["is_last"]
        self.values = state["values"]
        for name, part in self._parts.items():
            if isinstance(part, torch.Generator):
                part.set_state(state["parts"][name])
            else:
                part.load_state_dict(state["parts"][name])


def remembered(name: str, make: Callable[[], State]) -> State:
    """What `make()` returns, or returned in an earlier process.

    It works in a folder of its own, so that loops behind it keep their states whether it is made or
    remembered. What takes no time is made again.
    """
    place = _PLACE.get()
    path = None if place is None else place.path_of(name)
    if path is None:
        return make()
    if path.exists():
        return read_state(path)
    timer = SaveTimer()
    with resumable(path.with_name(path.name + ".parts")) as inner:
        result = make()
        if inner.seconds > WORTH:
            with timer.saving():
                write_state(path, result)
    return result


def write_state(path: Path, state: State) -> None:
    """Write a state so that a reader sees all of it or nothing."""
    with written_aside(path) as aside:
        torch.save(state, aside)


def read_state(path: Path, device: torch.device | str = "cpu") -> State:
    """Raises OCDError where the file cannot be read."""
    try:
        state: State = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a damaged archive makes of itself
        first = (str(error).splitlines() or [""])[0]
        raise OCDError(f"{path} cannot be read ({first}): delete it to do its work anew") from None
    return state
