"""The tasks: data, base, loss and metrics of one domain each, imported when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ocd.errors import OCDError, nearest
from ocd.tasks.catalog import CATALOG, Facts

if TYPE_CHECKING:
    from ocd.tasks.base import Task

__all__ = ["CATALOG", "TASKS", "Facts", "get_task"]

MODULES = {"ltr": "mslr"}
TASKS: dict[str, str] = {
    name: f"ocd.tasks.{MODULES.get(name, name.partition('-')[0])}" for name in CATALOG
}
"""Name of a task -> the module that holds it in `TASKS`: nerf-lego, nerf-drums in `nerf`."""


def get_task(name: str) -> Task:
    """The task called `name`. Raises OCDError for an unknown name."""
    if name not in TASKS:
        known = ", ".join(TASKS)
        raise OCDError(f"no task {name!r}{nearest(name, TASKS)}; there are: {known}")
    task: Task = import_module(TASKS[name]).TASKS[name]
    return task
