"""What a run's log (metrics.jsonl) says of time and steps."""

from __future__ import annotations

from pathlib import Path

from ocd.data import read_log

LOG = "metrics.jsonl"


def phase_seconds(root: Path, seed: int) -> dict[str, float | None]:
    """Seconds of every phase of a seed so far."""
    seconds: dict[str, float | None] = {}
    for event in read_log(root / LOG):
        if event["event"] == "phase" and event["seed"] == seed:
            seconds[event["phase"]] = (seconds.get(event["phase"]) or 0) + event["seconds"]
    return seconds


def num_steps(root: Path, seed: int) -> int:
    """Steps that the generator of a seed was trained for."""
    events = [event for event in read_log(root / LOG) if event["event"] == "train"]
    return max((e["step"] for e in events if e["seed"] == seed and e["role"] == "main"), default=0)
