"""A run that was asked for draws is judged by its draws, one that was asked for an answer by that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ocd.evaluation import Json
from ocd.reporting import Reported, opening_lines, side_by_side
from ocd.reporting.plain_words import in_plain_words
from ocd.reporting.records import read_run
from ocd.reporting.results import make_results
from run_folders import change_json, change_tensors, make_run


def results_of(folder: Path) -> Json:
    return make_results(read_run(folder))


DIFFERENCES = {"gain": 0.1, "no gain": 0.0, "worse": -0.1}


def with_draws(folder: Path, part: str, statement: str, goal: str) -> Path:
    """A run whose mean is a gain, and whose draws are `statement` against the base with residuals."""
    score, trivial = ("energy", "base_residuals") if part == "joint" else ("crps", "base_conformal")
    make_run(folder, seeds=(0,))
    change_json(folder / "config.json", lambda config: config.update(config={"goal": goal}))
    noise = np.random.default_rng(0).normal(0, 0.05, 400)
    found: Json = {}
    for name, mean in (("ocd", 1.0), (trivial, 1.0 + DIFFERENCES[statement])):
        found[name] = {score: mean, "coverages": [50.0] * 19} | dict.fromkeys(
            ("crps", "width_90", "width_50", "coverage_90", "coverage_50", "energy", "variogram",
             "covered_90", "covered_50", "two_sample"), mean,
        )  # fmt: skip
        rows = {f"{score}/{name}": (mean + (noise - noise.mean()) * (name != "ocd")).astype(np.float32)}
        if part == "distribution" and name == "ocd":
            rows |= {f"covered_{level}/ocd": np.ones(400, np.float32) for level in (90, 50)}
        change_tensors(folder, 0, lambda tensors, r=rows: tensors.update(r))
    change_json(
        folder / "predictions/seed-0.json",
        lambda facts: facts.update({part: found, "crps_by_number": {}}),
    )
    return folder


@pytest.mark.parametrize("statement", DIFFERENCES)
@pytest.mark.parametrize("part", ["joint", "distribution"])
def test_draws_are_judged_where_they_were_asked_for(tmp_path: Path, part: str, statement: str) -> None:
    run = with_draws(tmp_path, part, statement, "distribution")
    results = results_of(run)
    assert results["verdict"]["statement"] == "gain"  # of their mean
    asked = results["verdict"]["asked"]
    assert (asked["goal"], asked["statement"]) == ("distribution", statement)
    said = results["verdict"]["joint"]["sentence"] if part == "joint" else asked["sentence"]
    change = {"gain": "1.1000 → 1.0000", "no gain": "1.0000 → 1.0000", "worse": "0.9000 → 1.0000"}
    assert change[statement] in said
    assert said in opening_lines(results["verdict"])  # what `ocd verdict` prints
    assert said in in_plain_words(results).sentences
    plain = in_plain_words(results)
    assert plain.headline.startswith("Its draws")
    assert ("take the draws" in plain.sentences[-1]) == (statement == "gain")
    of_mean = "The mean of the draws, as one answer: on 400"
    assert any(text.startswith(of_mean) for text in plain.sentences)
    config = {"preset": "fast", "seeds": [0]}
    row = side_by_side([Reported("a", config, results)], {})["runs"][0]
    assert (row["statement"], row["draws"]) == ("gain", statement)


def test_an_answer_is_judged_where_it_was_asked_for(tmp_path: Path) -> None:
    results = results_of(with_draws(tmp_path, "distribution", "worse", "answer"))
    assert results["verdict"]["asked"] == {"goal": "answer", "statement": "gain"}
    assert in_plain_words(results).headline == "It helps."


def test_a_goal_that_a_fit_found_out_counts(tmp_path: Path) -> None:
    run = with_draws(tmp_path, "distribution", "worse", "auto")
    assert results_of(run)["verdict"]["asked"]["goal"] == "answer"
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "note", "seed": 0, "text": "goal: distribution (auto), since so"}\n')
    assert results_of(run)["verdict"]["asked"]["statement"] == "worse"


@pytest.mark.parametrize("name", ["ocd", "base_conformal"])
def test_draws_whose_scores_are_not_finite_are_undecided(tmp_path: Path, name: str) -> None:
    """They were judged by their mean, which is a gain here."""
    run = with_draws(tmp_path, "distribution", "gain", "distribution")
    broken = {f"crps/{name}": np.full(400, np.nan, np.float32)}
    change_tensors(run, 0, lambda tensors: tensors.update(broken))

    def break_mean(facts: Json) -> None:
        facts["distribution"][name]["crps"] = float("nan")

    change_json(run / "predictions/seed-0.json", break_mean)
    results = results_of(run)
    assert results["verdict"]["statement"] == "gain"
    assert results["verdict"]["asked"]["statement"] == "undecided"
    assert "a score is not finite" in in_plain_words(results).sentences[-3]
