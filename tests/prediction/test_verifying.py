"""predict(choose=...): the best draw of each example, by a score without labels."""

from __future__ import annotations

import pytest
import torch

from helpers import fitted
from helpers import test_digits as some_digits
from ocd import OCD, OCDError

INPUTS = some_digits(30).inputs


@pytest.fixture(scope="module")
def ocd() -> OCD:
    made = fitted({"overfit.lr": 0.2})
    other = OCD(made.base, loss=made.loss, config=made.config)
    other.hypernetwork, other.frozen = made.fitted()
    other.hypernetwork.set_sampling(spread=1.0, scale_factor=1.0)
    return other


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_it_keeps_the_draw_with_the_largest_score(ocd, chunk_size):
    every = ocd.predict(INPUTS, draws=6)
    seen = []

    def choose(inputs, outputs):
        seen.append(inputs)
        return outputs[..., 3]

    found = ocd.predict(INPUTS, draws=6, choose=choose, chunk_size=chunk_size)
    best = every.outputs[..., 3].argmax(dim=0)
    assert len(best.unique()) > 1
    assert torch.allclose(found.outputs[0], every.outputs[best, torch.arange(30)], atol=1e-5)
    assert torch.allclose(found.scale[0], every.scale[best, torch.arange(30)], atol=1e-5)
    assert torch.equal(torch.cat(seen), INPUTS)
    assert "the best of 6 draws by a score of the caller's" in found.note and not every.note


@pytest.mark.parametrize("lowest", [-1e9, -torch.inf])
def test_a_score_that_is_no_number_loses(ocd, lowest):
    def choose(inputs, outputs):
        scores = torch.full(outputs.shape[:2], torch.nan)
        scores[4] = lowest
        return scores

    every = ocd.predict(INPUTS, draws=6)
    found = ocd.predict(INPUTS, draws=6, choose=choose)
    assert torch.allclose(found.outputs[0], every.outputs[4], atol=1e-5)


@pytest.mark.parametrize("wrong", [lambda x, y: y[0, :, 0], lambda x, y: 1.0])
def test_scores_of_another_shape_are_refused(ocd, wrong):
    with pytest.raises(OCDError, match=r"it must return a score for every draw .*\(K, B\) = \(6, 30\)"):
        ocd.predict(INPUTS, draws=6, choose=wrong)


def test_what_cannot_be_called_and_scores_of_nothing_are_refused(ocd):
    with pytest.raises(OCDError, match="choose is 'best': it must be a function"):
        ocd.predict(INPUTS, draws=3, choose="best")
    for one in ({"draws": 1}, {"draws": 20, "mode": "mean"}):
        with pytest.raises(OCDError, match="keeps the best of several draws, and there is one"):
            ocd.predict(INPUTS, choose=lambda x, y: y[..., 0], **one)
    with pytest.raises(OCDError, match="no score for any draw of example 0 of this batch: all are NaN"):
        ocd.predict(INPUTS, draws=3, choose=lambda x, y: torch.full(y.shape[:2], torch.nan))
    with pytest.raises(OCDError, match="complex numbers"):
        ocd.predict(INPUTS, draws=3, choose=lambda x, y: torch.zeros(y.shape[:2], dtype=torch.cfloat))


def test_a_score_that_writes_into_what_it_is_given_changes_nothing(ocd):
    def choose(inputs, outputs):
        scores = outputs[..., 3].clone()
        outputs.zero_()
        return scores

    assert ocd.predict(INPUTS, draws=3, choose=choose).outputs.abs().sum() > 0
