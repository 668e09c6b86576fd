"""The tasks: data, base, loss and metrics of one domain each, imported when asked for.

`import ocd.tasks` needs no torch, so that `ocd tasks` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ocd.errors import OCDError, nearest
from ocd.tasks.catalog import CATALOG

if TYPE_CHECKING:
    from ocd.tasks.task import Task, TaskData, load_base

__all__ = ["CATALOG", "TASKS", "Task", "TaskData", "get_task", "load_base"]

TASKS: dict[str, str] = {name: f"ocd.tasks.{facts.module}" for name, facts in CATALOG.items()}
"""Name of a task -> the module that holds it, in its own `TASKS`: nerf-lego is in `views.nerf`."""


def get_task(name: str) -> Task:
    """The task called `name`. Raises OCDError for an unknown name."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise OCDError(f"no task {name!r}{nearest(name, TASKS)}; there are: {known}")
    task: Task = import_module(TASKS[name]).TASKS[name]
    return task


def __getattr__(name: str) -> Any:
    if name in ("Task", "TaskData", "load_base"):
        return getattr(import_module("ocd.tasks.task"), name)
    raise AttributeError(f"module 'ocd.tasks' has no attribute {name!r}")
