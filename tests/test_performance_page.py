"""docs/performance.md has the measurements that are committed, and all of them."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = runpy.run_path(str(ROOT / "tools" / "performance_tables.py"))
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_its_tables_are_the_committed_measurements():
    assert TOOL["filled"](PAGE) == PAGE
    assert all(f"<!-- table: {name} -->" in PAGE for name in TOOL["TABLES"])


def test_its_figures_are_there():
    for name in ("steps", "sweeps", "growth"):
        assert (ROOT / "results" / "benchmarks" / f"{name}.png").exists()
