"""What the project says twice agrees: version and changelog, dependencies and constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from ocd._version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def package(requirement: str) -> str:
    name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_changelog_begins_with_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)[0] == __version__


def test_every_dependency_is_pinned_in_the_constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    needed = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    assert {package(line) for lines in needed for line in lines} - {"ocd-torch"} <= {
        package(pin) for pin in pins
    }
