"""Several runs in one table: what differs in their settings, what each gains over its own base."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from ocd.data import read_json
from ocd.reporting import Reported, runs_markdown, runs_table, side_by_side, write_report
from run_folders import change_json, make_run


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])


def reported(folder: Path, seeds: tuple[int, ...] = (0, 1), **config: Any) -> Reported:
    """A synthetic run with changes of its config.json."""
    make_run(folder, seeds=seeds)
    change_json(folder / "config.json", lambda saved: saved.update(config))
    results = write_report(folder)
    return Reported(folder.name, read_json(folder / "config.json"), results)


def cells(table: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the Markdown table, by header."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in runs_markdown(table).splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_each_run_is_a_row(tmp_path: Path) -> None:
    runs = [reported(tmp_path / "a"), reported(tmp_path / "b", task="mnist")]
    table = side_by_side(runs, {})
    for run, row, shown in zip(runs, table["runs"], cells(table), strict=True):
        verdict = run.results["verdict"]
        assert (row["run"], row["task"], row["seeds"]) == (run.name, run.results["task"], [0, 1])
        for key in ("difference", "interval", "statement"):
            assert row[key] == verdict[key]
        assert row["base"] == pytest.approx(mean(run.results["methods"]["base"]["cross_entropy"]))
        best = row["best_baseline"]
        against = next(of for of in verdict["against"] if of["baseline"] == best["method"])
        assert "equal cost" in against["why"] and best["statement"] == against["statement"]
        assert shown["run"] == f"`{run.name}`" and shown["verdict"] == "gain"
        assert shown["base"] == f"{row['base']:.4f}" and shown["OCD"] == f"{row['ensemble']:.4f}"
        assert shown["best baseline of equal cost"].endswith(f"{best['title']} ({best['statement']})")
        low, high = row["interval"]
        assert shown["OCD's gain (95 %)"] == f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
    assert all("settings that differ" not in row for row in cells(table))  # of two tasks, all do


def test_settings_that_differ_within_a_task(tmp_path: Path) -> None:
    one = {"layer": "auto", "training": {"num_steps": 10, "lr": 0.1}}
    other = {"layer": "auto", "training": {"num_steps": 20, "lr": 0.1}}
    runs = [
        reported(tmp_path / "a", config=one, run_options={"num_bases": 5}),
        reported(tmp_path / "b", config=other, run_options={"num_bases": 5, "variants": True}),
        reported(tmp_path / "c", task="mnist", config={"layer": "fc1"}),
    ]
    table = side_by_side(runs, {})
    assert [row["settings"] for row in table["runs"]] == [
        {"variants": "not there", "training.num_steps": 10},
        {"variants": True, "training.num_steps": 20},
        {},
    ]
    assert cells(table)[1]["settings that differ"] == "training.num_steps=20, variants=True"
    assert cells(table)[2]["settings that differ"] == "—"


def test_many_differences_are_counted_in_the_cell_and_whole_in_the_json(tmp_path: Path) -> None:
    runs = [
        reported(tmp_path / name, options={f"option_{i}": i + add for i in range(9)})
        for name, add in (("a", 0), ("b", 100))
    ]
    table = side_by_side(runs, {})
    assert len(table["runs"][1]["settings"]) == 9
    assert cells(table)[1]["settings that differ"].endswith("option_5=105, and 3 more")


def test_quick_and_unfinished_runs_are_named(tmp_path: Path) -> None:
    quick = reported(tmp_path / "a", seeds=(0,), run_options={"quick": True}, left_out=["label_head"])
    unfinished = reported(tmp_path / "b", seeds=(0, 1))
    unfinished.config["seeds"] = [0, 1, 2, 3]
    table = side_by_side([quick, unfinished], {"c": "c has no report yet"})
    assert [row["seeds"] for row in cells(table)] == ["1 (quick)", "2"]
    assert table["notes"] == [
        "not shown: c has no report yet",
        "unfinished: b has seeds that are not in its report (seed 2, 3)",
    ]
    text = runs_markdown(table)
    assert all(f"- {note}\n" in text for note in table["notes"])


def test_a_run_without_verdict_or_baseline(tmp_path: Path) -> None:
    run = reported(tmp_path / "a", seeds=(0,))
    verdict = run.results["verdict"]
    verdict |= {"difference": None, "interval": None, "statement": "undecided", "metric": "loss"}
    verdict["against"] = verdict["against"][:1]
    (row,) = cells(side_by_side([run], {}))
    assert (row["verdict"], row["loss"]) == ("undecided", "loss")
    assert not row.keys() & {"OCD's gain (95 %)", "base", "OCD", "best baseline of equal cost"}


def test_the_terminal_has_every_row(tmp_path: Path) -> None:
    import io

    from rich.console import Console

    table = side_by_side([reported(tmp_path / "a"), reported(tmp_path / "b")], {})
    page = io.StringIO()
    Console(width=200, file=page).print(runs_table(table))
    text = page.getvalue()
    assert " a " in text and " b " in text and "`" not in text
    page = io.StringIO()
    Console(width=70, file=page).print(runs_table(table))
    assert max(map(len, page.getvalue().splitlines())) <= 70
