"""Rows: a layer's output is its rows times its weight, whatever its padding, stride and groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nets import Case, every_case
from ocd.base import FrozenBase
from ocd.base.positions import output_positions, shift_output, to_positions
from ocd.errors import OCDError


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def rows_times_weight(module: nn.Module, rows: Tensor) -> Tensor:
    """rows (B, R, G, I) -> (B, R, O), group by group."""
    weight, bias = module.weight.detach(), module.bias
    matrices = weight.reshape(rows.shape[2], -1, rows.shape[3])  # (G, O / G, I)
    groups = [rows[:, :, g] @ matrices[g].T for g in range(rows.shape[2])]
    output = torch.cat(groups, dim=2)
    return output if bias is None else output + bias.detach()


def check_rows(module: nn.Module, layer_input: Tensor, batch: int) -> None:
    layer_output = module(layer_input).detach()
    rows = to_positions(module, layer_input, batch, "layer")
    expected = output_positions(module, layer_output, batch)
    assert_equal(rows_times_weight(module, rows), expected)
    # A shift by the rows themselves doubles the output; a shift of zero leaves it as it is.
    assert torch.equal(shift_output(module, layer_output, 0 * expected[:, None]), layer_output)
    assert_equal(shift_output(module, layer_output, expected[:, None]), 2 * layer_output)


@every_case
def test_rows_times_weight_is_the_layers_output(case: Case) -> None:
    frozen = FrozenBase(case.build(), case.layer)
    capture = frozen.capture(case.inputs(3))
    assert_equal(rows_times_weight(frozen.module, capture.positions), capture.output_positions())
    check_rows(frozen.module, capture.layer_input, 3)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_rows_of_any_convolution(data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([1, 2]))

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(dims))

    groups = data.draw(st.sampled_from([1, 2]))
    kernel, dilation, size = sizes(1, 3), sizes(1, 2), sizes(4, 7)
    same = data.draw(st.booleans())
    module = (nn.Conv1d, nn.Conv2d)[dims - 1](
        groups * data.draw(st.integers(1, 2)),
        groups * data.draw(st.integers(1, 2)),
        kernel,
        stride=1 if same else sizes(1, 3),
        padding="same" if same else sizes(0, 2),
        dilation=dilation,
        groups=groups,
        bias=data.draw(st.booleans()),
        padding_mode=data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"])),
    ).double()
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(r <= s for r, s in zip(reach, size, strict=True)))
    batch, positions = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    layer_input = torch.randn(batch * positions, module.in_channels, *size).double()
    check_rows(module, layer_input, batch)


def test_widened_rows_are_in_the_order_of_example_draw_position() -> None:
    batch, draws, positions, out = 2, 3, 4, 5
    layer_output = torch.zeros(batch * positions, out)
    shift = torch.arange(batch * draws * positions * out).float().view(batch, draws, positions, out)
    moved = shift_output(nn.Linear(2, out), layer_output, shift)
    assert torch.equal(moved, shift.flatten(0, 2))


def test_a_leading_dimension_that_is_no_multiple_of_the_batch() -> None:
    with pytest.raises(OCDError, match="'fc' sees shape .5, 3. for 2 examples.*B or B·P"):
        to_positions(nn.Linear(3, 4), torch.ones(5, 3), 2, "fc")
    with pytest.raises(OCDError, match="leading dimension"):
        to_positions(nn.Linear(3, 4), torch.tensor(1.0), 2, "fc")


def test_a_module_without_positions() -> None:
    with pytest.raises(OCDError, match="'act' is a ReLU, whose positions are not known"):
        to_positions(nn.ReLU(), torch.ones(2, 3), 2, "act")
