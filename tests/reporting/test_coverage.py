"""A report of a regression first says whether intervals are right on its data, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ocd.reporting import write_report
from ocd.reporting.coverage import BOOTSTRAP, WILSON, wilson
from run_folders import MADE, change_json, change_tensors, make_run

DO_NOT = "Do not use the draws as a distribution here"


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])


def make_regression(
    folder: Path,
    shares: dict[str, tuple[float, float]],
    num_test: int = 1000,
    seeds: tuple[int, ...] = (0,),
    with_rows: bool = True,
) -> dict[str, Any]:
    """Results of a run whose distributions cover these shares (per cent, of 90 and of 50)."""
    made = {name: MADE[name] for name in ("base", "ocd_ensemble_5")}
    make_run(folder, seeds=seeds, made=made, num_test=num_test)
    for seed in seeds:
        generator = np.random.default_rng(seed)
        found, rows = {}, {}
        for name, both in shares.items():
            found[name] = {"crps": 0.5, "coverages": [1.0]}
            rows[f"crps/{name}"] = generator.random(num_test).astype(np.float32)
            for level, share in zip((90, 50), both, strict=True):
                count = round(share * num_test / 100)
                covered = generator.permutation(np.arange(num_test) < count).astype(np.float32)
                rows[f"covered_{level}/{name}"] = covered
                found[name] |= {f"coverage_{level}": 100 * count / num_test, f"width_{level}": 1.0}
        path = folder / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts, f=found: facts.update(distribution=f))
        if with_rows:
            change_tensors(folder, seed, lambda tensors, r=rows: tensors.update(r))
    return write_report(folder)


@pytest.mark.parametrize(
    ("shares", "num_test", "expected"),
    [
        ((90.4, 50.5), 4000, "right"),
        ((92.5, 50.5), 4000, "slightly off"),
        ((90.0, 47.0), 4000, "slightly off"),
        ((90.0, 50.0), 40, "undecided"),
        ((80.0, 50.0), 4000, "wrong"),
        ((98.0, 70.0), 4000, "wrong"),
        ((90.0, 60.0), 4000, "wrong"),
        ((86.0, 50.0), 100, "undecided"),
    ],
)
def test_statement(tmp_path: Path, shares: Any, num_test: int, expected: str) -> None:
    """The worst of both levels counts, and few rows say little."""
    found = make_regression(tmp_path, {"ocd": shares}, num_test)["verdict"]["distribution"]
    assert found["statement"] == expected
    assert (found["margin"], found["num_rows"]) == (5.0, num_test)
    assert list(found["levels"]) == ["90", "50"]
    for level, share in zip(("90", "50"), shares, strict=True):
        of = found["levels"][level]
        assert of["coverage"] == pytest.approx(share) and of["how"] == WILSON
        assert of["off"] == pytest.approx(share - float(level))
        assert of["interval"][0] < share < of["interval"][1]
    assert (DO_NOT in found["sentence"]) is (expected == "wrong")


def test_too_much_is_not_wrong_where_many_targets_are_alike(tmp_path: Path) -> None:
    """The true law of counts, half of them 0, covers 79 % with its 50 % intervals."""
    for number, (shares, statement) in enumerate(
        [((96.0, 79.0), "right"), ((80.0, 79.0), "wrong"), ((96.0, 40.0), "wrong")]
    ):
        folder = tmp_path / str(number)
        make_regression(folder, {"ocd": shares})
        path = folder / "predictions/seed-0.json"
        change_json(path, lambda facts: facts.update(commonest={"value": 0.0, "share": 0.51}))
        found = write_report(folder)["verdict"]["distribution"]
        assert found["statement"] == statement
        assert " 51 % of the targets are exactly 0: there even a right" in found["sentence"]
    change_json(path, lambda facts: facts.update(commonest={"value": 0.0, "share": 0.01}))
    found = write_report(folder)["verdict"]["distribution"]
    assert "exactly" not in found["sentence"]


def test_it_is_said_first_and_once(tmp_path: Path) -> None:
    results = make_regression(tmp_path, {"ocd": (80.0, 50.0)}, 4000)
    first, second, *rest = (tmp_path / "report.md").read_text().split("\n\n")
    assert first == results["verdict"]["distribution"]["sentence"]
    assert first.startswith(
        f"{DO_NOT}, intervals are wrong on this data: the central 90 % of OCD's draws cover 80.0 % "
        "(78.7 to 81.2, 10.0 points too few) and 50 % cover 50.0 % (48.5 to 51.5) of the 4,000 test "
        "targets"
    )
    assert second == results["verdict"]["sentence"]
    assert "cover 80.0 %" not in "\n\n".join(rest)


def test_where_draws_are_wrong_a_distribution_that_is_right_is_named(tmp_path: Path) -> None:
    use_that = "The base with split-conformal residuals covers 90.2 % and 50.1 %: use that."
    right = {"base_conformal": (90.2, 50.1)}
    found = make_regression(tmp_path / "1", {"ocd": (60.0, 50.0)} | right)["verdict"]["distribution"]
    assert found["sentence"].endswith(use_that)
    found = make_regression(tmp_path / "2", {"ocd": (90.0, 50.0)} | right)["verdict"]["distribution"]
    assert "use that" not in found["sentence"]
    both_wrong = {"ocd": (60.0, 50.0), "base_conformal": (70.0, 50.0)}
    found = make_regression(tmp_path / "3", both_wrong)["verdict"]["distribution"]
    assert "use that" not in found["sentence"]


@pytest.mark.parametrize(("crps", "closer"), [((0.2, 0.5), True), ((0.5, 0.2), False)])
def test_draws_whose_intervals_alone_are_wrong_are_not_dismissed(tmp_path: Path, crps, closer) -> None:
    """They are closer to the targets than what is named for intervals, beyond doubt, or are not."""
    both = {"ocd": (60.0, 50.0), "base_conformal": (90.2, 50.1)}
    make_regression(tmp_path, both)
    for name, value in zip(both, crps, strict=True):
        row = value + np.zeros(1000, np.float32)
        row[::2] += 0.01
        change_tensors(tmp_path, 0, lambda t, n=name, r=row: t.update({f"crps/{n}": r}))
    says = write_report(tmp_path)["verdict"]["distribution"]["sentence"]
    assert says.startswith("Do not use intervals of the draws here, they are" if closer else DO_NOT)
    assert says.count("use that") == 1 and ("As a whole the draws are closer" in says) is closer
    assert ("As a whole the draws are farther" in says) is not closer


@pytest.mark.parametrize("of_draws", [(90.0, 50.0), (92.5, 50.5)], ids=["right", "slightly off"])
@pytest.mark.parametrize("crps", [0.4, 0.2])
def test_draws_that_are_worse_than_residuals_are_said_to_be_first(tmp_path, of_draws, crps) -> None:
    """Whatever they cover: intervals that are right may be far too wide."""
    make_regression(tmp_path, {"ocd": of_draws, "base_conformal": (90.2, 50.1)}, 4000)
    for name, value in (("ocd", crps), ("base_conformal", 0.25)):
        row = value + np.zeros(4000, np.float32)
        row[::2] += 0.01
        change_tensors(tmp_path, 0, lambda t, n=name, r=row: t.update({f"crps/{n}": r}))
        path = tmp_path / "predictions/seed-0.json"
        change_json(path, lambda facts, n=name, v=value: facts["distribution"][n].update(crps=v))
    says = write_report(tmp_path)["verdict"]["distribution"]["sentence"]
    first = (
        "As a whole the draws are farther from the targets than the base with split-conformal "
        "residuals (CRPS 0.2500 → 0.4000, worse beyond doubt): use these instead. Intervals are "
    )
    assert says.startswith(first) is (crps == 0.4), says


def test_of_several_seeds_rows_and_seeds_are_resampled(tmp_path: Path) -> None:
    shares = {"ocd": (90.0, 50.0)}
    one = make_regression(tmp_path / "1", shares)["verdict"]["distribution"]["levels"]["50"]
    few = make_regression(tmp_path / "3", shares, seeds=(0, 1, 2))["verdict"]["distribution"]
    three = few["levels"]["50"]
    assert (one["how"], three["how"]) == (WILSON, BOOTSTRAP)
    assert BOOTSTRAP in few["sentence"]
    # The seeds cover rows that have nothing to do with one another: more trials, but also the spread
    # of three seeds.
    width, width_of_three = (np.diff(of["interval"]).item() for of in (one, three))
    assert width / np.sqrt(3) < width_of_three < width


@pytest.mark.parametrize("share", [100.0, 0.0])
def test_intervals_that_cover_all_or_nothing_are_not_certain(tmp_path: Path, share: float) -> None:
    """Resamples of rows that are all alike would all be alike too."""
    found = make_regression(tmp_path, {"ocd": (share, 50.0)}, 50, (0, 1))["verdict"]["distribution"]
    low, high = found["levels"]["90"]["interval"]
    assert found["levels"]["90"]["how"] == WILSON
    assert (low, high) == wilson(share, 50) and high - low > 5


def test_predictions_of_before_have_shares_alone(tmp_path: Path) -> None:
    results = make_regression(tmp_path, {"ocd": (90.0, 50.0)}, seeds=(0, 1), with_rows=False)
    found = results["verdict"]["distribution"]
    assert {of["how"] for of in found["levels"].values()} == {WILSON}
    assert found["levels"]["90"]["interval"] == list(wilson(90.0, 1000))


def test_a_classification_says_nothing_of_it(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    assert "distribution" not in results["verdict"]
    assert (tmp_path / "report.md").read_text().startswith(results["verdict"]["sentence"])


@pytest.mark.parametrize(("count", "num"), [(45, 50), (0, 20), (20, 20), (2000, 4128)])
def test_wilson_agrees_with_scipy(count: int, num: int) -> None:
    expected = stats.binomtest(count, num).proportion_ci(0.95, "wilson")
    low, high = wilson(100 * count / num, num)
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-4)
