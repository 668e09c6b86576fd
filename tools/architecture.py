"""The rooms of the package, read from its imports: `python tools/architecture.py`.

It writes the drawing and the table of the rooms into docs/architecture.md, and the list of functions
with many parameters into CONTRIBUTING.md. tests/test_architecture.py checks that they are up to date,
and that the code keeps the rules that are written there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "ocd"
ORDER = (
    "cli", "demo", "applying", "runs", "estimators", "tasks", "reporting", "audit", "evaluation",
    "baselines", "model", "fitting", "hub", "callbacks", "config", "prediction", "training", "lessons",
    "generator", "base", "distributed", "data", "errors",
)  # fmt: skip
"""Rooms and top modules from top to bottom: each imports only from those after it."""
MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS = 300, 50, 7


@dataclass(frozen=True)
class Import:
    """`from module import names` in a file, which belongs to a room (or is a top module)."""

    path: Path
    room: str
    module: str
    names: tuple[str, ...]

    @property
    def target(self) -> str:
        """The room that is imported from."""
        return self.module.split(".")[1]

    @property
    def is_inside(self) -> bool:
        return self.target == self.room


@dataclass(frozen=True)
class Function:
    """A function or method, its length in lines and its number of parameters, self not counted."""

    path: Path
    name: str
    lines: int
    parameters: int
    defaults: int

    @property
    def is_public(self) -> bool:
        return not any(p.startswith("_") and p != "__init__" for p in self.name.split("."))

    def __str__(self) -> str:
        where = self.path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        return f"`{where}.{self.name}`: {self.parameters} parameters"


def room_of(path: Path) -> str:
    """The room that a file is in, or its own name where it stands beside the rooms."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) in ORDER)


def imports() -> Iterator[Import]:
    """Every import of one part of the package by another, also those inside functions."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
                continue
            names = tuple(alias.name for alias in node.names)
            if node.module.startswith("ocd.") and node.module.split(".")[1] in ORDER:
                yield Import(path, room_of(path), node.module, names)


def functions() -> Iterator[Function]:
    for path in modules():
        yield from _functions(path, ast.parse(path.read_text(encoding="utf-8")), "")


def _functions(path: Path, tree: ast.AST, prefix: str) -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(path, node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            of = node.args
            every = [*of.posonlyargs, *of.args, *of.kwonlyargs]
            count = len([a for a in every if a.arg not in ("self", "cls")])
            defaults = len(of.defaults) + len([d for d in of.kw_defaults if d is not None])
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(path, f"{prefix}{node.name}", lines, count, defaults)
            yield from _functions(path, node, f"{prefix}{node.name}.")


def purpose(room: str) -> str:
    """The first sentence of a room's docstring."""
    path = PACKAGE / room / "__init__.py"
    tree = ast.parse((path if path.exists() else PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())


def drawing() -> str:
    """A Mermaid graph of the rooms: an arrow for each import that no longer way makes plain."""
    below: dict[str, set[str]] = {room: set() for room in ORDER}
    for one in imports():
        if not one.is_inside:
            below[one.room].add(one.target)
    lines = ["```mermaid", "graph TD"]
    lines += [f"    {room}" for room in ORDER if room != "errors"]
    for room in ORDER:
        for target in ORDER:
            if target in below[room] and target != "errors" and not _reaches(below, room, target):
                lines.append(f"    {room} --> {target}")
    return "\n".join([*lines, "```"])


def _reaches(below: dict[str, set[str]], room: str, target: str) -> bool:
    """Whether `target` is imported by something that `room` imports, directly or not."""
    seen, left = set(), [other for other in below[room] if other != target]
    while left:
        other = left.pop()
        if target in below[other]:
            return True
        if other not in seen:
            seen.add(other)
            left += below[other]
    return False


def room_table() -> str:
    """A line a room, from top to bottom: its purpose, its modules and what it exports."""
    lines = ["| room | purpose | modules |", "| --- | --- | --- |"]
    for room in ORDER:
        folder = PACKAGE / room
        names = sorted(
            path.relative_to(folder).with_suffix("").as_posix()
            for path in folder.rglob("*.py")
            if path.name != "__init__.py"
        )
        listed = ", ".join(f"`{name}`" for name in names) or "–"
        lines.append(f"| `{room}` | {purpose(room)} | {listed} |")
    return "\n".join(lines)


def many_parameters() -> str:
    """The functions with more parameters than the rule allows, a line each."""
    found = [f"- {f}" for f in functions() if f.parameters > MAX_PARAMETERS]
    return "\n".join(found) or "- none"


BLOCKS = {"rooms": room_table, "drawing": drawing, "many parameters": many_parameters}
BLOCK = re.compile(r"<!-- made: ([\w ]+) -->\n.*?<!-- end -->", re.DOTALL)
PAGES = (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md")


def filled(text: str) -> str:
    """The text with every `<!-- made: NAME -->` block made from the code."""
    return BLOCK.sub(lambda m: f"<!-- made: {m[1]} -->\n{BLOCKS[m[1]]()}\n<!-- end -->", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
