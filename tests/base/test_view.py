"""A private view of a base: the same answers, shared tensors, and the user's object left alone."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from nets import Case, every_case, state_of
from ocd.base import DenseDelta, FrozenBase, private_view, probe
from ocd.base.view import unwrapped


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


class ByReference(nn.Module):
    """Reaches its layer by a reference that is no submodule: each is one of the usual kinds."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(5, 6), nn.Linear(6, 3)
        layer = self.fc
        self.reach: dict[str, Callable[[Tensor], Tensor]] = {
            "list": [layer],
            "tuple": (layer,),
            "nested": {"layers": [(layer,)]},
            "method": self.pass_on,
            "partial": functools.partial(self.pass_on),
            "closure": lambda x: self.fc(x),
            "closure over the layer": lambda x: layer(x),
        }[kind]

    def pass_on(self, x: Tensor) -> Tensor:
        return self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        reach = self.reach
        while not callable(reach):
            reach = reach["layers"] if isinstance(reach, dict) else reach[0]
        return self.head(torch.tanh(reach(x)))


REFERENCES = ("list", "tuple", "nested", "method", "partial", "closure", "closure over the layer")


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_layer_that_is_reached_by_reference_moves(kind: str) -> None:
    base, inputs, delta = ByReference(kind), torch.randn(4, 5), 0.3 * torch.randn(4, 2, 6, 5)
    frozen = FrozenBase(base, "fc")
    probe(frozen, inputs)
    assert frozen.way is not None and frozen.way.kind == "shift"
    output = frozen.run(frozen.capture(inputs), DenseDelta(delta)).detach()
    for b in range(4):
        for k in range(2):
            moved = torch.tanh(inputs[b] @ (base.fc.weight + delta[b, k]).T + base.fc.bias)
            torch.testing.assert_close(output[b, k], base.head(moved), rtol=1e-4, atol=1e-5)


@every_case
def test_a_view_answers_as_the_base_in_eval_mode(case: Case) -> None:
    base, inputs = case.build().train(), case.inputs(3)
    before = state_of(base)
    view = private_view(base)
    assert state_of(base) == before
    assert not any(
        module.training for module in view.modules() if type(module) is not nn.MultiheadAttention
    )
    base.eval()
    call = (lambda m: m(**inputs)) if isinstance(inputs, dict) else None
    call = call or (lambda m: m(*inputs) if isinstance(inputs, tuple) else m(inputs.clone()))
    with torch.enable_grad():  # without the fused kernels, whose last bit is another one
        torch.testing.assert_close(call(view), call(base), rtol=1e-10, atol=1e-10)


def test_tensors_are_shared_and_ask_for_no_gradients() -> None:
    base = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    view = private_view(base)
    for name, parameter in view.named_parameters():
        assert parameter.data_ptr() == base.get_parameter(name).data_ptr()
        assert not parameter.requires_grad and base.get_parameter(name).requires_grad
    assert view[1].running_mean is not base[1].running_mean
    with torch.no_grad():
        base[0].weight.fill_(2.0)
    assert view[0].weight.eq(2.0).all()


def test_tied_weights_stay_tied() -> None:
    base = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    base[1].weight = base[0].weight
    view = private_view(base)
    assert view[0].weight is view[1].weight is not base[0].weight


def test_hooks_and_modes_of_a_view_do_not_reach_the_base() -> None:
    base = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train()
    view = private_view(base)
    view[0].register_forward_hook(lambda module, args, output: 0 * output)
    view[0].forward = lambda x: 7 * x
    assert base.training and base[1].training
    assert base[0](torch.ones(1, 3)).ne(0).any()
    assert view[0](torch.ones(1, 3)).eq(0).all()


def test_an_overridden_eval_is_obeyed() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.calibrating = nn.Linear(2, 2), True

        def train(self, mode: bool = True) -> Frozen:
            self.calibrating = mode
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) + (100.0 if self.calibrating else 0.0)

    base = Frozen()
    assert base.calibrating
    view = private_view(base)
    assert view(torch.ones(1, 2)).abs().max() < 10 and base.calibrating


@pytest.mark.parametrize("norm", [spectral_norm, weight_norm])
def test_looking_at_a_parametrised_layer_does_not_change_it(norm: Callable[..., nn.Module]) -> None:
    base = nn.Sequential(norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, 3)).train()
    inputs, delta = torch.randn(3, 5), 0.1 * torch.randn(3, 1, 6, 5)
    state = copy.deepcopy(base.state_dict())
    frozen = FrozenBase(base, "0")
    probe(frozen, inputs)
    output = frozen.run(frozen.capture(inputs), DenseDelta(delta))[:, 0].detach()
    for name, value in base.state_dict().items():
        assert torch.equal(value, state[name]), name
    base.eval()
    weight = base[0].weight.detach() + delta[:, 0]
    hidden = torch.tanh(torch.einsum("boi,bi->bo", weight, inputs) + base[0].bias)
    torch.testing.assert_close(output, base[2](hidden).detach(), rtol=1e-4, atol=1e-5)


def test_wrapped_bases_are_unwrapped() -> None:
    inner = nn.Sequential(nn.Linear(3, 3))
    assert unwrapped(nn.DataParallel(inner)) is inner
    compiled = torch.compile(inner)
    assert unwrapped(compiled) is inner
    assert FrozenBase(nn.DataParallel(inner), "0").name == "0"


def test_each_thread_has_a_view_of_its_own() -> None:
    frozen = FrozenBase(nn.Sequential(nn.Linear(3, 3)), "0")
    views = [frozen.view]
    thread = threading.Thread(target=lambda: views.append(frozen.view))
    thread.start()
    thread.join()
    assert views[0] is frozen.view is not views[1]


def test_a_renewed_view_sees_what_the_user_changed() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.factor = nn.Linear(2, 2), 1.0

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * self.fc(x)

    base, inputs = Scaled(), torch.ones(1, 2)
    frozen = FrozenBase(base, "fc")
    before = frozen.answer(inputs)
    base.factor = 3.0
    frozen.renew()
    torch.testing.assert_close(frozen.answer(inputs), 3 * before)


class Counting(nn.Module):
    """Counts its calls in a buffer that two modules share, and moves statistics in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.other = nn.Module()
        self.other.register_buffer("calls", self.calls)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        assert self.other.calls is self.calls
        with torch.no_grad():
            self.norm.running_mean.mul_(0.9)
        return self.fc(x)


def test_buffers_that_a_pass_changes_are_the_views_own() -> None:
    base, inputs = Counting().eval(), torch.randn(4, 5)
    mean = torch.ones(6)
    base.norm.running_mean.copy_(mean)
    before = state_of(base)
    frozen = FrozenBase(base, "fc")
    probe(frozen, inputs)
    frozen.run(frozen.capture(inputs), DenseDelta(torch.zeros(4, 2, 6, 5)))
    assert state_of(base) == before
    assert base.calls == 0 and torch.equal(base.norm.running_mean, mean)
