"""What the project says twice agrees: version and changelog, dependencies and constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

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


def test_the_citation_has_the_version_and_the_licence():
    import yaml

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["version"] == __version__
    assert cited["license"] == PROJECT["license"]
    assert {"family-names": "Wolf", "given-names": "Lior"} in cited["preferred-citation"]["authors"]


def test_the_page_of_versions_says_what_the_project_needs():
    page = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")
    least = next(need for need in PROJECT["dependencies"] if need.startswith("torch"))
    pinned = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert pinned is not None
    assert (
        f"| PyTorch | {least.removeprefix('torch>=')} and newer" in page and f"| {pinned[1]} on" in page
    )
    assert f"| Python | {PROJECT['requires-python'].removeprefix('>=')} and newer" in page


@pytest.mark.slow
def test_wheel_and_sdist_build_and_hold_the_package_alone(tmp_path):
    import subprocess
    import sys
    import tarfile
    import zipfile

    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    ours = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src" / "ocd").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == ours
    assert "ocd/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"ocd", f"ocd_torch-{__version__}.dist-info"}
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "pyproject.toml", "src/ocd/model.py"} <= held
