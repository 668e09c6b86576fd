"""Layers: what passes through one, running the base with a delta a row, and leaving no trace."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import reference
from nets import (
    CASES,
    Case,
    GivesScalar,
    MixesRows,
    NotReached,
    Plain,
    Residual,
    SequenceFirst,
    SpoilsInputs,
    Tied,
    Transformer,
    TwoScales,
    every_case,
    get_case,
    state_of,
)
from ocd.base import (
    DenseDelta,
    FrozenBase,
    Way,
    find_layer,
    list_layers,
    probe,
    run_without_delta,
    usable_layers,
)
from ocd.errors import OCDError


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def own_output(base: nn.Module, inputs: object) -> Tensor:
    """f(x) of the base by itself. Without gradients of its own, and without the fused attention:
    PyTorch takes other kernels for the same sums with them, whose last bit is another one.
    """
    alone = copy.deepcopy(base).eval().requires_grad_(False)
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return reference.call(alone, copy.deepcopy(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


# The base's own answer


@every_case
def test_zero_delta_is_bit_identical(case: Case) -> None:
    base, inputs = case.build().train(), case.inputs(4)
    expected = own_output(base, inputs)
    frozen = FrozenBase(base, case.layer)
    capture = frozen.capture(inputs)
    assert torch.equal(capture.output, expected)
    zero = DenseDelta(torch.zeros_like(case.deltas(4, 1)))
    for _ in range(2):  # a second replay of the same capture, too
        assert torch.equal(frozen.run(capture, zero)[:, 0], expected)
    assert torch.equal(run_without_delta(base, copy.deepcopy(inputs)), expected)


@pytest.mark.parametrize("name", ["in-place ReLUs", "batch norm, dropout: conv2", "conv1d"])
def test_zero_delta_is_bit_identical_in_float32(name: str) -> None:
    case = get_case(name)
    base, inputs = case.build().float(), case.inputs(5).float()
    frozen = FrozenBase(base, case.layer)
    zero = DenseDelta(case.deltas(5, 1).float() * 0)
    assert torch.equal(frozen.run(frozen.capture(inputs), zero)[:, 0], own_output(base, inputs))


# A delta a row


@every_case
@pytest.mark.parametrize("draws", [1, 3])
def test_run_equals_the_loop_over_copies(case: Case, draws: int) -> None:
    base, inputs = case.build().train(), case.inputs(4)
    deltas = case.deltas(4, draws)
    expected = reference.run(base, case.layer, inputs, deltas)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, inputs)
    assert_equal(frozen.run(frozen.capture(inputs), DenseDelta(deltas)).detach(), expected)
    spread = (expected - own_output(base, inputs)[:, None]).abs().amax((1, 2))
    assert (spread > 1e-4).all(), "the deltas move nothing: this test would prove nothing"


@every_case
def test_repeating_the_inputs_equals_the_loop_too(case: Case) -> None:
    base, inputs, deltas = case.build(), case.inputs(3), case.deltas(3, 2)
    frozen = FrozenBase(base, case.layer, way=Way("shift"))
    output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
    assert_equal(output.detach(), reference.run(base, case.layer, inputs, deltas))


@every_case
def test_one_delta_shared_by_all_examples(case: Case) -> None:
    base, inputs, deltas = case.build(), case.inputs(3), case.deltas(1, 2)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, inputs)
    output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
    expected = reference.run(base, case.layer, inputs, deltas.expand(3, *deltas.shape[1:]))
    assert_equal(output.detach(), expected)


@every_case
def test_probe_finds_out_whether_widening_is_valid(case: Case) -> None:
    frozen = FrozenBase(case.build(), case.layer)
    assert frozen.way is None
    for batch in (1, 2, 5):  # a single row would go with any batch size, by broadcasting
        capture = probe(frozen, case.inputs(batch))
        assert frozen.widen is case.widens
        assert capture.recording.reusable is case.reuses


def test_a_probe_of_one_row_serves_larger_batches() -> None:
    case = get_case("residual")
    base, inputs, deltas = case.build(), case.inputs(4), case.deltas(4, 2)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, case.inputs(1))
    output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
    assert_equal(output.detach(), reference.run(base, case.layer, inputs, deltas))


def test_widening_computes_the_front_once() -> None:
    base, seen = Plain().double(), []
    base.c.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    frozen = FrozenBase(base, "b", way=Way("shift", widen=True))
    capture = frozen.capture(torch.randn(3, 5).double())
    frozen.run(capture, DenseDelta(torch.zeros(3, 4, 6, 6).double()))
    assert seen == [3, 12]


def test_draws_are_independent_of_each_other_and_of_other_rows() -> None:
    case = get_case("batch norm, dropout: conv2")
    base, inputs, deltas = case.build(), case.inputs(3), case.deltas(3, 2)
    frozen = FrozenBase(base, case.layer, way=Way("shift", widen=True))
    capture = frozen.capture(inputs)
    before = frozen.run(capture, DenseDelta(deltas)).detach()
    deltas[1, 0] = 5.0
    after = frozen.run(capture, DenseDelta(deltas)).detach()
    changed = (before != after).any(dim=2)
    assert changed.tolist() == [[False, False], [True, False], [False, False]]


def test_run_is_differentiable_in_the_delta_alone() -> None:
    case = get_case("in-place ReLUs")
    base = case.build()
    frozen = FrozenBase(base, case.layer)
    delta = case.deltas(3, 1).requires_grad_()
    frozen.run(frozen.capture(case.inputs(3)), DenseDelta(delta)).square().sum().backward()
    assert delta.grad is not None and delta.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in base.parameters())


def test_capture_holds_what_the_layer_sees_and_gives() -> None:
    for name in ("adds in place", "in-place ReLUs", "in-place for its effect", "used before in-place"):
        case = get_case(name)
        base, inputs, seen = case.build(), case.inputs(4), []
        watched = copy.deepcopy(base).eval()
        watched.b.register_forward_hook(
            lambda m, x, y, seen=seen: seen.append((x[0].clone(), y.clone()))
        )
        own_output_of(watched, inputs)
        capture = FrozenBase(base, case.layer).capture(inputs)
        assert len(capture) == 4
        assert torch.equal(capture.layer_input, seen[0][0])
        assert torch.equal(capture.layer_output, seen[0][1])
        assert torch.equal(capture.positions[:, 0, 0], seen[0][0])
        assert torch.equal(capture.output_positions()[:, 0], seen[0][1])


def own_output_of(base: nn.Module, inputs: Tensor) -> None:
    with torch.no_grad():
        base(inputs.clone())


def test_the_users_inputs_are_not_changed() -> None:
    base, inputs = SpoilsInputs().double(), torch.randn(4, 5).double()
    before = inputs.clone()
    frozen = FrozenBase(base, "b")
    probe(frozen, inputs)
    for draws in (1, 2):
        frozen.run(frozen.capture(inputs), DenseDelta(torch.zeros(4, draws, 6, 6).double()))
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("name", ["shared ReLU", "residual", "used before in-place"])
@pytest.mark.parametrize("draws", [1, 2])
def test_hooks_of_the_user_still_act(name: str, draws: int) -> None:
    """On modules in front of the layer, on the layer, and on modules behind it."""
    case = get_case(name)
    base, inputs, deltas = case.build(), case.inputs(3), case.deltas(3, draws)
    for module in base.children():
        module.register_forward_hook(lambda module, args, output: 2 * output + 1)
        module.register_forward_pre_hook(lambda module, args: (args[0] - 0.1,))
    frozen = FrozenBase(base, case.layer)
    probe(frozen, inputs)
    output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
    assert_equal(output.detach(), reference.run(base, case.layer, inputs, deltas))


def test_works_under_inference_mode() -> None:
    for case in CASES:
        base, inputs, deltas = case.build(), case.inputs(3), case.deltas(3, 2)
        expected = reference.run(base, case.layer, inputs, deltas)
        with torch.inference_mode():
            frozen = FrozenBase(base, case.layer)
            probe(frozen, inputs)
            output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
        assert_equal(output.clone(), expected)


# No trace


def everything(base: nn.Module, layer: str, inputs: object, deltas: Tensor) -> None:
    frozen = FrozenBase(base, layer)
    capture = probe(frozen, inputs)
    frozen.run(capture, DenseDelta(deltas))
    frozen.way = replace(frozen.way, widen=not frozen.widen)
    wrong = pytest.raises((RuntimeError, OCDError)) if frozen.widen else contextlib.nullcontext()
    with wrong:
        frozen.run(capture, DenseDelta(deltas))
    usable_layers(base, inputs)
    run_without_delta(base, inputs)


@every_case
def test_nothing_of_the_base_is_changed(case: Case) -> None:
    base = case.build().train()
    some = next(module for module in base.modules() if not list(module.children()))
    some.eval()  # a base that is half in train mode stays so
    next(base.parameters()).requires_grad_(False)
    before = state_of(base)
    everything(base, case.layer, case.inputs(3), case.deltas(3, 2))
    assert state_of(base) == before


def test_a_forward_of_the_users_own_is_put_back() -> None:
    base = Plain()

    def doubled(x: Tensor) -> Tensor:
        return 2 * nn.Linear.forward(base.b, x)

    base.b.forward = doubled
    expected = own_output_of_patched(base)
    frozen = FrozenBase(base, "b")
    capture = frozen.capture(torch.ones(2, 5))
    frozen.run(capture, DenseDelta(torch.zeros(2, 1, 6, 6)))
    assert base.b.forward is doubled
    assert torch.equal(capture.output, expected)


def own_output_of_patched(base: nn.Module) -> Tensor:
    with torch.no_grad():
        return base(torch.ones(2, 5))


class Fails(nn.Module):
    """Raises from its n-th call on."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.calls_left = call

    def forward(self, x: Tensor) -> Tensor:
        self.calls_left -= 1
        if self.calls_left <= 0:
            raise RuntimeError("the base gave up")
        return x


@pytest.mark.parametrize("place", ["front", "behind"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_nothing_is_changed_by_a_base_that_raises(place: str, call: int) -> None:
    class Raises(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.fails = Fails(call)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fails(self.a(x)) if place == "front" else self.a(x)
            y = self.b(x)
            return self.c(self.fails(y) if place == "behind" else y)

    base, inputs = Raises().train(), torch.randn(4, 5)
    frozen, before = FrozenBase(base, "b", way=Way("shift")), state_of(base)
    with pytest.raises(RuntimeError, match="gave up"):
        for _ in range(3):
            frozen.run(frozen.capture(inputs), DenseDelta(torch.zeros(4, 2, 6, 6)))
    assert state_of(base) == before


def test_what_the_base_changes_of_itself_is_put_back_too() -> None:
    class Restless(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.a.train()
            self.a.weight.requires_grad_(True)
            return super().forward(x)

    base, inputs = Restless().eval().requires_grad_(False), torch.randn(4, 5)
    before = state_of(base)
    run_without_delta(base, inputs)
    assert state_of(base) == before
    assert not base.a.training
    assert not base.a.weight.requires_grad


# What a delta cannot sit on


def error_of(action: Callable[[], object]) -> str:
    with pytest.raises(OCDError) as raised:
        action()
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    base = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2), "act": nn.ReLU()})
    text = error_of(lambda: find_layer(base, "encodr"))
    assert "'encodr'" in text and "did you mean 'encoder'" in text
    text = error_of(lambda: find_layer(base, "xyz"))
    assert "encoder, decoder" in text and "act" not in text
    assert "none" in error_of(lambda: find_layer(nn.ReLU(), "fc"))


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(), nn.BatchNorm1d(3, affine=False)])
def test_a_module_without_a_weight(module: nn.Module) -> None:
    base = nn.ModuleDict({"fc": nn.Linear(3, 3), "other": module})
    text = error_of(lambda: find_layer(base, "other"))
    assert "'other'" in text and type(module).__name__ in text and "without a weight" in text


def test_a_module_with_parameters_of_other_names_says_which() -> None:
    base = nn.ModuleDict({"lstm": nn.LSTM(3, 4)})
    assert "lstm.weight_ih_l0, lstm.weight_hh_l0" in error_of(lambda: find_layer(base, "lstm"))


def test_a_parameter_is_found_by_its_full_name() -> None:
    base = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "fc": nn.Linear(3, 3)})
    assert find_layer(base, "lstm.weight_hh_l0").full_name == "lstm.weight_hh_l0"
    assert find_layer(base, "fc").full_name == find_layer(base, "fc.weight").full_name == "fc.weight"
    assert find_layer(base, "fc.bias").full_name == "fc.bias"


def test_a_layer_that_the_output_does_not_depend_on() -> None:
    text = error_of(lambda: probe(FrozenBase(NotReached(), "b"), torch.ones(3, 5)))
    assert "does not depend on 'b.weight'" in text


@pytest.mark.parametrize("length", [1, 3, 4, 6])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_a_layer_whose_leading_dimension_is_not_the_batch(length: int, batch: int) -> None:
    base, inputs = SequenceFirst(), torch.randn(batch, length, 4)
    frozen, deltas = FrozenBase(base, "layer"), 0.1 * torch.randn(batch, 2, 5, 4)
    probe(frozen, inputs)
    expected = reference.run(base, "layer", inputs, deltas)
    output = frozen.run(frozen.capture(inputs), DenseDelta(deltas))
    torch.testing.assert_close(output.detach(), expected)


def test_a_base_that_mixes_its_rows() -> None:
    text = error_of(lambda: probe(FrozenBase(MixesRows(), "b"), torch.randn(3, 5)))
    assert "mixes the rows of a batch" in text


def test_a_base_that_gives_no_row_an_example() -> None:
    text = error_of(lambda: FrozenBase(GivesScalar(), "b").capture(torch.ones(3, 5)))
    assert "shape ()" in text and "3 examples" in text


def test_inputs_that_do_not_agree_on_the_batch() -> None:
    case = get_case("tuple")
    inputs = (torch.ones(3, 4).double(), torch.ones(2, 3).double())
    assert "leading dimension" in error_of(lambda: probe(FrozenBase(case.build(), "layer"), inputs))


def test_usable_layers_say_why_the_others_are_not() -> None:
    assert list_layers(Tied()) == ["a", "b", "c", "decoder"]
    usable, skipped = usable_layers(TwoScales(), torch.randn(3, 9))
    assert [frozen.name for frozen in usable] == ["c"]
    assert "does not depend" in skipped["a"] and "moves by the vectorized way only" in skipped["b"]
    usable, skipped = usable_layers(Transformer(), torch.randn(3, 6, 8))
    assert [frozen.name for frozen in usable] == [
        "encoder.layers.0.linear1",
        "encoder.layers.0.linear2",
        "encoder.layers.1.linear1",
        "encoder.layers.1.linear2",
        "head",
    ]
    assert len(skipped) == 2
    assert all("moves by the vectorized way only" in reason for reason in skipped.values())
