"""A log of JSON lines that several processes may append to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ocd.data.files import locked


@dataclass
class Log:
    """Appends events to a file of JSON lines; `context` is added to each. path None keeps nothing."""

    path: Path | None
    context: dict[str, Any]

    def write(self, event: str, **values: Any) -> None:
        """Append one event with its values; half a line of a killed process is removed first."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, **self.context, **values}) + "\n"
        with locked(self.path), self.path.open("a+b") as file:
            _drop_half_line(file)
            file.write(line.encode())


def _drop_half_line(file: BinaryIO) -> None:
    """A run that was killed may have left half a line at the end."""
    end = file.seek(0, 2)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
