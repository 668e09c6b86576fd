"""What a run folder holds: its configuration, events, predictions and selections, read and checked.

config.json says what the run is; metrics.jsonl has a line for each event; predictions/seed-*.json has
the numbers of each method, and the .safetensors beside it the values of each test example (S seeds, N
test examples, K draws); selection/*.json has the scores of Eq. 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ocd.errors import OCDError
from ocd.evaluation import TOGETHER, Array, Json
from ocd.reporting.evidence import Evidence

EVENTS = {  # what a line of metrics.jsonl must hold to be used here
    "train": ("seed", "step", "loss"),
    "validate": ("seed", "step", "loss"),
    "phase": ("seed", "phase", "seconds"),
    "note": ("seed", "text"),
}


@dataclass(frozen=True)
class RunRecords:
    """What a run folder holds for a report; the seeds are those with predictions."""

    config: Json
    events: list[Json]
    predictions: dict[int, Json]
    tensors: dict[int, dict[str, Array]]  # of each seed: (N,) numbers of its test examples, or (K, N)
    selections: dict[int, Json]
    exhibits: dict[int, Json] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        return list(self.predictions)

    def of(self, event: str, seed: int | None = None) -> Iterator[Json]:
        """The events of one kind, of one seed or of all that are reported."""
        wanted = self.seeds if seed is None else [seed]
        return (e for e in self.events if e.get("event") == event and e.get("seed") in wanted)

    def of_seeds(self, name: str) -> Array | None:
        """A tensor (N,) of every seed as (S, N); nothing where a seed lacks it."""
        rows = [self.tensors[seed].get(name) for seed in self.seeds]
        known = [row for row in rows if row is not None and row.ndim == 1]
        return np.stack(known) if len(known) == len(rows) else None

    @property
    def together(self) -> Array | None:
        """Which test examples are one piece of evidence, (N,); None where each is its own. All seeds
        have the same test examples, but one that an earlier version predicted does not say it."""
        found = [tensors[TOGETHER] for tensors in self.tensors.values() if TOGETHER in tensors]
        return found[0] if found else None

    @cached_property
    def evidence(self) -> Evidence:
        """What intervals over the test set rest on."""
        sizes = [t.shape[-1] for named in self.tensors.values() for t in named.values() if t.ndim]
        units = [unit for unit in self.units if unit is not None]
        # Predictions of before there were queries have groups alone.
        return Evidence.of(max(sizes, default=0), self.together, units[0] if units else "group")

    @property
    def units(self) -> list[str | None]:
        """Of each seed what a piece of evidence is; None of an earlier version, which knew it of series
        alone."""
        return [of.get(TOGETHER) for of in self.predictions.values()]


def read_run(run_dir: Path) -> RunRecords:
    config = _read_json(run_dir / "config.json", ("task", "preset", "seeds", "metrics"))
    found = {_seed_of(path): path for path in run_dir.glob("predictions/seed-*.json")}
    if not found:
        raise OCDError(f"{run_dir}: no predictions to report; run 'ocd predict {run_dir}' first")
    predictions = {seed: _read_json(found[seed], ("methods",)) for seed in sorted(found)}
    tensors = {seed: _read_tensors(found[seed].with_suffix(".safetensors")) for seed in predictions}
    _check_same_examples(tensors, run_dir)
    selections = {}
    for seed in predictions:
        path = run_dir / f"selection/seed-{seed}.json"
        if path.exists():
            selections[seed] = _read_json(path, ("names", "scores", "standard_errors", "chosen"))
    shown = {seed: run_dir / f"exhibits/seed-{seed}.json" for seed in predictions}
    exhibits = {seed: _read_json(path, ("changed",)) for seed, path in shown.items() if path.exists()}
    events = _read_lines(run_dir / "metrics.jsonl")
    return RunRecords(config, events, predictions, tensors, selections, exhibits)


def _seed_of(path: Path) -> int:
    digits = path.stem.removeprefix("seed-")
    if not digits.isdecimal():
        raise OCDError(f"{path}: not a seed's file; the name should be like seed-0.json")
    return int(digits)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OCDError(f"{path}: cannot be read ({error}); 'ocd run' writes it") from error


def _parse(text: str, path: Path, first_line: int = 1) -> Json:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise OCDError(f"{path}, line {line}: not valid JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise OCDError(f"{path}, line {first_line}: expected a JSON object")
    return value


def _require(value: Json, keys: Sequence[str], where: str) -> Json:
    missing = [key for key in keys if key not in value]
    if missing:
        raise OCDError(f"{where}: lacks {', '.join(map(repr, missing))}")
    return value


def _read_json(path: Path, required: Sequence[str]) -> Json:
    return _require(_parse(_read_text(path), path), required, str(path))


def _read_lines(path: Path) -> list[Json]:
    events = []
    # What follows the last line break is nothing, or half a line of a run that was killed.
    for number, line in enumerate(_read_text(path).split("\n")[:-1], start=1):
        if line.strip():
            event = _parse(line, path, number)
            keys = EVENTS.get(str(event.get("event")), ())
            events.append(_require(event, keys, f"{path}, line {number}"))
    return events


def _read_tensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise OCDError(f"{path}: cannot be read ({error}); run 'ocd predict' again") from error
    return {name: np.asarray(tensor, dtype=np.float64) for name, tensor in tensors.items()}


def _check_same_examples(tensors: dict[int, dict[str, Array]], run_dir: Path) -> None:
    """Methods and seeds are compared example by example, so all must have been tested on the same."""
    of_seed = {s: {t.shape[-1] for t in named.values() if t.ndim} for s, named in tensors.items()}
    if len(set().union(*of_seed.values())) > 1:
        listed = "; ".join(f"seed {s}: {sorted(counts)}" for s, counts in of_seed.items())
        raise OCDError(
            f"{run_dir}/predictions: numbers of test examples differ ({listed}); predict again"
        )
