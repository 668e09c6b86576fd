"""The documentation site: what `make docs` builds, complete, and whole without a network."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import torch

import ocd
from ocd import OCDConfig

pytest.importorskip("sphinx", reason="the extra docs is not installed")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = runpy.run_path(str(ROOT / "tools" / "docs_site.py"))
INDEX = SITE["kinds"]((DOCS / "README.md").read_text(encoding="utf-8"))
LARGEST_IMAGE = 200_000  # bytes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds, in a folder of its own. A warning is an error there."""
    (line,) = re.findall(r"-m sphinx .*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert "--fail-on-warning" in line
    folder = tmp_path_factory.mktemp("site")
    words = shlex.split(line.replace("build/", f"{folder}/"))
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    built = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "docs"


class Page(HTMLParser):
    """The links of a page of the site, what it loads, and where links to it may lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for value in (given.get("id"), given.get("name")) if value}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "link":
            self.loaded.append(str(given.get("href")))
        elif given.get("src"):
            self.loaded.append(str(given["src"]))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def is_elsewhere(link: str) -> bool:
    return bool(re.match(r"[a-z]+:|//", link))


def test_every_page_is_built_and_in_the_navigation(pages: dict[Path, Page], site: Path) -> None:
    written = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"))
    }
    listed = [page for kind in INDEX.values() for page in kind]
    assert len(listed) == len(set(listed))
    assert written - set(listed) == {"docs/README"}
    start = pages[site / "docs" / "README.html"].links
    for page in listed:
        assert site / f"{page}.html" in pages
        assert any(
            (site / "docs" / urldefrag(link).url).resolve() == (site / f"{page}.html").resolve()
            for link in start
            if not is_elsewhere(link)
        ), page


def dead_links(pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            if is_elsewhere(link):
                continue
            url, anchor = urldefrag(unquote(link))
            target = (path.parent / url.partition("?")[0]).resolve() if url else path
            if not target.exists():
                yield f"{path.name} -> {link}"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{path.name} -> {link}: no such place"


def test_links_inside_lead_somewhere(pages: dict[Path, Page]) -> None:
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert not [*dead_links(pages)]


def test_nothing_is_fetched(pages: dict[Path, Page], site: Path) -> None:
    remote = {link for page in pages.values() for link in page.loaded if is_elsewhere(link)}
    assert not [link for link in remote if not link.startswith("data:")]
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), style.name


def test_search_needs_its_own_files_alone(pages: dict[Path, Page], site: Path) -> None:
    assert "searchindex.js" in " ".join(pages[site / "search.html"].loaded)
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    tutorial = index["docnames"].index("docs/tutorial")
    found = index["terms"]["scanner"]
    assert tutorial in (found if isinstance(found, list) else [found])
    assert any(name == "OCD" for _, _, _, _, name in index["objects"]["ocd"])


def test_images_are_small() -> None:
    files = [path for path in DOCS.rglob("*") if path.suffix in (".png", ".webp", ".gif", ".jpg")]
    assert files
    assert not [path.name for path in files if path.stat().st_size > LARGEST_IMAGE]


def test_drawings_are_those_that_the_tool_draws(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    tool = runpy.run_path(str(ROOT / "tools" / "drawings.py"))
    drawn = tool["draw"](tmp_path)
    assert {path.name for path in drawn} == {path.name for path in (DOCS / "explanation").glob("*.png")}
    for path in drawn:
        new, old = (image.open(file).convert("L") for file in (path, DOCS / "explanation" / path.name))
        assert new.size == old.size
        values = [torch.tensor(list(picture.tobytes()), dtype=torch.float32) for picture in (new, old)]
        assert (values[0] - values[1]).abs().mean() < 1, path.name  # fonts may differ a little


def test_reference_has_every_public_name_setting_and_room() -> None:
    reference = DOCS / "reference"
    public = re.findall(r"\.\. auto\w+:: ocd\.(\w+)$", (reference / "public.md").read_text(), re.M)
    assert sorted(set(public) - {"callbacks"}) == sorted(set(ocd.__all__) - {"__version__"})
    settings = re.findall(
        r"\.\. autoclass:: \S+\.(\w+)$", (reference / "settings.md").read_text(), re.M
    )
    config = OCDConfig()
    groups = [getattr(config, entry.name) for entry in dataclasses.fields(config)]
    groups = [group for group in groups if dataclasses.is_dataclass(group)]
    assert settings == ["OCDConfig", *(type(group).__name__ for group in groups)]
    rooms = {path.parent.name for path in (ROOT / "src" / "ocd").glob("*/__init__.py")} - {"cli"}
    assert {path.stem for path in (reference / "rooms").glob("*.md")} == rooms


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Of `layer`: a_L * 2.", "Of \\ ``layer``\\ : a\\_L \\* 2.\n"),
        ("One:\n\n    run(x)\n", "One:\n\n::\n\n    run(x)\n"),
        ("- one\n  more\n- two", "- one more\n- two\n"),
        ("| a | b |\n| --- | --- |", "::\n\n    | a | b |\n    | --- | --- |\n"),
    ],
)
def test_docstrings_become_markup_that_means_the_same(text: str, made: str) -> None:
    assert SITE["to_rst"](text) == made
