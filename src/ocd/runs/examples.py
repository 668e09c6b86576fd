"""A run's examples. Copies among them are one piece of evidence, if the task says nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ocd.fitting import groups_of_copies
from ocd.tasks import Task, TaskData


def load_data(task: Task, options: Any, data_dir: Path | None, features: Path) -> TaskData:
    """A task's examples; what takes long to compute is kept in the folder `features`. Of a task whose
    seeds draw their own, those that are drawn from."""
    if task.load_kept is not None:
        found = task.load_kept(options, data_dir, features)
    else:
        found = task.load(options, data_dir)
    return with_copies(found) if task.for_seed is None else found


def with_copies(data: TaskData) -> TaskData:
    """The data, of which copies of training examples are never on both sides of a split, and copies of
    test examples count once in intervals. Notes say where this is so."""
    groups, together, notes = data.groups, data.test_together, []
    if groups is None and len(data.train):
        groups, note = groups_of_copies(data.train)
        notes.append(note)
    if data.evidence is None and len(data.test):
        together, note = groups_of_copies(data.test, "test examples")
        notes.append(note)
    said = (*data.notes, *(note for note in notes if note is not None))
    return dataclasses.replace(data, groups=groups, test_together=together, notes=said)
