"""Deltas: what they add to a layer's output, and rank one as a shorter way to write the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ocd.base import ComponentDelta, DenseDelta, RankOneDelta, component_delta


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rank_one(batch: int = 3, draws: int = 2, out: int = 4, fan_in: int = 5) -> RankOneDelta:
    return RankOneDelta(normal(batch, draws, out), normal(batch, fan_in, seed=1), (out, fan_in))


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    shared=st.booleans(),
    draws=st.integers(1, 3),
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
    out=st.integers(1, 3),
    fan_in=st.integers(1, 4),
)
def test_shift_is_each_row_times_its_own_delta(
    batch: int, shared: bool, draws: int, rows: int, groups: int, out: int, fan_in: int
) -> None:
    weight = normal(1 if shared else batch, draws, groups * out, fan_in)
    values = normal(batch, rows, groups, fan_in, seed=1)
    shift = DenseDelta(weight).shift(values)
    assert shift.shape == (batch, draws, rows, groups * out)
    for b in range(batch):
        for k in range(draws):
            matrices = weight[0 if shared else b, k].view(groups, out, fan_in)
            for r in range(rows):
                expected = torch.cat([matrices[g] @ values[b, r, g] for g in range(groups)])
                assert_equal(shift[b, k, r], expected)


def test_shift_of_a_convolutions_delta() -> None:
    weight, image = normal(1, 1, 4, 2, 3, 3), normal(1, 2, 5, 5, seed=1)
    rows = F.unfold(image, 3).transpose(1, 2)[:, :, None]  # (1, R, 1, I)
    expected = F.conv2d(image, weight[0, 0]).flatten(2).transpose(1, 2)
    assert_equal(DenseDelta(weight).shift(rows)[:, 0], expected)


def test_rank_one_is_the_outer_product() -> None:
    delta = rank_one()
    dense = delta.dense()
    assert dense.shape == (3, 2, 4, 5)
    for b in range(3):
        for k in range(2):
            assert torch.equal(dense[b, k], torch.outer(delta.left[b, k], delta.right[b]))


def test_rank_one_has_the_layers_own_weight_shape() -> None:
    delta = RankOneDelta(normal(2, 1, 4), normal(2, 12, seed=1), (4, 3, 2, 2))
    assert delta.dense().shape == (2, 1, 4, 3, 2, 2)
    expected = torch.outer(delta.left[1, 0], delta.right[1]).view(4, 3, 2, 2)
    assert torch.equal(delta.dense()[1, 0], expected)


def test_rank_one_does_all_that_its_dense_form_does() -> None:
    short, rows = rank_one(), normal(3, 6, 1, 5, seed=2)
    long = DenseDelta(short.dense())
    assert short.num_draws == long.num_draws == 2
    assert_equal(short.norms(), long.norms())
    assert_equal(short.shift(rows), long.shift(rows))
    assert_equal(short.mean_draw().dense(), long.mean_draw().dense())
    assert_equal(short.take(slice(1, 3)).dense(), long.take(slice(1, 3)).dense())
    index = torch.tensor([2, 0])
    assert_equal(short.take(index).dense(), long.take(index).dense())
    factor = normal(3, 2, seed=3)
    assert_equal(short.scaled(factor).dense(), long.scaled(factor).dense())


def test_norms_are_of_the_whole_weight() -> None:
    weight = torch.zeros(2, 3, 2, 2, 2)
    weight[1, 2] = 3.0
    norms = DenseDelta(weight).norms()
    assert norms.shape == (2, 3)
    assert norms[1, 2] == pytest.approx(3 * 8**0.5) and norms.count_nonzero() == 1


def test_scaled_multiplies_each_norm() -> None:
    delta, factor = DenseDelta(normal(3, 2, 4, 5)), normal(3, 2, seed=1).abs()
    assert_equal(delta.scaled(factor).norms(), delta.norms() * factor)


def test_the_mean_draw_is_the_mean_of_the_weights() -> None:
    weight = normal(3, 5, 2, 2)
    mean = DenseDelta(weight).mean_draw()
    assert mean.num_draws == 1
    assert_equal(mean.dense()[:, 0], sum(weight.unbind(1)) / 5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_isfinite_names_the_example(bad: float) -> None:
    weight = normal(3, 2, 4, 5)
    weight[1, 1, 3, 4] = bad
    assert DenseDelta(weight).isfinite().tolist() == [True, False, True]
    for spoil in (lambda delta: delta.left[2, 1], lambda delta: delta.right[2]):
        assert _spoiled(spoil, bad).isfinite().tolist() == [True, True, False]


def _spoiled(choose: Callable[[RankOneDelta], Tensor], bad: float) -> RankOneDelta:
    delta = rank_one()
    choose(delta)[0] = bad
    return delta


# Sums of components


def components(batch: int = 3, draws: int = 2, groups: int = 1) -> ComponentDelta:
    shape = (6, 5) if groups == 1 else (6, 1, 5)
    return ComponentDelta(normal(batch, draws, 4), normal(30, 4, seed=1), shape)


@pytest.mark.parametrize("block", [1, 100, 2**20])  # one row at a time, some, all at once
@pytest.mark.parametrize("innermost", [False, True])  # how a convolution's patches lie in memory
@pytest.mark.parametrize(("batch", "groups"), [(3, 1), (1, 1), (3, 3)])
def test_components_are_written_out_block_by_block(
    monkeypatch: pytest.MonkeyPatch, block: int, innermost: bool, batch: int, groups: int
) -> None:
    monkeypatch.setattr(component_delta, "BLOCK", block)
    delta = components(batch, groups=groups)
    positions = normal(batch, groups, 5, 7, seed=2).permute(0, 3, 1, 2)  # (B, P, G, I)
    positions = positions if innermost else positions.contiguous()
    code = delta.code.requires_grad_()
    shift, wanted = delta.shift(positions), DenseDelta(delta.dense()).shift(positions)
    assert_equal(shift, wanted)
    weights = normal(*wanted.shape, seed=3)
    (found,), (right,) = (
        torch.autograd.grad((moved * weights).sum(), code) for moved in (shift, wanted)
    )
    assert_equal(found, right)


def test_components_are_cut_joined_and_scaled_as_written_out() -> None:
    delta = components()
    dense = DenseDelta(delta.dense())
    factor = normal(3, 2, seed=4)
    pairs = [
        (delta.scaled(factor), dense.scaled(factor)),
        (delta.mean_draw(), dense.mean_draw()),
        (delta.as_examples(3), dense.as_examples(3)),
        (delta.take(slice(1, 3)), dense.take(slice(1, 3))),
    ]
    for one, other in pairs:
        assert_equal(one.dense(), other.dense())
        assert_equal(one.norms(), other.norms())
    spoiled = ComponentDelta(delta.code.clone(), delta.components, delta.weight_shape)
    spoiled.code[1, 0, 2] = torch.nan
    assert spoiled.isfinite().tolist() == [True, False, True]
