"""The part in front of the layer, taken apart: what is needed of it, row by row, and proven."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reference
from nets import Case, every_case, get_case
from ocd.base import DenseDelta, FrozenBase, capture_rows, probe, restored_capture
from ocd.data import take_rows


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


@every_case
@pytest.mark.parametrize("draws", [1, 3])
def test_a_restored_capture_answers_as_a_new_one(case: Case, draws: int) -> None:
    """Kept for a batch of five, restored for three of them, in another order."""
    base, inputs = case.build(), case.inputs(5)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, inputs)
    rows = capture_rows(frozen, frozen.capture(inputs))
    if rows is None:
        pytest.skip("passes of this base start from the inputs")
    index = torch.tensor([3, 0, 4])
    some = take_rows(inputs, index)
    like = frozen.capture(take_rows(inputs, slice(0, 1)))
    capture = restored_capture(frozen, like, some, {name: v[index] for name, v in rows.items()})
    deltas = case.deltas(3, draws)
    found = frozen.run(capture, DenseDelta(deltas)).detach()
    torch.testing.assert_close(
        found, reference.run(base, case.layer, some, deltas), rtol=1e-9, atol=1e-10
    )
    fresh = frozen.capture(some)
    for name in ("positions", "layer_input", "layer_output", "output"):
        torch.testing.assert_close(getattr(capture, name), getattr(fresh, name), rtol=1e-9, atol=1e-10)


def needed(case: Case) -> str:
    frozen, inputs = FrozenBase(case.build(), case.layer), case.inputs(4)
    probe(frozen, inputs)
    front = frozen.front(inputs)
    return "none" if front is None else "".join("#" if call.is_needed else "." for call in front.calls)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("last of two linear", ".."),  # the layer's own output is enough
        ("residual", "#"),  # what goes around the layer
        ("residual transformer", "..#"),
        ("shared ReLU", "...."),
        ("adds in place", "none"),
        ("in chunks", "none"),
    ],
)
def test_only_what_goes_around_the_layer_is_needed(name: str, calls: str) -> None:
    assert needed(get_case(name)) == calls


class Counted(nn.Module):
    """A part that counts the examples that it is asked for."""

    def __init__(self, part: nn.Module, asked: list[int]) -> None:
        super().__init__()
        self.part, self.count = part, asked.append

    def forward(self, x: Tensor) -> Tensor:
        self.count(len(x))
        return self.part(x)


def test_draws_of_a_residual_layer_share_one_pass_in_front() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = Counted(nn.Linear(5, 6), asked)
            self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.front(x))
            return self.head(hidden + self.b(hidden))

    asked: list[int] = []
    base, inputs, deltas = Block(), torch.randn(4, 5), 0.1 * torch.randn(4, 7, 6, 6)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    assert frozen.way is not None and not frozen.widen
    frozen.front(inputs)
    asked.clear()
    capture = frozen.capture(inputs)
    output = frozen.run(capture, DenseDelta(deltas)).detach()
    assert sum(asked) == 4
    torch.testing.assert_close(output, reference.run(base, "b", inputs, deltas), rtol=1e-4, atol=1e-5)


class Cache:
    """What a language model keeps of its inputs: nothing to be carried to other examples."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


class WithCache(nn.Module):
    def __init__(self, used: bool) -> None:
        super().__init__()
        self.front, self.b, self.head = Caching(), nn.Linear(6, 6), nn.Linear(6, 3)
        self.used = used

    def forward(self, x: Tensor) -> Tensor:
        found = self.front(x)
        hidden = self.head(torch.tanh(self.b(found["hidden"])))
        return hidden + found["cache"].values[:, :3] if self.used else hidden


class Caching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> dict[str, object]:
        hidden = self.fc(x)
        return {"hidden": hidden, "cache": Cache(hidden)}


@pytest.mark.parametrize("used", [False, True])
def test_an_object_that_may_hold_other_examples_is_not_carried_over(used: bool) -> None:
    base, inputs = WithCache(used), torch.randn(4, 5)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    assert (frozen.front(inputs) is None) is used
