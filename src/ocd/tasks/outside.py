"""A task that lies outside this package: `package.module:NAME`, an attribute that is a `Task`.

Its module is imported, which executes it, as `python -c "import package.module"` would: a module of the
current folder is found too, after those that are installed. It is said on stderr before.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ocd.errors import OCDError, nearest

if TYPE_CHECKING:
    from ocd.tasks.task import Task

FORM = "a task of your own is package.module:NAME"


def is_outside(name: str) -> bool:
    """Whether a task's name says where it lies, as no name of this package's own does."""
    return ":" in name


def folder_name(task_name: str) -> str:
    """What the run folder of a task is called by default: its name, and of one from outside a name
    without colon and dots, package-module-NAME."""
    return re.sub(r"[:.]+", "-", task_name) if is_outside(task_name) else task_name


def task_from_outside(name: str) -> Task:
    """The task that `package.module:NAME` names. Its own name becomes this one, by which a run folder
    finds it again. Raises OCDError for no such module, one that cannot be imported, no such attribute,
    and one that is no `Task`."""
    from ocd.tasks.task import Task

    place, _, attribute = name.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", place) or place.endswith(".py") or not attribute.isidentifier():
        raise OCDError(f"no task {name!r}: {FORM} (a module as it is imported, not its file)")
    module = _imported(place, name)
    if not hasattr(module, attribute):
        tasks = [key for key, value in vars(module).items() if isinstance(value, Task)]
        listed = f"; its tasks: {', '.join(tasks)}" if tasks else ", and no other task"
        raise OCDError(
            f"no task {name!r}: {place} has no {attribute}{nearest(attribute, tasks)}{listed}"
        )
    found = getattr(module, attribute)
    if not isinstance(found, Task):
        raise OCDError(f"no task {name!r}: it is of type {type(found).__name__}, not an ocd.tasks.Task")
    return _named(found, name)


def _imported(place: str, name: str) -> Any:
    """A module by its dotted name; said on stderr where it is executed now."""
    if place in sys.modules:
        return sys.modules[place]
    if os.getcwd() not in sys.path:  # last: a file there must not stand in for an installed module
        sys.path.append(os.getcwd())
    print(f"importing {place} for the task", file=sys.stderr)
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise OCDError(
                f"no task {name!r}: no module {error.name!r} in the current folder, among the "
                "installed packages or in PYTHONPATH"
            ) from error
        raise OCDError(f"no task {name!r}: {place} cannot be imported: {error}") from error
    except Exception as error:  # whatever the user's own code does
        first = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise OCDError(f"no task {name!r}: {place} cannot be imported: {first}") from error


def _named(task: Task, name: str) -> Task:
    """The task under another name, whatever its options make of it."""
    specialise = task.specialise
    if specialise is None:
        return replace(task, name=name)

    def named(options: Any) -> Task:
        return replace(specialise(options), name=name)

    return replace(task, name=name, specialise=named)
