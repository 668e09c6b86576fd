"""The table of a suite: averages, and intervals in which metrics are computed anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ocd.evaluation.classifier_metrics import matthews as of_outputs
from ocd.reporting.suite import Part, _gains, matthews, suite_markdown


def part(name: str, seed: int, metric: str = "accuracy", gain: float = 0.2) -> Part:
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=300)
    answers = {}
    for method, wrong in (("base", 0.4), ("ocd", 0.4 - gain)):
        flip = random.random((2, 300)) < wrong
        answers[method] = np.where(flip, 1 - truth, truth)
    if metric == "accuracy":
        counts = {m: 100.0 * (a == truth)[..., None] for m, a in answers.items()}
        values = {m: c[..., 0].mean(axis=1) for m, c in counts.items()}
    else:
        counts = {m: ((2 * truth + a)[..., None] == np.arange(4)) * 1.0 for m, a in answers.items()}
        values = {m: 100 * matthews(c.sum(axis=1)) for m, c in counts.items()}
    return Part(name, metric, [0, 1], values, counts)


def test_sets_that_were_run_otherwise_than_published_are_named():
    def results(**others: list[str]) -> dict:
        return {
            "suite": "setfit", "left_out": {}, "methods": {}, "paper": {}, "gains": {}, "seeds": [0],
            "notes": ["the body is X"], "verdict": {"sentence": "Average."},
            "sets": {name: {"metric": "accuracy", "others": of} for name, of in others.items()},
        }  # fmt: skip

    text = suite_markdown(results(a=["one", "two"], b=["one"]), {})
    assert "another experiment than the published one: one, two (a)." in text
    assert "Of all sets: the body is X." in text
    assert "another experiment" not in suite_markdown(results(a=[], b=[]), {})


def test_matthews_is_that_of_outputs():
    random = np.random.default_rng(0)
    truth, answers = random.integers(2, size=200), random.integers(2, size=200)
    counts = ((2 * truth + answers)[:, None] == np.arange(4)).sum(axis=0)
    outputs = torch.nn.functional.one_hot(torch.from_numpy(answers), 2).float()
    assert 100 * matthews(counts * 1.0) == pytest.approx(of_outputs(outputs, torch.from_numpy(truth)))
    assert matthews(np.array([10.0, 0, 5, 0])) == 0


def test_a_real_gain_has_an_interval_above_zero():
    parts = [part("a", 0), part("b", 1, "matthews")]
    found = _gains(parts, [0, 1], ["ocd"])["ocd"]
    for gain in (*found["sets"].values(), found["average"]):
        low, high = gain["interval"]
        assert 0 < low < gain["difference"] < high
    wide = found["sets"]["a"]["interval"]
    both = found["average"]["interval"]
    assert both[1] - both[0] < 2 * (wide[1] - wide[0])


def test_no_gain_has_an_interval_around_zero():
    found = _gains([part("a", 3, gain=0.0), part("b", 4, gain=0.0)], [0, 1], ["ocd"])["ocd"]
    low, high = found["average"]["interval"]
    assert low < 0 < high
