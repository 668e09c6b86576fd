"""Test examples that belong together are one piece of evidence, and of few pieces nothing is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocd.evaluation import TOGETHER, paired_bootstrap
from ocd.reporting import condition_table, write_report
from ocd.reporting.error_ranking import own_score_sentence
from ocd.reporting.gains import UNDECIDED, compare, judge
from ocd.reporting.plain_words import in_plain_words
from ocd.reporting.records import read_run
from ocd.reporting.results import make_results
from ocd.reporting.suite import Part, _gains, _verdict
from run_folders import MADE, change_json, change_tensors, make_run

FEW = "the 400 test examples are of 8 groups"
MANY_ROWS = 400


def make_grouped(folder: Path, num: int, unit: str | None = "group", **changes: Any) -> Path:
    """A run whose test examples are in `num` groups, of an earlier version where `unit` is None."""
    make_run(folder)
    for seed in (0, 1, 2):
        add_groups(folder, seed, num, unit)
    change_json(folder / "config.json", lambda config: config.update(changes))
    return folder


def add_groups(folder: Path, seed: int, num: int, unit: str | None) -> None:
    together = np.arange(MANY_ROWS, dtype=np.int64) % num
    change_tensors(folder, seed, lambda tensors: tensors.update({TOGETHER: together}))
    if unit is not None:
        path = folder / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts: facts.update({TOGETHER: unit}))


def results_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = make_results(read_run(folder))
    return found


@pytest.mark.parametrize(
    ("unit", "over"), [("group", "25 groups of test examples"), ("query", "25 queries")]
)
def test_intervals_are_over_groups(tmp_path: Path, unit: str, over: str) -> None:
    results = results_of(make_grouped(tmp_path, 25, unit))
    verdict = results["verdict"]
    assert f"(paired bootstrap over {over} and seeds, 95 % interval" in verdict["sentence"]
    assert verdict["evidence"] == {"num": 25, "examples": 400, "over": over}
    run = read_run(tmp_path)
    losses = [run.of_seeds(f"loss/{name}") for name in ("base", "ocd_ensemble_5")]
    expected = paired_bootstrap((losses[0] - losses[1])[None], together=np.arange(400) % 25)
    assert verdict["interval"] == pytest.approx(expected[0])
    said = own_score_sentence(results["uncertainty"])
    assert f"(paired bootstrap over {over}, 95 % interval" in said


def test_of_few_groups_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OCD is better by far, as it is where these examples are on their own; so is one draw."""
    assert results_of(make_run(tmp_path / "alone"))["verdict"]["statement"] == "gain"
    folder = make_grouped(tmp_path / "grouped", 8)
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])
    results = write_report(folder)
    verdict = results["verdict"]
    assert verdict["statement"] == "undecided" and verdict["interval"] is None
    assert verdict["difference"] == pytest.approx(verdict["against"][0]["difference"])
    assert verdict["sentence"].startswith(
        f"Undecided: base minus ensemble is {verdict['difference']:.4f} in cross entropy per test "
        f"example, but {FEW}, and what is found on fewer than 16 may be chance: no gain can be told, "
        "against the base or any other method."
    )
    both = verdict["against"] + verdict["one_draw"]
    assert len(both) > 5 and {of["statement"] for of in both} == {"undecided"}
    assert all(of["interval"] is None for one in both for of in one["metrics"].values())
    assert verdict["parts"] == {} and "Against the best" not in verdict["sentence"]
    said = own_score_sentence(results["uncertainty"])
    assert said.startswith("Whether “OCD: spread of the draws” ranks") and FEW in said
    assert in_plain_words(results).headline == "It cannot be told whether it helps."
    report = (folder / "report.md").read_text()
    assert FEW in report and "(+" not in report.split("## Against base")[1].split("## What it")[0]


@pytest.mark.parametrize(("num", "statement"), [(1, "undecided"), (15, "undecided"), (16, "gain")])
def test_few_examples_are_too_few_by_themselves(tmp_path: Path, num: int, statement: str) -> None:
    made = {"base": MADE["base"], "ocd_ensemble_5": MADE["overfit_test"]}
    verdict = results_of(make_run(tmp_path, made=made, num_test=num))["verdict"]
    assert verdict["statement"] == statement
    if statement == "undecided":
        assert f"only {num} test example" in verdict["sentence"]


def test_a_seed_of_an_earlier_version_takes_the_groups_of_the_others(tmp_path: Path) -> None:
    make_run(tmp_path)
    add_groups(tmp_path, 2, 25, "query")
    assert results_of(tmp_path)["verdict"]["evidence"]["over"] == "25 queries"


def test_runs_of_an_earlier_version_are_reported(tmp_path: Path) -> None:
    """Series knew their groups, and say so; a table or a ranking did not, and that is said."""
    verdict = results_of(make_grouped(tmp_path / "series", 25, None))["verdict"]
    assert "over 25 groups of test examples and seeds" in verdict["sentence"]
    assert "data" not in verdict
    folder = make_run(tmp_path / "table")
    assert "data" not in results_of(folder)["verdict"]
    change_json(folder / "config.json", lambda config: config.update(options={"group": "patient"}))
    verdict = results_of(folder)["verdict"]
    assert verdict["statement"] == "gain" and "over test examples and seeds" in verdict["sentence"]
    assert "do not know the test rows that share 'patient'" in verdict["data"]["sentence"]
    for seed in (0, 1, 2):  # one that knows that each row is its own
        path = folder / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts: facts.update({TOGETHER: "example"}))
    assert "data" not in results_of(folder)["verdict"]


def test_no_published_gain_is_repeated_on_few_groups(tmp_path: Path) -> None:
    """Nor by the spread over seeds, which are of the same few examples."""
    published = {"methods": {"base": {"accuracy": [98.0, None], "calibration_error": [0.9, None]},
                             "ocd": {"accuracy": [98.5, 0.1], "calibration_error": [0.5, 0.1]}},
                 "source": "a table"}  # fmt: skip
    for num, expected in ((8, {UNDECIDED}), (200, {"reproduced", "smaller here", "not reproduced"})):
        folder = make_grouped(tmp_path / str(num), num, published=published)
        rows = compare(read_run(folder), results_of(folder))
        judged = {judge(row) for row in rows if row.method == "ocd"}
        assert judged <= expected and len([row for row in rows if row.method == "ocd"]) == 2
        assert all((row.interval is None) is (num == 8) for row in rows if row.method == "ocd")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("num", [2, 40])
def test_coverage_is_judged_over_groups(tmp_path: Path, seeds: tuple[int, ...], num: int) -> None:
    """All rows of a group are covered, or none is: 40 groups say as much as 40 rows do."""
    make_run(tmp_path, seeds=seeds)
    inside = np.arange(MANY_ROWS) % num % 2 == 0
    for seed in seeds:
        add_groups(tmp_path, seed, num, "group")
        found = {"crps": 0.5, "coverages": [1.0], "width_90": 1.0, "width_50": 1.0,
                 "coverage_90": 50.0, "coverage_50": 50.0}  # fmt: skip
        rows = {f"covered_{level}/ocd": inside.astype(np.float32) for level in (90, 50)}
        change_tensors(tmp_path, seed, lambda tensors, r=rows: tensors.update(r))
        path = tmp_path / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts, f=found: facts.update(distribution={"ocd": f}))
    found = results_of(tmp_path)["verdict"]["distribution"]
    if num == 2:
        assert found["statement"] == "undecided"
        assert [of["interval"] for of in found["levels"].values()] == [None, None]
        assert found["sentence"] == (
            "Whether intervals are right on this data cannot be told: the central 90 % of OCD's draws "
            "cover 50.0 % and 50 % cover 50.0 % of the 400 test targets. The 400 test examples are of "
            "2 groups, and what is found on fewer than 16 may be chance."
        )
        return
    low, high = found["levels"]["50"]["interval"]
    assert 25 < high - low < 35  # of 400 rows it would be 10
    assert found["statement"] == "wrong"
    ending = " and seeds" if len(seeds) > 1 else ""
    assert f"bootstrap over 40 groups of test examples{ending};" in found["sentence"]


@pytest.mark.parametrize(("num", "cell"), [(4, "| — |"), (30, " to -")])
def test_the_table_of_conditions_is_over_groups(num: int, cell: str) -> None:
    chance = np.random.default_rng(0)
    base = [chance.normal(2, 0.1, 60).tolist() for _ in range(2)]
    better = [[value - 0.5 for value in losses] for losses in base]
    variants = {"base": [{"draw": of} for of in base], "all": [{"draw": of} for of in better]}
    values = {"task": "ltr", "seeds": [0, 1], "variants": variants}
    groups = {TOGETHER: [row % num for row in range(60)], "unit": "query"}
    table = condition_table(values | groups)
    row = next(line for line in table.splitlines() if line.startswith("| all"))
    assert cell in row and f"a paired bootstrap over {num} queries and seeds." in table
    assert ("may be chance" in table) is (num == 4)
    assert "over test examples and seeds" in condition_table(values)


def test_a_set_of_few_texts_has_no_interval() -> None:
    values = {"base": np.full(2, 40.0), "ocd": np.full(2, 80.0)}
    parts = []
    for name, size in (("many", 300), ("few", 10)):
        counts = {m: np.full((2, size, 1), of[0]) for m, of in values.items()}
        parts.append(Part(name, "accuracy", [0, 1], values, counts))
    gains = _gains(parts, [0, 1], ["ocd"])
    found = gains["ocd"]
    assert found["sets"]["many"]["interval"] == pytest.approx([40.0, 40.0])
    assert found["sets"]["few"]["interval"] is None and found["average"]["interval"] is None
    verdict = _verdict({"gains": gains, "seeds": [0, 1], "sets": {"many": {}, "few": {}}})
    assert verdict["statements"] == {"ocd": "undecided"}
    assert "undecided, +40.00 points (a set has too few test texts" in verdict["sentence"]
    grouped = replace(parts[0], together=np.arange(300) // 30)
    assert _gains([grouped], [0, 1], ["ocd"])["ocd"]["average"]["interval"] is None
