"""A run's examples. Copies among them are one piece of evidence, if the task says nothing else, and
test examples that are training examples are named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ocd.fitting import among_training, groups_of_copies
from ocd.tasks import Task, TaskData, check_network

PREPROCESSING = "preprocessing"
"""The folder of a run with how inputs were read."""


def load_data(task: Task, options: Any, data_dir: Path | None, root: Path) -> TaskData:
    """A task's examples; what takes long to compute is kept in `features` of the run folder `root`. Of
    a task whose seeds draw their own, those that are drawn from. Raises OCDError where the run began
    with another network in front of the base."""
    if task.load_kept is not None:
        found = task.load_kept(options, data_dir, root / "features")
    else:
        found = task.load(options, data_dir)
    check_network(root / PREPROCESSING, found)
    return with_copies(task, found) if task.for_seed is None else found


def with_copies(task: Task, data: TaskData) -> TaskData:
    """The data, of which copies of training examples are never on both sides of a split, and copies of
    test examples count once in intervals. Notes say where this is so, and a warning says how many test
    examples are training examples."""
    groups, together, notes = data.groups, data.test_together, []
    if groups is None and len(data.train):
        groups, note = groups_of_copies(data.train)
        notes.append(note)
    if data.evidence is None and len(data.test):
        together, note = groups_of_copies(data.test, "test examples")
        notes.append(note)
    said = (*data.notes, *(note for note in notes if note is not None))
    has_both = len(data.train) and len(data.test)
    seen = among_training(data.train, data.test) if has_both and not task.finds_copies else None
    warnings = (*data.warnings, seen) if seen is not None else data.warnings
    return dataclasses.replace(
        data, groups=groups, test_together=together, notes=said, warnings=warnings
    )


def said_of(task: Task, drawn: Mapping[int, TaskData]) -> dict[str, Any]:
    """What a run's config.json says of its data. `drawn`: those of each seed, which may draw their own;
    a warning that not all have names its seeds. With what was published, and what stands in for it."""
    first = next(iter(drawn.values()))
    warnings: dict[str, list[str]] = {}
    for seed, data in drawn.items():
        for warning in data.warnings:
            warnings.setdefault(warning, []).append(str(seed))
    return {
        "examples": {"train": len(first.train), "test": len(first.test)},
        "data_notes": list(first.notes),
        "data_warnings": [
            text if len(seeds) == len(drawn) else f"of seed {', '.join(seeds)}, {text}"
            for text, seeds in warnings.items()
        ],
        "published": _published(task, first),
    }


def _published(task: Task, data: TaskData) -> dict[str, Any] | None:
    if task.published is None:
        return None
    clauses = [clause for clause in (task.published.stand_in, data.stand_in) if clause]
    return dataclasses.asdict(task.published) | {"stand_in": ", ".join(clauses)}
