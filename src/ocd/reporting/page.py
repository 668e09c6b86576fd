"""report.md as report.html: one file that needs no network, whose tables sort and whose figures grow.

    write_page(Path("runs/digits"))   # after report.md and the figures are written

The text is that of report.md, so that the two never say different things. Figures and sounds are in the
page itself. Without JavaScript all is there, too; it only sorts and enlarges.
"""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from ocd.data import write_text

KINDS = {".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".wav": "audio/wav"}
"""Files that a page holds itself, by their ending."""
VERDICTS = {"Gain": "gain", "No gain": "none", "Worse": "worse", "Undecided": "none"}
"""How a verdict begins -> the colour of its band."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #d0d0d0; --soft: #f4f4f4;
  --gain: #1b6e3c; --none: #6a5a00; --worse: #9c2a1b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616; --line: #444;
  --soft: #222; --gain: #63c98a; --none: #d8c25a; --worse: #f08a7a; } }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
.verdict { border-left: .4rem solid var(--none); background: var(--soft); padding: .7rem 1rem; }
.verdict.gain { border-color: var(--gain); } .verdict.worse { border-color: var(--worse); }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
td[style] { white-space: nowrap; }
th button { font: inherit; font-weight: bold; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-align: left; } th button::after { content: " \\2195"; opacity: .5; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
img { max-width: 100%; height: auto; background: #fff; } a.zoom { display: block; cursor: zoom-in; }
a.zoom.large { cursor: zoom-out; } a.zoom.large img { max-width: none; }
.figure { overflow-x: auto; } code { background: var(--soft); padding: 0 .2rem; }
"""
SCRIPT = """
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0], first = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement('button');
    button.append(...head.childNodes); head.append(button);
    button.addEventListener('click', () => {
      const now = head.getAttribute('aria-sort');
      const next = now === 'ascending' ? 'descending' : now === 'descending' ? null : 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      if (next) head.setAttribute('aria-sort', next);
      const value = row => row.cells[place]?.textContent.trim() ?? '';
      const number = text => parseFloat(text.replace(/,/g, '').replace('\\u2212', '-'));
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)], [m, n] = [number(x), number(y)];
        if (isNaN(m) !== isNaN(n)) return isNaN(m) ? 1 : -1;
        const found = isNaN(m) ? x.localeCompare(y) : m - n;
        return next === 'descending' ? -found : found;
      };
      body.append(...(next ? [...first].sort(order) : first));
    });
  });
}
for (const link of document.querySelectorAll('a.zoom'))
  link.addEventListener('click', event => {
    event.preventDefault(); link.classList.toggle('large');
  });
"""


def write_page(run_dir: Path) -> None:
    """Make report.html of a run folder's report.md."""
    text = (run_dir / "report.md").read_text(encoding="utf-8")
    write_text(run_dir / "report.html", as_page(text, run_dir))


def as_page(text: str, folder: Path) -> str:
    """A report in Markdown as one HTML page; what it links in `folder` is put into it."""
    from markdown_it import MarkdownIt  # Rich's own, so that it is always here

    verdict, _, rest = text.partition("\n# ")
    heading = rest.splitlines()[0] if rest else "OCD"
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    kind = next((k for start, k in VERDICTS.items() if verdict.startswith(start)), "none")
    body = markdown.render(f"# {rest}" if rest else "")
    title = html.escape(heading.replace("`", ""))
    page = (
        f'<div class="verdict {kind}" role="status">{markdown.render(verdict)}</div>\n'
        f"{_with_files(_wide(body), folder)}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{page}</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _wide(body: str) -> str:
    """Tables that are wider than a screen scroll by themselves, also by keyboard."""
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>')
    return body.replace("</table>", "</table></div>")


def _with_files(body: str, folder: Path) -> str:
    """Images and sounds of the folder in the page. A link to what is not there stays a link."""

    def image(found: re.Match[str]) -> str:
        data = _data(folder / html.unescape(found["path"]))
        if data is None:
            return found[0]
        picture = f'<img src="{data}" alt="{found["alt"]}">'
        label = f'aria-label="enlarge: {found["alt"]}"'
        return f'<a class="zoom" href="#" {label}><span class="figure">{picture}</span></a>'

    def sound(found: re.Match[str]) -> str:
        data = _data(folder / html.unescape(found["path"]))
        if data is None:
            return found[0]
        label = re.sub("<.*?>", "", found["label"])
        return f'{found["label"]} <audio controls preload="none" src="{data}" title="{label}"></audio>'

    body = re.sub(r'<img src="(?P<path>[^":]+)" alt="(?P<alt>[^"]*)" ?/?>', image, body)
    return re.sub(r'<a href="(?P<path>[^":]+\.wav)">(?P<label>.*?)</a>', sound, body)


def _data(path: Path) -> str | None:
    """A file as a data address; None where it is none that a page holds."""
    if path.suffix not in KINDS or not path.is_file():
        return None
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
