"""What a run's log (metrics.jsonl) says of time and steps."""

from __future__ import annotations

from pathlib import Path

from ocd.data import read_log, seconds_by_phase

LOG = "metrics.jsonl"


def phase_seconds(root: Path, seed: int) -> dict[str, float | None]:
    """Seconds of every phase of a seed so far."""
    events = [event for event in read_log(root / LOG) if event["event"] == "phase"]
    return {**seconds_by_phase(event for event in events if event["seed"] == seed)}


def num_steps(root: Path, seed: int) -> int:
    """Steps that the generator of a seed was trained for."""
    events = [event for event in read_log(root / LOG) if event["event"] == "train"]
    return max((e["step"] for e in events if e["seed"] == seed and e["role"] == "main"), default=0)
