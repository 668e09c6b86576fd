"""A report as one web page that needs no network: report.html beside report.md, from the same text.

    write_text(run_dir / "report.html", run_page(results, markdown, run_dir))

Read is the Markdown that reports are written in, no more: headings, paragraphs, lists, tables by
`grid`, figures, and bold, italic and code within a line. Figures are in the file itself; a page has no
link to anything else, and tells the browser to load nothing. Whatever stands in a report (texts, file
and column names of a user) is shown as text, never run.

webpage.html is the frame, webpage.css its look (also in the dark, on small screens and on paper), and
webpage.js makes tables sort and figures grow. Without that script everything is still there to read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from ocd.evaluation import Json
from ocd.reporting.plain_words import PlainWords, in_plain_words, suite_in_plain_words

MEDIA = {".png": "image/png", ".gif": "image/gif"}
FIGURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)]+)\)")
TAG = re.compile(r"<[^>]+>")
CELL = re.compile(r"(?<!\\)\|")
INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|\*(?P<italic>[^*\s][^*]*)\*|\[(?P<text>[^\]]+)\]\([^)]+\)"
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Content-Security-Policy: whatever a report's text says, nothing is fetched."""


def run_page(results: Json, markdown: str, folder: Path) -> str:
    """report.html of a run: `markdown` is its report.md, `folder` the run folder, with its figures."""
    return web_page(f"OCD on {results['task']}", markdown, folder, in_plain_words(results))


def suite_page(results: Json, markdown: str, folder: Path) -> str:
    """report.html of a suite, likewise."""
    return web_page(f"OCD on {results['suite']}", markdown, folder, suite_in_plain_words(results))


def web_page(title: str, markdown: str, folder: Path, plain: PlainWords) -> str:
    """The page of a report: `plain` on top, the exact verdict under it, then everything else.

    `markdown`: a report, whose paragraphs before its first heading are the verdict. `folder`: where its
    figures are. Raises OSError for a figure that is not there.
    """
    blocks = markdown.strip().split("\n\n")
    start = next((i for i, block in enumerate(blocks) if block.startswith("#")), len(blocks))
    exact = "\n".join(f"<p>{inline(block)}</p>" for block in blocks[:start])
    top = [f"<h1>{escape(plain.headline)}</h1>", *(f"<p>{inline(s)}</p>" for s in plain.sentences)]
    top.append(f"<details><summary>The same in figures</summary>\n{exact}\n</details>")
    main, sections = _main(blocks[start:], folder)
    return _part("webpage.html").format(
        policy=POLICY,
        title=escape(title),
        css=_part("webpage.css"),
        tone=plain.tone,
        verdict="\n".join(top),
        contents="\n".join(f'<li><a href="#s{i}">{text}</a></li>' for i, text in enumerate(sections)),
        main=main,
        script=_part("webpage.js"),
    )


def inline(text: str) -> str:
    """A paragraph's words as HTML; a link is its text alone, since it leads out of the file."""

    def marked(found: re.Match[str]) -> str:
        tags = {"code": "code", "bold": "strong", "italic": "em", "text": "span"}
        tag = tags[str(found.lastgroup)]
        return f"<{tag}>{escape(found[str(found.lastgroup)])}</{tag}>"

    made, end = [], 0
    for found in INLINE.finditer(text):
        made += [escape(text[end : found.start()]), marked(found)]
        end = found.end()
    return "".join([*made, escape(text[end:])])


def _main(blocks: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """The body of the page, and the titles of its sections."""
    made: list[str] = []
    sections: list[str] = []
    place = 0
    while place < len(blocks):
        block, following = blocks[place], blocks[place + 1 : place + 2]
        place += 1
        if block.startswith("#"):
            text = inline(block.lstrip("# "))
            made.append(f'<h2 id="s{len(sections)}">{text}</h2>')
            sections.append(text)
        elif found := FIGURE.fullmatch(block):
            caption = [text for text in following if _is_paragraph(text)]
            place += len(caption)
            made.append(_figure(found, caption, folder))
        elif block.startswith("| "):
            made.append(_table(block, sections[-1] if sections else "table"))
        elif block.startswith("- "):
            items = block.removeprefix("- ").split("\n- ")
            made.append("<ul>\n" + "\n".join(f"<li>{inline(item)}</li>" for item in items) + "\n</ul>")
        else:
            made.append(f"<p>{inline(block)}</p>")
    return "\n".join(made), sections


def _is_paragraph(block: str) -> bool:
    """Whether a block behind a figure is its caption, not a heading, a table or another figure."""
    return not block.startswith(("#", "|", "- ", "!", "`"))


def _figure(found: re.Match[str], caption: Sequence[str], folder: Path) -> str:
    """A figure whose image is in the page, as base64, with its caption if there is one."""
    path = folder / found["file"]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(found["alt"])}" src="data:{MEDIA[path.suffix]};base64,{data}">'
    words = "".join(f"\n<figcaption>{inline(text)}</figcaption>" for text in caption)
    return f"<figure>\n{image}{words}\n</figure>"


def _table(block: str, section: str) -> str:
    """A table by `grid`. A row with nothing but a first cell is the title of a group of rows."""
    header, _, *rows = (_cells(line) for line in block.splitlines())
    head = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in header)
    made = []
    for first, *others in rows:
        if others and not any(others):
            made.append(f'<tr class="group"><th colspan="{len(header)}">{inline(first)}</th></tr>')
        else:
            cells = "".join(f"<td>{inline(cell)}</td>" for cell in others)
            made.append(f'<tr><th scope="row">{inline(first)}</th>{cells}</tr>')
    body, name = "\n".join(made), TAG.sub("", section)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="table: {name}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _cells(line: str) -> list[str]:
    """The cells of a line of a table; an escaped bar belongs to its cell's text."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in CELL.split(inner)]


def _part(name: str) -> str:
    """A file of the page that lies beside this module, in the installed package too."""
    return files("ocd.reporting").joinpath(name).read_text(encoding="utf-8")
