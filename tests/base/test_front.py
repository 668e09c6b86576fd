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


class Selecting(nn.Module):
    """A part goes around the layer for some examples only: `how` says by what they are chosen."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.e, self.n, self.b, self.c = (
            nn.Linear(5, 6),
            nn.LayerNorm(6),
            nn.Linear(6, 6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = self.e(x)
        moved = torch.tanh(self.b(self.n(hidden)))
        if self.how == "where":
            moved = torch.where(mask, hidden, moved)
        elif self.how == "rows":
            chosen, moved = mask[:, 0], moved.clone()
            moved[chosen] = hidden[chosen] + moved[chosen]
        elif self.how == "condition":
            if mask.any():
                moved = moved + mask * hidden
        elif self.how == "indices":
            for i in mask[:, 0].nonzero()[:, 0].tolist():
                moved = moved.index_add(0, torch.tensor([i]), hidden[i : i + 1])
        elif self.how == "threshold":
            moved = torch.where(hidden > 2.0, hidden, moved)
        return self.c(moved)


@pytest.mark.parametrize("how", ["where", "rows", "condition", "indices", "threshold"])
def test_what_only_other_examples_need_is_needed(how: str) -> None:
    """The three examples that the front is taken apart on choose nothing; those that follow do."""
    base, x, deltas = Selecting(how), 0.1 * torch.randn(4, 5), 0.1 * torch.randn(4, 2, 6, 6)
    nothing, everything = torch.zeros(4, 1, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)
    frozen = FrozenBase(base, "b")
    probe(frozen, (x, nothing))
    front = frozen.front((x, nothing))
    assert front is not None and front.calls[0].is_needed
    inputs = (100 * x, everything)
    found = frozen.run(frozen.capture(inputs), DenseDelta(deltas)).detach()
    torch.testing.assert_close(found, reference.run(base, "b", inputs, deltas), rtol=1e-4, atol=1e-4)


def test_a_look_at_numbers_keeps_only_what_is_still_at_hand() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(5, 5) for _ in range(5))
            self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            if bool((x > 100).any()):
                x = x / 100
            for block in self.blocks:
                x = block(x)
            return self.c(self.b(x))

    frozen, inputs = FrozenBase(Deep(), "b"), torch.randn(4, 5)
    probe(frozen, inputs)
    front = frozen.front(inputs)
    assert front is not None
    assert [call.is_needed for call in front.calls] == [False] * 4 + [True]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_examples_without_finite_answers_prove_nothing(bad: float) -> None:
    base, inputs = get_case("residual").build(), get_case("residual").inputs(8)
    inputs[:3] = bad
    frozen = FrozenBase(base, get_case("residual").layer)
    probe(frozen, inputs)
    front = frozen.front(inputs)
    assert front is not None and [call.is_needed for call in front.calls] == [True]
    assert FrozenBase(base, frozen.name, frozen.way).front(inputs[:3]) is None


class Keeping(nn.Module):
    """A part that keeps something of its pass on the side."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.mean = nn.Linear(5, 6), torch.zeros(6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc(x)
        self.mean = hidden[:, :1].square()
        return hidden


def test_a_module_that_remembers_its_pass_is_found_out() -> None:
    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.b, self.head = Keeping(), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(self.front(x)) + self.front.mean)

    base, inputs, deltas = Base(), torch.randn(4, 5), 0.1 * torch.randn(4, 2, 6, 6)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    assert frozen.front(inputs) is None and not frozen.widen
    found = frozen.run(frozen.capture(inputs), DenseDelta(deltas)).detach()
    torch.testing.assert_close(found, reference.run(base, "b", inputs, deltas), rtol=1e-4, atol=1e-5)


class Scaled(nn.Module):
    """What goes around the layer is scaled by a constant, and left out where that is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = 0.0
        self.e, self.n, self.b, self.c = (
            nn.Linear(5, 6),
            nn.LayerNorm(6),
            nn.Linear(6, 6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.e(x)
        normed = self.n(hidden)
        moved = normed + self.b(normed)
        return self.c(moved + self.alpha * hidden if self.alpha else moved)


def test_a_constant_that_changed_is_seen_after_a_new_look() -> None:
    base, inputs, deltas = Scaled(), torch.randn(4, 5), 0.1 * torch.randn(4, 2, 6, 6)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    first = frozen.front(inputs)
    frozen.renew()
    assert first is not None and frozen.front(inputs) is first  # nothing changed
    for base.alpha in (2.0, 0.0):
        frozen.renew()
        found = frozen.run(frozen.capture(inputs), DenseDelta(deltas)).detach()
        torch.testing.assert_close(
            found, reference.run(base, "b", inputs, deltas), rtol=1e-4, atol=1e-5
        )
    assert frozen.front(inputs) == first
