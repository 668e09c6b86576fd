"""The tasks: data, base, loss and metrics of one domain each, imported when asked for.

`import ocd.tasks` needs no torch, so that `ocd tasks` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ocd.errors import OCDError, nearest
from ocd.tasks.catalog import CATALOG, PAPER_SUITES, SUITES
from ocd.tasks.outside import FORM, folder_name, is_outside, task_from_outside

if TYPE_CHECKING:
    from ocd.tasks.kept_features import kept_in
    from ocd.tasks.reader import Answer, NewRows, Reader
    from ocd.tasks.series.reader import SeriesReader
    from ocd.tasks.speech.sound import SOUND_RATE, write_sound
    from ocd.tasks.stored import check_network, store_data, stored_data
    from ocd.tasks.tables.fields import Field, fields_of, values_of
    from ocd.tasks.tables.options import TableData
    from ocd.tasks.task import Task, TaskData, load_base
    from ocd.tasks.text.changes import text_of_row
    from ocd.tasks.views.blender import pose_around

__all__ = [
    "CATALOG",
    "PAPER_SUITES",
    "SOUND_RATE",
    "SUITES",
    "TASKS",
    "Answer",
    "Field",
    "NewRows",
    "Reader",
    "SeriesReader",
    "TableData",
    "Task",
    "TaskData",
    "check_network",
    "fields_of",
    "folder_name",
    "get_task",
    "kept_in",
    "load_base",
    "pose_around",
    "store_data",
    "stored_data",
    "text_of_row",
    "values_of",
    "write_sound",
]

TASKS: dict[str, str] = {name: f"ocd.tasks.{facts.module}" for name, facts in CATALOG.items()}
"""Name of a task -> the module that holds it, in its own `TASKS`: nerf-lego is in `views.nerf`."""


def get_task(name: str) -> Task:
    """The task called `name`, or package.module:NAME, whose module is imported. Raises OCDError for an
    unknown name, and for a module that has no such task."""
    if is_outside(name):
        return task_from_outside(name)
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise OCDError(f"no task {name!r}{nearest(name, TASKS)}; there are: {known}; {FORM}")
    task: Task = import_module(TASKS[name]).TASKS[name]
    return task


_HOMES = {
    "ocd.tasks.task": ("Task", "TaskData", "load_base"),
    "ocd.tasks.stored": ("check_network", "store_data", "stored_data"),
    "ocd.tasks.tables.options": ("TableData",),
    "ocd.tasks.kept_features": ("kept_in",),
    "ocd.tasks.reader": ("Answer", "NewRows", "Reader"),
    "ocd.tasks.tables.fields": ("Field", "fields_of", "values_of"),
    "ocd.tasks.views.blender": ("pose_around",),
    "ocd.tasks.text.changes": ("text_of_row",),
    "ocd.tasks.series.reader": ("SeriesReader",),
    "ocd.tasks.speech.sound": ("SOUND_RATE", "write_sound"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'ocd.tasks' has no attribute {name!r}")
