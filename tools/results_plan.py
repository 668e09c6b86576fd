"""The committed results and how each is made: results/plan.toml, read.

for planned in read_plan():
    print(planned.shown())  # ocd run mnist --data-dir DIR --seeds 0,1,2 --set base=...
"""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 110


@dataclass(frozen=True)
class Planned:
    """One result; what each field means is said at the head of results/plan.toml."""

    folder: str
    name: str
    task: str
    seeds: list[int]
    data: str = ""
    files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    then: list[str] = field(default_factory=list)
    suite: str = ""
    in_readme: bool = True
    hours: float | None = None
    needs: str = ""

    def missing(self, data: Path | None) -> str:
        """What of its data is not below `data`; nothing where a task may fetch them (no `data`)."""
        wanted = [self.data, *self.files.values()] if data else list(self.files.values())
        root = data or Path("DATA")
        return ", ".join(str(root / part) for part in wanted if part and not (root / part).exists())

    @property
    def run(self) -> str:
        """The folder of its run: its own, or that of its suite."""
        return f"{Path(self.folder).parent}/{self.suite}" if self.suite else self.folder

    def arguments(self, data: Path | None, out: Path) -> list[str]:
        """Of `ocd`, to run it, or its suite, into the folder `out`."""
        given = ["--data-dir", str(data / self.data)] if data and self.data else []
        files = {key: str((data or Path()) / value) for key, value in self.files.items()}
        task = self.suite or self.task
        return ["run", task, *given, "--seeds", self._seeds, "--out", str(out), *self._set(files)]

    def shown(self) -> str:
        """The commands as a page shows them, with DIR for the folder of the data."""
        given = ["--data-dir", "DIR"] if self.data else []
        files = {key: Path(value).name for key, value in self.files.items()}
        lines = [["ocd", "run", self.task, *given, "--seeds", self._seeds, *self._set(files)]]
        lines += [["ocd", verb, f"runs/{self.task}"] for verb in self.then]
        return "\n".join(_folded(line) for line in lines)

    @property
    def _seeds(self) -> str:
        return ",".join(map(str, self.seeds))

    def _set(self, files: dict[str, str]) -> list[str]:
        pairs = {**files, **self.settings}
        return [word for key, value in pairs.items() for word in ("--set", f"{key}={_text(value)}")]


def read_plan(root: Path = ROOT) -> list[Planned]:
    """Every planned result in the order of the file."""
    text = (root / "results" / "plan.toml").read_text(encoding="utf-8")
    return [Planned(**one) for one in tomllib.loads(text)["result"]]


def made(root: Path = ROOT) -> list[Planned]:
    """Those whose results are committed."""
    return [one for one in read_plan(root) if (root / "results" / one.folder / "results.json").exists()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folded(words: list[str]) -> str:
    """A command in lines that a page has room for; a setting stays on one line."""
    lines = [""]
    pieces, at = [], 0
    while at < len(words):
        size = 2 if words[at].startswith("--") else 1
        pieces.append(shlex.join(words[at : at + size]))
        at += size
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) > WIDTH:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {piece}" if lines[-1] else piece
    return " \\\n".join(lines)
