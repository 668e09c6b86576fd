"""report.html: all that report.md says, in one file that asks no network."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ocd.reporting.page import as_page

ROOT = Path(__file__).parents[2]
RESULTS = sorted(path.parent for path in (ROOT / "results").rglob("report.md"))


class Reader(HTMLParser):
    """Tags with their attributes, cells of tables, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # what is opened is closed, in order

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


@pytest.mark.parametrize(
    "folder", RESULTS, ids=lambda path: path.relative_to(ROOT / "results").as_posix()
)
def test_a_page_has_every_table_and_figure_and_asks_nobody(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    page = as_page(text, folder)
    found = Reader(page)
    assert not found.open
    tables = len(re.findall(r"^\|( ?:?-+:? ?\|)+$", text, flags=re.MULTILINE))
    assert sum(tag == "table" for tag, _ in found.tags) == tables > 2
    rows = len(re.findall(r"^\|", text, flags=re.MULTILINE)) - tables
    assert sum(tag == "tr" for tag, _ in found.tags) == rows
    images = re.findall(r"!\[.*?\]\((.+?)\)", text)
    sources = [attrs["src"] for tag, attrs in found.tags if tag == "img"]
    assert len(sources) == len(images) > 1
    for source, name in zip(sources, images, strict=True):
        kind, content = source.split(";base64,")
        assert kind.startswith("data:image/")
        assert base64.b64decode(content) == (folder / name).read_bytes()
    for _, attrs in found.tags:
        for name in ("src", "href"):
            assert not re.match(r"(https?:)?//", attrs.get(name) or "")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", page)
    verdict = text.splitlines()[0]
    assert re.sub(r"[`*]", "", verdict)[:80] in "".join(found.text)


@pytest.mark.parametrize(
    ("verdict", "kind"), [("Gain: a", "gain"), ("No gain: a", "none"), ("Worse: a", "worse")]
)
def test_the_band_has_the_verdicts_colour(verdict: str, kind: str, tmp_path: Path) -> None:
    page = as_page(f"{verdict}\n\n# Title `x`\n\ntext\n", tmp_path)
    assert f'class="verdict {kind}"' in page and "<title>Title x</title>" in page


def test_what_a_user_named_is_text(tmp_path: Path) -> None:
    page = as_page("No gain: a\n\n# T\n\n| a |\n| --- |\n| <script>alert(1)</script> |\n", tmp_path)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_sounds_are_played_in_the_page_and_missing_files_stay_links(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    text = "No gain: a\n\n# T\n\n[base](a.wav), [gone](b.wav), ![gone](c.png)\n"
    page = as_page(text, tmp_path)
    assert f"data:audio/wav;base64,{base64.b64encode(b'RIFF').decode()}" in page
    assert 'href="b.wav"' in page and 'src="c.png"' in page


CHECK = """<script>
const body = document.querySelector('table').tBodies[0];
const column = () => [...body.rows].map(row => row.cells[1].textContent.trim());
const button = document.querySelectorAll('thead button')[1];
const seen = [column()];
for (let i = 0; i < 3; i++) { button.click(); seen.push(column()); }
document.querySelector('a.zoom').click();
const large = document.querySelectorAll('a.zoom.large').length;
const out = document.createElement('pre');
out.id = 'out'; out.textContent = JSON.stringify({seen, large}); document.body.append(out);
</script></body>"""


def test_a_browser_sorts_tables_and_enlarges_figures(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    folder = ROOT / "results" / "digits"
    page = as_page((folder / "report.md").read_text(encoding="utf-8"), folder)
    (tmp_path / "page.html").write_text(page.replace("</body>", CHECK), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    out = re.search(r'<pre id="out">(.*?)</pre>', done.stdout)
    assert out is not None
    found = json.loads(html.unescape(out[1]))
    first, up, down, back = found["seen"]
    numbers = [float(text.split()[0]) for text in up if text]
    assert numbers == sorted(numbers) and len(numbers) > 10
    assert [float(text.split()[0]) for text in down if text] == numbers[::-1]
    assert back == first != up and found["large"] == 1
