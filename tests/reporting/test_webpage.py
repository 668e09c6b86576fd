"""report.html: the report's tables and figures in one file that needs nothing else."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ocd.reporting import write_report
from ocd.reporting.plain_words import HEADLINES, in_plain_words, suite_in_plain_words
from ocd.reporting.tables import grid
from ocd.reporting.webpage import inline, web_page
from run_folders import make_run

VOID = {"meta", "link", "img", "br"}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OUTWARD = re.compile(
    r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|import\(|WebSocket|sendBeacon", re.I
)


class Page(HTMLParser):
    """Tags, tables and figures of a page; raises where an element is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data
        for tag in set(self.open):
            self.text[tag] = self.text.get(tag, "") + data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def tables_of(markdown: str) -> list[list[list[str]]]:
    """Cells of the tables of a Markdown text without their marks, read line by line."""
    tables = []
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            lines = [line for i, line in enumerate(block.splitlines()) if i != 1]
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
            cells = [
                [re.sub(r"\*\*|`", "", c).replace("\\|", "|").strip() for c in row] for row in rows
            ]
            tables.append([row[:1] if not any(row[1:]) else row for row in cells])
    return tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_run(tmp_path_factory.mktemp("page") / "run", num_test=120)
    write_report(made)
    return made


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_every_table_of_the_report_is_in_the_page(folder: Path, page: Page) -> None:
    expected = tables_of((folder / "report.md").read_text(encoding="utf-8"))
    assert len(expected) >= 6
    assert page.tables == expected


def test_every_figure_is_in_the_file_itself(folder: Path, page: Page) -> None:
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    found = [base64.b64decode(image.removeprefix("data:image/png;base64,")) for image in images]
    shown = re.findall(r"!\[.*?\]\((.*?)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert len(shown) == len({*shown}) == 6
    assert found == [(folder / name).read_bytes() for name in shown]
    assert all(page.values("alt")) and len(page.values("alt")) == len(images)


def test_the_page_refers_to_nothing_outside(folder: Path, page: Page) -> None:
    ids = page.values("id")
    for value in page.values("src") + page.values("href"):
        assert value.startswith("data:") or (value.startswith("#") and value[1:] in ids)
    text = (folder / "report.html").read_text(encoding="utf-8")
    without_images = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not OUTWARD.findall(without_images)
    assert "default-src 'none'" in text


def test_every_section_is_reached_from_the_top(folder: Path, page: Page) -> None:
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    sections = re.findall(r"^##? (.*)", markdown, re.MULTILINE)
    links = [value for value in page.values("href") if value.startswith("#")]
    assert len(links) == len(sections) == len({*page.values("id")})
    assert page.text["nav"].split("\n")[2:-2] == [text.replace("`", "") for text in sections]


def test_the_exact_verdict_is_under_the_plain_words(folder: Path, page: Page) -> None:
    results = json.loads((folder / "results.json").read_text())
    plain = in_plain_words(results)
    assert page.text["h1"] == plain.headline
    header = page.text["header"]
    exact = results["verdict"]["sentence"].replace("`", "")
    assert header.index(plain.headline) < header.index(plain.sentences[-1]) < header.index(exact)


def verdict_of(statement: str, rival: str | None = None, **more: Any) -> dict[str, Any]:
    """What results.json says of a run whose verdict is `statement`."""
    against = [{"baseline": "base", "title": "base", "why": "base", "statement": statement}]
    if rival:
        why = "best baseline of at most equal cost"
        against.append({"baseline": "x", "title": "trees", "why": why, "statement": rival})
    verdict = {"comparison": "ocd_ensemble_5 vs base", "metric": "mse", "statement": statement}
    return {
        "task": "table", "examples": {"test": 1200}, "metrics": {"mse": {"higher_is_better": False}},
        "methods": {"base": {"mse": [2.0, 4.0]}, "ocd_ensemble_5": {"mse": [1.0, 2.0]}},
        "verdict": verdict | {"against": against} | more,
    }  # fmt: skip


def test_plain_words_say_how_much() -> None:
    plain = in_plain_words(verdict_of("gain", "no gain"))
    assert plain.headline == "It helps." and plain.tone == "gain"
    first, *_, rival, advice = plain.sentences
    assert first == (
        "On 1,200 test examples the base's mse is 3.0000; with OCD it is 1.5000, 50 % less "
        "(lower is better)."
    )
    assert rival == "Of the other methods that cost no more, the best (trees) cannot be told from OCD."
    assert advice.startswith("What to do: use it")


@pytest.mark.parametrize("statement", HEADLINES)
@pytest.mark.parametrize("rival", [None, "gain", "no gain", "worse", "undecided"])
def test_plain_words_never_say_more_than_the_verdict(statement: str, rival: str | None) -> None:
    plain = in_plain_words(verdict_of(statement, rival))
    advises_use = "What to do: use it" in " ".join(plain.sentences)
    assert advises_use == (statement == "gain" and rival != "worse")
    assert ("unlikely to be chance" in " ".join(plain.sentences)) == (statement in ("gain", "worse"))
    assert plain.tone == {"gain": "gain", "worse": "worse"}.get(statement, "unsure")
    assert ("trees" in " ".join(plain.sentences)) == (rival is not None)


def test_warnings_come_before_the_figures() -> None:
    quick, data = {"sentence": "Quick run: one seed."}, {"sentence": "Look at the data."}
    plain = in_plain_words(verdict_of("gain", quick=quick, data=data))
    assert plain.sentences[:2] == ["Look at the data.", "Quick run: one seed."]


def test_a_suite_is_judged_by_its_ensemble() -> None:
    statements = {"ocd": "worse", "ocd_ensemble_5": "no gain", "ocd_moved_5": "worse"}
    results = {"sets": {"a": {}, "b": {}}, "verdict": {"statements": statements}}
    plain = suite_in_plain_words(results)
    assert plain.headline == "It cannot be said to help." and "`a`, `b`" in plain.sentences[0]


def test_what_a_user_wrote_is_shown_not_run(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> & [here](javascript:alert) <b>*x*</b>"
    markdown = f"Verdict {hostile}\n\n# Title\n\n- {hostile}\n\n"
    markdown += grid(["text", "n"], [[hostile.replace("|", "\\|"), "1"], [r"a \| b", "2"]])
    plain = in_plain_words(verdict_of("worse"))
    page = Page(web_page(hostile, markdown, tmp_path, plain))
    tags = [tag for tag, _, _ in page.attributes]
    assert "b" not in tags and "javascript" not in "".join(page.values("href"))
    assert page.text["script"].count("alert") == 0
    assert page.text["td"] == "12"
    assert page.tables[0][1][0] == "<script>alert(1)</script> & here <b>x</b>"
    assert page.tables[0][2][0] == "a | b"


def test_marks_within_a_line() -> None:
    assert inline("**a** *b* `c*d*` 2 * 3 * 4") == (
        "<strong>a</strong> <em>b</em> <code>c*d*</code> 2 * 3 * 4"
    )


PROBE = """<script>
const header = document.querySelectorAll("table")[0].tHead.rows[0].cells[1];
const column = () => [...document.querySelectorAll("table")[0].tBodies[0].rows].map(
  (row) => (row.cells[1] ? parseFloat(row.cells[1].textContent) : null));
const seen = { before: column() };
header.querySelector("button").click();
seen.up = column(); seen.upState = header.getAttribute("aria-sort");
header.querySelector("button").click();
seen.down = column();
header.querySelector("button").click();
seen.again = column();
document.querySelector("figure button").click();
seen.open = document.querySelector("dialog").open;
seen.same = document.querySelector("dialog img").src === document.querySelector("figure img").src;
document.querySelectorAll("dialog button")[0].click();
seen.width = document.querySelector("dialog img").style.width;
document.querySelectorAll("dialog button")[2].click();
seen.closed = !document.querySelector("dialog").open;
const said = document.createElement("pre"); said.id = "seen";
said.textContent = JSON.stringify(seen); document.body.replaceChildren(said);
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_tables_sort_and_figures_grow_in_a_browser(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "probe.html"
    path.write_text((folder / "report.html").read_text(encoding="utf-8").replace("</body>", PROBE))
    asked = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout[-2000:]
    seen = json.loads(found[1])
    numbers = [value for value in seen["before"] if value is not None]
    assert None in seen["before"] and len(numbers) > 20
    assert seen["up"] == sorted(numbers) and seen["upState"] == "ascending"
    assert seen["down"] == sorted(numbers, reverse=True)
    assert seen["again"] == seen["before"]
    assert seen["open"] and seen["same"] and seen["width"] == "140%" and seen["closed"]
