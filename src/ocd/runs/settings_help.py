"""What `ocd settings TASK` prints: every setting with its value and meaning, by group."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ocd.config import OCDConfig, settings_of
from ocd.runs.settings import RunOptions, read_settings
from ocd.tasks import get_task


@dataclass(frozen=True)
class Setting:
    """One key of `--set`. `is_changed`: whether the task's value is another than the preset's."""

    key: str
    value: Any
    meaning: str
    is_changed: bool = False


@dataclass(frozen=True)
class Group:
    """Settings that belong together, and what they decide in one line."""

    title: str
    settings: list[Setting]


def list_settings(task_name: str, preset: str) -> list[Group]:
    """The settings of a task with a preset: its own, the run's, and those of each part of OCD."""
    task, options, run_options, config = read_settings(get_task(task_name), preset, {})
    defaults = RunOptions()
    of_run = [
        Setting(key, value, _help(RunOptions, key), value != getattr(defaults, key))
        for key, value in settings_of(run_options)
    ]
    of_task = [Setting(key, value, _help(task.options, key)) for key, value in settings_of(options)]
    groups = [Group(f"of the task {task.name}", of_task), Group("of a run", of_run)]
    return groups + list(_of_config(config, dict(settings_of(OCDConfig.preset(preset)))))


def _of_config(config: OCDConfig, preset: dict[str, Any]) -> Iterator[Group]:
    def settings(owner: Any, prefix: str) -> list[Setting]:
        meanings = field_docs(type(owner))
        return [
            Setting(f"{prefix}{key}", value, meanings[key], value != preset[f"{prefix}{key}"])
            for key, value in settings_of(owner)
            if "." not in key
        ]

    yield Group("of a fit", settings(config, ""))
    for entry in fields(config):
        part = getattr(config, entry.name)
        if is_dataclass(part):
            title = (type(part).__doc__ or "").strip().splitlines()[0]
            yield Group(f"{entry.name}: {title}", settings(part, f"{entry.name}."))


def field_docs(kind: type[Any]) -> dict[str, str]:
    """The text under each field of a dataclass, on one line: its meaning, written where it stands."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for entry, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
            continue
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        text = str(after.value.value) if is_text else ""  # type: ignore[union-attr]
        docs[entry.target.id] = " ".join(text.split())
    return docs


def _help(kind: type[Any], name: str) -> str:
    """The help of a field that carries it as metadata."""
    return next(str(entry.metadata.get("help", "")) for entry in fields(kind) if entry.name == name)
