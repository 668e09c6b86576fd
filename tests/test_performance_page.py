"""docs/performance.md has the measurements that are committed, and all of them."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_its_tables_are_the_committed_measurements():
    tool = runpy.run_path(str(ROOT / "tools" / "performance_tables.py"))
    page = (ROOT / "docs" / "performance.md").read_text()
    assert tool["filled"](page) == page
    assert all(f"<!-- table: {name} -->" in page for name in tool["TABLES"])


def test_its_figures_are_there():
    for name in ("steps", "sweeps", "growth"):
        assert (ROOT / "results" / "benchmarks" / f"{name}.png").exists()
