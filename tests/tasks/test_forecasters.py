"""Forecasters of series see the whole window; one of a whole number of pieces as it stands."""

from __future__ import annotations

import pytest
import torch

from ocd.tasks.series.forecasters import KINDS, in_pieces, make_forecaster


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lookback", [16, 17, 19, 23, 30, 96, 100, 167, 168])
def test_every_value_of_a_window_is_seen_whatever_its_length(kind, lookback):
    torch.manual_seed(0)
    made = make_forecaster(kind, lookback, 4, 16).eval()
    window = torch.randn(1, lookback, requires_grad=True)
    made.head(made.body(window)).sum().backward()  # not the last value, which is added to the answer
    assert (window.grad != 0).all()


@pytest.mark.parametrize(("size", "stride"), [(4, 4), (16, 8)])
@pytest.mark.parametrize("lookback", [16, 24, 96, 168])
def test_a_window_of_whole_pieces_is_cut_as_it_stands(size, stride, lookback):
    """So that weights of these keep their meaning: ETTh1's 96 hours are 24 fours, or 11 patches."""
    window = torch.randn(3, lookback)
    pieces = in_pieces(window, size, stride)
    for place in range((lookback - size) // stride + 1):
        assert torch.equal(pieces[:, place], window[:, place * stride : place * stride + size])
    assert pieces.shape[1] == (lookback - size) // stride + 1


@pytest.mark.parametrize("lookback", [17, 23, 30, 100])
def test_pieces_of_any_window_end_with_it_and_begin_with_its_first_value(lookback):
    window = torch.randn(2, lookback)
    pieces = in_pieces(window, 16, 8)
    assert torch.equal(pieces[:, -1], window[:, -16:])
    assert torch.equal(pieces[:, -2], window[:, -24:-8] if lookback >= 24 else pieces[:, 0])
    lacking = 16 + 8 * (pieces.shape[1] - 1) - lookback
    assert 0 < lacking < 8
    assert torch.equal(pieces[:, 0, :lacking], window[:, :1].expand(-1, lacking))


def test_the_last_hours_of_a_day_and_a_bit_decide_a_forecast():
    """A jump that is learnt from the newest values alone, which a window of 23 has behind its fifth
    four."""
    torch.manual_seed(0)
    windows = torch.randn(512, 23)
    targets = windows[:, -1:] + windows[:, -3:-2]  # the last value, and the one two before it
    made = make_forecaster("gru", 23, 1, 16)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(150):
        loss = (made(windows) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3 * float((windows[:, -3]).var())
