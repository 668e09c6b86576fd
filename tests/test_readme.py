"""README, documentation and result pages are true: tables, programs, commands and links."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

import results_pages
import results_tables
from ocd import OCDError
from ocd.cli.app import app
from ocd.config import REMOVED
from ocd.runs.settings import read_settings
from ocd.tasks import SUITES, TASKS, get_task
from results_plan import made

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").rglob("*.md"))
NOTES = sorted((ROOT / "results").rglob("notes.md"))
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS, *NOTES]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_table_is_that_of_the_committed_results():
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in results_tables.PAGES}
    assert {page: results_tables.filled(text) for page, text in pages.items()} == pages
    folders = {name_of(folder).removeprefix("results/") for folder in results_pages.folders()}
    assert {planned.folder for planned in made()} == folders
    assert all(f"(../results/{folder}/README.md)" in pages["docs/results.md"] for folder in folders)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "library.md"], ids=name_of)
def test_program_prints_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    text = page.read_text(encoding="utf-8")
    ((program, printed),) = re.findall(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(program, page.name, "exec"), {})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("folder", results_pages.folders(), ids=name_of)
def test_result_page_is_what_the_tool_makes(folder):
    page = results_pages.page(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == page
    assert page.startswith("<!-- Made by") and "](report.md)" in page


@pytest.mark.parametrize(
    "page", [*WRITTEN, *(folder / "README.md" for folder in results_pages.folders())], ids=name_of
)
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    names = [page.relative_to(ROOT / "docs").as_posix() for page in DOCS]
    assert not [name for name in names if f"({name})" not in index and name != "README.md"]


# The page of the architecture has commands for what its reader is to add.
@pytest.mark.parametrize("page", [p for p in WRITTEN if p.name != "architecture.md"], ids=name_of)
def test_commands_name_tasks_and_settings_that_exist(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"ocd run [a-z][^`\n#]*", text):
        words = shlex.split(line)
        given = [word for before, word in pairwise(words) if before == "--set"]
        task = SUITES.get(words[2], (words[2],))[0]
        read_settings(get_task(task), "fast", dict(item.split("=", 1) for item in given))


@pytest.mark.parametrize("page", [p for p in DOCS if p.parent.name == "how-to"], ids=name_of)
def test_commands_of_how_to_pages_are_what_people_can_type(page):
    """Verbs, options and their values, as the command reads them before it does anything; and single
    settings, which some task takes."""
    verbs = typer.main.get_command(app).commands
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"(?<![\w./-])ocd (?!import )[a-z][^`\n#]*", text):
        verb, *words = shlex.split(line)[1:]
        if words:  # else it is named, not called
            verbs[verb].make_context(verb, words)
    for key, value in re.findall(r"--set ([a-z_0-9.]+)=([^\s`)]+)", text):
        assert any(takes(task, key, value) for task in TASKS), f"no task takes {key}={value}"


def takes(task, key, value):
    try:
        read_settings(get_task(task), "fast", {key: value})
    except OCDError:
        return False
    return True


def test_changelog_names_every_setting_that_is_gone():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = changelog.split("\n## ")[1]
    assert not [key for key in REMOVED if f"`{key}`" not in section]
