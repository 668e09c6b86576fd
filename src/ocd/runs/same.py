"""Is a run folder of this version, and of the run that is asked for?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ocd.config import flatten
from ocd.errors import OCDError

FORMAT_VERSION = 3


SUITE_FILE = "suite.json"
"""In the folder of several runs (ocd.runs.suite)."""


def no_run(root: Path) -> OCDError:
    """The error of a folder that holds no run; of a suite it names the runs."""
    if not (root / SUITE_FILE).exists():
        return OCDError(f"{root} is no run folder (it has no config.json): start with `ocd run`")
    parts = sorted(str(path.parent) for path in root.glob("*/config.json"))
    return OCDError(
        f"{root} is the folder of a suite, of which only `ocd report` takes all: name one of its runs, "
        f"{', '.join(parts) or 'of which there is none yet'}"
    )


def check_format(path: Path, saved: dict[str, Any]) -> None:
    """Raises OCDError where a run's config.json was written by another version."""
    found = saved.get("format_version")
    if found != FORMAT_VERSION or "task" not in saved:
        raise OCDError(
            f"{path} is not a run of this version (format {found}, this version reads "
            f"{FORMAT_VERSION}): use another folder, or the version that made it"
        )


def check_same(root: Path, saved: dict[str, Any], mine: dict[str, Any]) -> None:
    """Raises OCDError, naming what changed, where the folder's config.json is that of another run."""
    check_format(root / "config.json", saved)
    for name in ("task", "preset", "options", "run_options", "config"):
        old, new = _comparable(saved.get(name)), _comparable(mine[name])
        if old == new:
            continue
        changed = name
        if isinstance(old, dict) and isinstance(new, dict):
            keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
            changed = ", ".join(f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in keys)
        raise OCDError(f"{root} holds another run ({changed}): give another --out, or delete it")


def _comparable(value: Any) -> Any:
    """JSON has no tuples; nested settings are compared by their dotted names."""
    if isinstance(value, dict):
        return {k: list(v) if isinstance(v, tuple) else v for k, v in flatten(value).items()}
    return value


def saved_as(kind: type[Any], saved: dict[str, Any], path: Path) -> Any:
    """Options as a run saved them. Raises OCDError for one that this version does not have."""
    known = {entry.name for entry in dataclasses.fields(kind)}
    if unknown := sorted(saved.keys() - known):
        raise OCDError(
            f"{path} has an option that this version does not know ({', '.join(unknown)}): use the "
            "version that made the run, or run again in a new folder"
        )
    return kind(**saved)
