"""What is said of draws of whole answers, and that it is said first."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ocd.reporting import joint_table, opening_lines
from ocd.reporting.evidence import Evidence
from ocd.reporting.joint import joint_results, judge_joint
from ocd.reporting.joint_figures import draw_crps
from ocd.reporting.records import RunRecords

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


def of_seeds(*energies: float) -> RunRecords:
    """Of each seed OCD's draws with this energy score, others with 1, and two test examples."""
    predictions, tensors = {}, {}
    for seed, energy in enumerate(energies):
        one = {"variogram": 0.1, "crps": 0.5, "covered_90": None, "covered_50": None}
        one |= {"two_sample": math.nan, "crps_by_step": [0.5, 0.5]}
        rows = {"ocd": energy, "base_residuals": 1.0}
        made = {
            name: one | {"energy": value, "crps_by_step": [value, 1.0]} for name, value in rows.items()
        }
        predictions[seed] = {"methods": {}, "joint": made}
        tensors[seed] = {f"energy/{name}": np.array([value, value]) for name, value in rows.items()}
    return RunRecords({"metrics": {}}, [], predictions, tensors, {})


@pytest.mark.parametrize("energy", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_a_dash_and_no_verdict(energy):
    """As a predictions file of an earlier version has it, too."""
    found = joint_results(of_seeds(energy, 2.0))
    json.dumps(found, allow_nan=False)
    assert found["ocd"]["energy"] == [None, 2.0] and found["ocd"]["two_sample"] == [None, None]
    verdict = judge_joint(found, MANY)
    assert verdict["statement"] == "undecided" and "not a finite number" in verdict["sentence"]
    ours, others = joint_table(found).splitlines()[2:]
    assert "`ocd`" in ours and "2.0000 (1 of 2)" in ours and "| 1.0000 ± 0.0000 |" in others
    assert [cell.strip() for cell in ours.split("|")][-3] == "—"
    curve = draw_crps(joint_results(of_seeds(energy))).axes[0].lines[0].get_ydata()
    assert np.isnan(curve[0]) and curve[1] == 1.0


def test_others_without_a_finite_score_are_no_rivals():
    found = joint_results(of_seeds(2.0))
    found["output_diffusion"] = found["ocd"] | {"energy": [None]}
    found["gaussian_head"] = found["ocd"] | {"energy": [0.0]}
    sentence = judge_joint(found, MANY)["sentence"]
    assert "head of normal distributions" in sentence and "(0.0000 → 2.0000)" in sentence
    order = [row.split("`")[1] for row in joint_table(found).splitlines()[2:]]
    assert order == ["ocd", "gaussian_head", "base_residuals", "output_diffusion"]
