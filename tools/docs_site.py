"""What docs/conf.py needs to make a site: the order of the pages, and docstrings as Sphinx reads them.

    kinds(text)        # docs/README.md -> {"Tutorial": {page: its name in the index}, "How to": ...}
    add_structure, docstring_to_rst      # called by Sphinx for each page, for each docstring

The index, docs/README.md, is the one place where pages are listed and sorted. The site's navigation is
made from it, so that nothing is listed twice.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INDEX = "docs/README"
PATTERNS = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "docs/**.ipynb",
    "results/**.md",
]  # fmt: skip
LEFT_OUT = [
    "**/.*", ".*", "build", "dist", "runs", "shared", "src", "tests", "tools", "benchmarks",
    "**/__pycache__", "results/**/notes.md", "results/benchmarks",
]  # fmt: skip
"""Folders that hold no page are named, or Sphinx would look through all of them."""

HEADING = re.compile(r"^## (?P<kind>.+)$", re.MULTILINE)
DIAGRAM = re.compile(r"```mermaid\n.*?```", re.DOTALL)
ENTRY = re.compile(r"^- \[(?P<name>[^\]]+)\]\((?P<link>[^)#]+)(?:#[^)]*)?\)", re.MULTILINE)


def kinds(text: str) -> dict[str, dict[str, str]]:
    """The pages that the index lists under each heading, in its order: document of the site -> name."""
    _, *parts = HEADING.split(text)
    found: dict[str, dict[str, str]] = {}
    for kind, listed in zip(parts[::2], parts[1::2], strict=True):
        found[kind] = {_document(entry["link"]): entry["name"] for entry in ENTRY.finditer(listed)}
    return found


def _document(link: str) -> str:
    """A link of the index as Sphinx names what it leads to."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(INDEX), link))
    return posixpath.splitext(path)[0]


def add_structure(app: Any, name: str, source: list[str]) -> None:
    """Append to the index what the site's navigation is made of; mark pages that are reached by links
    from their neighbours alone (a result's full report)."""
    if name == INDEX:
        for kind, pages in kinds(source[0]).items():
            listed = "\n".join(f"{title} </{page}>" for page, title in pages.items())
            source[0] += (
                f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {kind}\n\n{listed}\n```\n"
            )
    elif "```mermaid" in source[0]:
        source[0] = DIAGRAM.sub(_arrows, source[0])
    elif name.startswith("results/") and not name.endswith("/README"):
        source[0] = f"---\norphan: true\n---\n\n{_with_title(name, source[0])}"


def _arrows(diagram: re.Match[str]) -> str:
    """A diagram in Mermaid's words, which takes a script of others to draw, as a list of its arrows."""
    to: dict[str, list[str]] = {}
    for start, end in re.findall(r"(\w+) --> (\w+)", diagram[0]):
        to.setdefault(start, []).append(end)
    width = max(map(len, to))
    rows = [f"{start:{width}} → {', '.join(ends)}" for start, ends in to.items()]
    return "\n".join(["```text", *rows, "```"])


def _with_title(name: str, text: str) -> str:
    """A report begins with its verdict; a page of the site with a title."""
    if text.lstrip().startswith("# "):
        return text
    of = name.removeprefix("results/").removesuffix("/report")
    return f"# Report of {of}\n\n{text.replace(chr(10) + '# ', chr(10) + '## ', 1)}"


def docstring_to_rst(app: Any, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Docstrings here are plain text with `code` and indented programs: the same in Sphinx's markup."""
    lines[:] = to_rst("\n".join(lines)).splitlines()


def to_rst(text: str) -> str:
    """Plain text as reStructuredText: nothing but code, lists and indented programs has a meaning."""
    made = []
    for block in re.split(r"\n\s*\n", text.expandtabs().strip("\n")):
        rows = block.splitlines()
        if rows[0].startswith("|"):  # a table: as it is written
            made.append("::\n\n" + "\n".join(f"    {row}" for row in rows))
        elif all(row.startswith("    ") for row in rows):
            made.append("::\n\n" + block)
        elif rows[0].startswith("- "):
            items = re.split(r"\n(?=- )", block)
            made.append("\n".join("- " + _inline(" ".join(i[2:].split())) for i in items))
        else:
            made.append(_inline(" ".join(block.split())))
    return "\n\n".join(made) + "\n"


def _inline(text: str) -> str:
    """`code` as literal text, and every other character as itself."""
    parts = re.split(r"`([^`]+)`", text)
    plain = [re.sub(r"([*_|`\\])", r"\\\1", part) for part in parts[::2]]
    code = [f"\\ ``{part.strip()}``\\ " for part in parts[1::2]]
    return "".join(word for pair in zip(plain, [*code, ""], strict=True) for word in pair).strip()
