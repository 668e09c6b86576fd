"""docs/performance.md and docs/models.md have the measurements that are committed, and all of them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = runpy.run_path(str(ROOT / "tools" / "performance_tables.py"))
TEXTS = [page.read_text(encoding="utf-8") for page in TOOL["PAGES"]]


def test_their_tables_are_the_committed_measurements():
    assert [TOOL["filled"](text) for text in TEXTS] == TEXTS
    assert all(f"<!-- table: {name} -->" in "".join(TEXTS) for name in TOOL["TABLES"])


def test_the_figures_are_there():
    for name in ("steps", "sweeps", "growth"):
        assert (ROOT / "results" / "benchmarks" / f"{name}.png").exists()


def test_the_programs_of_the_page_on_models_run(capsys):
    programs = re.findall(r"```python\n(.*?)```", TEXTS[1], re.DOTALL)
    names: dict[str, object] = {}
    for program in programs:
        exec(compile(program, "docs/models.md", "exec"), names)
    promised = re.findall(r"# (\(.*\))$", "".join(programs), re.MULTILINE)
    assert capsys.readouterr().out.split("\n")[:-1] == promised and len(promised) == 2
