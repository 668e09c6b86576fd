"""Replay: the part in front of the layer is not computed again, unless its memory became untrue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import reference
from nets import (
    AddsInPlace,
    Nested,
    OperatorsInPlace,
    SharedReLU,
    SilentlyInPlace,
    SpoilsInputs,
    Three,
    UsedBeforeInPlace,
    get_case,
)
from ocd.base import DenseDelta, FrozenBase, Way, probe
from ocd.base.replay import patched_forward, record, replaying


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


class Counts(nn.Linear):
    """A linear layer that counts how often it is really computed."""

    computed = 0

    def forward(self, input: Tensor) -> Tensor:
        self.computed += 1
        return super().forward(input)


class Deep(nn.Module):
    """The layer sits two containers deep; modules in front of it at every depth."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(Counts(5, 5), nn.Tanh(), Counts(5, 5))
        self.middle = nn.Sequential(
            Counts(5, 5), nn.Sequential(Counts(5, 5), nn.Linear(5, 5)), Counts(5, 5)
        )
        self.back = Counts(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.middle(self.front(x)))


def computed(base: nn.Module) -> list[int]:
    return [module.computed for module in base.modules() if isinstance(module, Counts)]


def recorded(base: nn.Module, layer: nn.Module, inputs: Tensor) -> list[nn.Module]:
    """The modules that a pass up to `layer` remembers."""
    original = layer.forward

    def reached(input: Tensor) -> Tensor:
        recording.close()
        return original(input)

    with torch.no_grad(), record(base, layer) as recording, patched_forward(layer, reached):
        base(inputs)
    return [call.module for call in recording.calls]


def test_only_the_part_behind_the_layer_is_computed_again() -> None:
    base, inputs = Deep().double(), torch.randn(3, 5).double()
    frozen = FrozenBase(base, "middle.1.1", way=Way("shift", widen=True))
    capture = frozen.capture(inputs)
    assert computed(frozen.view) == [1, 1, 1, 1, 1, 1]
    for _ in range(3):
        delta = torch.randn(3, 2, 5, 5).double()
        output = frozen.run(capture, DenseDelta(delta))
        torch.testing.assert_close(
            output.detach(), reference.run(base, "middle.1.1", inputs, delta), rtol=1e-10, atol=1e-12
        )
    assert computed(frozen.view) == [1, 1, 1, 1, 4, 4]


def test_the_recording_holds_the_outermost_modules_only() -> None:
    base = Deep()
    modules = recorded(base, base.middle[1][1], torch.randn(3, 5))
    assert modules == [base.front, base.middle[0], base.middle[1][0]]


def test_an_in_place_module_is_computed_again_and_the_rest_is_not() -> None:
    class Gated(UsedBeforeInPlace):
        def __init__(self) -> None:
            super().__init__()
            self.a = Counts(5, 6)

    base = Gated()
    frozen = FrozenBase(base, "b")
    capture = frozen.capture(torch.randn(3, 5))
    assert capture.recording.reusable
    for _ in range(3):
        output = frozen.run(capture, DenseDelta(torch.zeros(3, 1, 6, 6)))
        assert torch.equal(output[:, 0], capture.output)
    assert frozen.view.a.computed == 1


@pytest.mark.parametrize(
    "make",
    [AddsInPlace, OperatorsInPlace, lambda: Nested(OperatorsInPlace()), SilentlyInPlace, SpoilsInputs],
    ids=["AddsInPlace", "OperatorsInPlace", "Nested", "SilentlyInPlace", "SpoilsInputs"],
)
def test_a_memory_that_became_untrue_is_not_reused(make: Callable[[], nn.Module]) -> None:
    base = make()
    layer = "inner.b" if isinstance(base, Nested) else "b"
    inputs, delta = torch.randn(3, 5), torch.randn(3, 1, 6, 6)
    frozen = FrozenBase(base, layer)
    capture = frozen.capture(inputs)
    assert not capture.recording.reusable
    for _ in range(2):
        output = frozen.run(capture, DenseDelta(delta)).detach()
        torch.testing.assert_close(output, reference.run(base, layer, inputs, delta))


def test_a_change_behind_the_layer_counts_too() -> None:
    class ChangesBehind(Three):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            y = self.b(x)
            x.add_(1.0)
            return self.c(x * y)

    base, inputs, delta = ChangesBehind(), torch.randn(3, 5), torch.randn(3, 1, 6, 6)
    frozen = FrozenBase(base, "b")
    capture = frozen.capture(inputs)
    assert not capture.recording.reusable
    output = frozen.run(capture, DenseDelta(delta)).detach()
    torch.testing.assert_close(output, reference.run(base, "b", inputs, delta))


def test_two_answers_in_one_memory_are_not_reused_once_changed() -> None:
    class Views(Three):
        def __init__(self) -> None:
            super().__init__()
            self.flat = nn.Flatten()

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            y = self.flat(x)  # a view
            self.relu(y)
            return self.c(self.b(y) + x)

    base, inputs, delta = Views(), torch.randn(3, 5), torch.randn(3, 1, 6, 6)
    frozen = FrozenBase(base, "b")
    capture = frozen.capture(inputs)
    assert not capture.recording.reusable
    output = frozen.run(capture, DenseDelta(delta)).detach()
    torch.testing.assert_close(output, reference.run(base, "b", inputs, delta))


def test_a_module_called_in_front_and_behind() -> None:
    base = SharedReLU()
    inputs = torch.randn(4, 5)
    frozen = FrozenBase(base, "layer")
    capture = frozen.capture(inputs)
    assert recorded(base, base.layer, inputs) == [base.a, base.act, base.b, base.act]
    delta = torch.randn(4, 1, 6, 7)
    output = frozen.run(capture, DenseDelta(delta)).detach()
    torch.testing.assert_close(output, reference.run(base, "layer", inputs, delta))


def test_a_layer_reached_from_a_module_that_does_not_hold_it() -> None:
    class Borrows(nn.Module):
        def __init__(self, parts: list[nn.Module]) -> None:
            super().__init__()
            self.parts = parts  # a plain list: not registered as modules of this one
            self.act = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return self.parts[0](self.act(x))

    class Lends(Three):
        def __init__(self) -> None:
            super().__init__()
            self.borrows = Borrows([self.b])

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.borrows(self.borrows.act(self.a(x))))

    base, inputs, delta = Lends(), torch.randn(3, 5), torch.randn(3, 2, 6, 6)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    output = frozen.run(frozen.capture(inputs), DenseDelta(delta)).detach()
    torch.testing.assert_close(output, reference.run(base, "b", inputs, delta))


def test_a_base_that_catches_an_error_of_its_own() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("not today")

    class Tries(Three):
        def __init__(self) -> None:
            super().__init__()
            self.refuses = Refuses()

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            try:
                x = self.refuses(x)
            except ValueError:
                x = x + 1
            return self.c(self.b(x))

    base, inputs, delta = Tries(), torch.randn(3, 5), torch.randn(3, 2, 6, 6)
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    output = frozen.run(frozen.capture(inputs), DenseDelta(delta)).detach()
    torch.testing.assert_close(output, reference.run(base, "b", inputs, delta))


def test_replaying_answers_first_calls_only_and_is_put_back() -> None:
    case = get_case("shared ReLU")
    frozen, inputs = FrozenBase(case.build(), "layer"), case.inputs(2)
    base, capture = frozen.view, frozen.capture(inputs)
    with replaying(capture.recording):
        assert torch.equal(base.act(-torch.ones(1)), capture.recording.calls[1].output)
        base.act(-torch.ones(1))
        assert torch.equal(base.act(-torch.ones(1)), torch.zeros(1))  # the third is a real call
    assert not any("forward" in vars(module) for module in base.modules())
    with pytest.raises(KeyError), replaying(capture.recording):
        raise KeyError
    assert not any("forward" in vars(module) for module in base.modules())


def test_a_part_that_knows_its_owner() -> None:
    base = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    base[0].owner = base
    with record(base, base[1]) as recording:
        base[0](torch.ones(1, 3))
    assert recording.reusable
