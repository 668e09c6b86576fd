"""How far a run is: what a person at a terminal sees of a base's training, and the seconds so far."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def say_progress(line: str) -> None:
    """Progress of a base's training, for a person at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def seconds_of_phases(log: Path, seed: int) -> dict[str, float | None]:
    """Seconds of every phase of a seed, by name, from the log of a run. A phase that ended several
    times has their sum."""
    seconds: dict[str, float | None] = {}
    for line in log.read_text().split("\n")[:-1]:  # the last may be half
        event = json.loads(line)
        if event["event"] == "phase" and event["seed"] == seed:
            seconds[event["phase"]] = (seconds.get(event["phase"]) or 0) + event["seconds"]
    return seconds
