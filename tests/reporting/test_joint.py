"""What is said of draws of whole answers, and that it is said first."""

from __future__ import annotations

import pytest

from ocd.reporting import joint_table, opening_lines
from ocd.reporting.evidence import Evidence
from ocd.reporting.joint import judge_joint

MANY = Evidence(400, 400)


def found(ours: float, trivial: list[float] | None, other: list[float] | None) -> dict:
    """Energy scores of OCD, and of the others with the interval of the difference."""

    def one(energy: float, interval: list[float] | None = None) -> dict:
        others = ("variogram", "crps", "covered_90", "covered_50", "two_sample")
        numbers = {key: [50.0] for key in others}
        against = {"against": {"difference": energy - ours, "interval": interval}} if interval else {}
        return {"energy": [energy], **numbers, **against}

    made = {"ocd": one(ours), "base": one(2.0)}
    if trivial is not None:
        made["base_residuals"] = one(1.0, trivial)
    if other is not None:
        made["output_diffusion"] = one(0.9, other)
        made["gaussian_head"] = one(1.4, [0.1, 0.2])
    return made


@pytest.mark.parametrize(
    ("ours", "interval", "statement", "words"),
    [
        (0.9, [0.05, 0.2], "gain", "Draws of whole answers pay: they beat"),
        (1.1, [-0.2, -0.05], "worse", "Do not use the draws: they are worse than"),
        (1.0, [-0.2, 0.05], "no gain", "cannot be told from"),
    ],
)
def test_the_verdict_is_about_the_trivial_distribution(ours, interval, statement, words):
    verdict = judge_joint(found(ours, interval, None), MANY)
    assert verdict["statement"] == statement
    assert words in verdict["sentence"]
    assert f"1.0000 → {ours:.4f}, {100 * (ours - 1):+.1f} %" in verdict["sentence"]
    lines = opening_lines({"joint": verdict, "sentence": "No gain."})
    assert lines == [verdict["sentence"], "No gain."]


def test_the_best_other_way_to_draw_is_named_beside_it():
    verdict = judge_joint(found(0.95, [0.01, 0.1], [-0.1, -0.01]), MANY)
    said = "conditional diffusion of the output, OCD's draws are worse (0.9000 → 0.9500, +5.6 %)."
    assert said in verdict["sentence"]
    equal = judge_joint(found(0.95, [0.01, 0.1], [-0.1, 0.01]), MANY)["sentence"]
    assert "OCD's draws are neither better nor worse beyond doubt (0.9000" in equal
    alone = judge_joint(found(0.95, None, None), MANY)
    assert alone == {"statement": "undecided", "sentence": "Draws were judged alone."}


def test_the_table_has_ocd_first_and_then_the_best():
    rows = joint_table(found(0.95, [0.01, 0.1], [-0.1, -0.01])).splitlines()[2:]
    keys = [row.split("`")[1] for row in rows]
    assert keys == ["ocd", "output_diffusion", "base_residuals", "gaussian_head", "base"]
    assert "+0.0500 (+0.0100 to +0.1000)" in rows[2] and rows[0].rstrip().endswith("| — |")


def test_a_band_of_few_draws_is_no_number():
    of = found(0.95, None, None)
    of["deep_ensemble_3"] = of["ocd"] | {"energy": [1.2], "covered_90": [None], "covered_50": [None]}
    row = next(row for row in joint_table(of).splitlines() if "`deep_ensemble_3`" in row)
    assert [cell.strip() for cell in row.split("|")][5:7] == ["—", "—"]
