"""A log of JSON lines that several processes may append to, and that others can listen to."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ocd.data.files import locked

Listener = Callable[[str, dict[str, Any]], None]
"""(event, values): is told of each event (ocd.callbacks)."""
LOGGER = logging.getLogger("ocd")
"""Notes are its INFO; a program that wants them sets its level and a handler, as for any library."""


@dataclass
class Log:
    """Appends events to a file of JSON lines; `context` is added to each. path None keeps nothing.
    `listeners` are told too."""

    path: Path | None
    context: dict[str, Any]
    listeners: tuple[Listener, ...] = ()

    def write(self, event: str, **values: Any) -> None:
        """Append one event with its values; half a line of a killed process is removed first."""
        if self.path is not None:
            self._append(event, values)
        if event == "note":
            LOGGER.info(values["text"])
        for listener in self.listeners:
            listener(event, {**self.context, **values})

    def _append(self, event: str, values: dict[str, Any]) -> None:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, **self.context, **values}) + "\n"
        with locked(self.path), self.path.open("a+b") as file:
            _drop_half_line(file)
            file.write(line.encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log, without half a line at its end."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def _drop_half_line(file: BinaryIO) -> None:
    """A run that was killed may have left half a line at the end."""
    end = file.seek(0, 2)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
