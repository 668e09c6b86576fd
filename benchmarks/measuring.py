"""Time and memory of works, in turns, so that a slow minute of the machine strikes them alike."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Work:
    """Something to measure, and the examples that it works on."""

    do: Callable[[], object]
    num_examples: int


@dataclass(frozen=True)
class Cost:
    """Median microseconds an example; the most memory [MB] that a work took beyond what was held before
    it, None where the system does not say."""

    microseconds: float
    peak_mb: float | None


def in_turns(works: Mapping[str, Work], repeats: int) -> dict[str, Cost]:
    """All works once a turn; the first turn, which imports and warms up, gives the memory alone."""
    times: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, float | None] = {}
    for turn in range(repeats + 1):
        for name, work in works.items():
            before = _restart_peak() if turn == 0 else None
            start = time.perf_counter()
            work.do()
            if turn:
                times[name].append(time.perf_counter() - start)
            else:
                peaks[name] = None if before is None else max(0.0, _status("VmHWM") - before)
    return {
        name: Cost(1e6 * median(times[name]) / work.num_examples, peaks[name])
        for name, work in works.items()
    }


def each_alone(module: str, names: Iterable[str], *flags: str) -> Iterator[tuple[str, Any]]:
    """What `python -m module FLAGS NAME` prints last, as JSON: each case in a process of its own."""
    for name in names:
        command = [sys.executable, "-m", module, *flags, name]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        yield name, json.loads(ended.stdout.splitlines()[-1])


def _restart_peak() -> float | None:
    """Forget the process's peak of memory (Linux) and return what it holds now, in MB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> float:
    """A figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1e3


def matrix_rate() -> float:
    """Floating point operations a second of a product of two 1024 x 1024 matrices."""
    one, other = torch.randn(2, 1024, 1024)
    cost = in_turns({"product": Work(lambda: one @ other, 1)}, 20)["product"]
    return 2 * 1024**3 / (1e-6 * cost.microseconds)
