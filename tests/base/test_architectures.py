"""Networks of many architectures, overfitted and predicted, against loops over copies of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, SHIFTED, Architecture, by_hooks
from torch import Tensor, nn
from torch.nn.utils import parametrize

import ocd
import reference
from ocd.base import DenseDelta, FrozenBase, Outputs, base_digest, list_layers, probe

STEPS, COUNT, DRAWS = 2, 4, 2

every_architecture = pytest.mark.parametrize("case", ARCHITECTURES, ids=lambda case: case.name)
fitted_ones = [case for case in ARCHITECTURES if case.fits]


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def copied(base: nn.Module, layer: str) -> tuple[nn.Module, Tensor]:
    """A copy in eval mode, of which nothing is trained, and the parameter that moves in it."""
    with torch.no_grad():  # a scripted module's copies would be connected with it
        own = copy.deepcopy(getattr(base, "_orig_mod", base)).eval()
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    names = dict(own.named_parameters(remove_duplicate=False))
    for name in (layer, f"{layer}.weight"):
        if name in names:
            return own, names[name]
    module = dict(own.named_modules())[layer]
    if not parametrize.is_parametrized(module):  # peft's layers show the weight of one inside them
        return own, module.weight
    own.set_submodule(layer, opened(module))
    return own, own.get_submodule(layer).weight


def opened(module: nn.Module) -> nn.Linear:
    """A plain layer with the weight that a parametrised one uses: this is what moves."""
    plain = nn.Linear(module.in_features, module.out_features).requires_grad_(False)
    plain.weight.copy_(module.weight)
    plain.bias.copy_(module.bias)
    return plain


def answer_of(base: nn.Module, inputs: Any) -> Any:
    """Without PyTorch's fused attention, which answers otherwise at padded positions."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return reference.call(base, copy.deepcopy(inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def build(case: Architecture) -> tuple[nn.Module, Any]:
    """The model, in train mode as after training, and examples for it."""
    base = case.build()
    inputs = case.inputs(COUNT)
    own = getattr(base, "_orig_mod", base)
    with torch.no_grad():
        reference.call(own.eval(), inputs)  # lazy layers are made
    return base.train(), inputs


def rows_of(values: Any, index: int) -> Any:
    return reference.one_example(values, index)


def overfit_alone(
    base: nn.Module, case: Architecture, inputs: Any, targets: Any
) -> tuple[Tensor, Tensor]:
    """Eq. 1 on one example: the delta, and the loss after."""
    own, weight = copied(base, case.layer)
    start = weight.clone()
    weight.requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=case.lr)
    for _ in range(STEPS):
        optimizer.zero_grad()
        case.loss(answer_of(own, inputs), targets).sum().backward()
        optimizer.step()
    return weight.detach() - start, case.loss(answer_of(own, inputs), targets).detach()[0]


def predict_alone(base: nn.Module, case: Architecture, inputs: Any, delta: Tensor) -> Tensor:
    """f(x; θ + delta) of one example."""
    own, weight = copied(base, case.layer)
    with torch.no_grad():
        weight += delta
        return case.read(answer_of(own, inputs))[0]


def state_of(base: nn.Module) -> dict[str, Any]:
    own = getattr(base, "_orig_mod", base)
    return {
        "tensors": {name: tensor.clone() for name, tensor in own.state_dict().items()},
        "training": [module.training for module in own.modules()],
        "classes": [type(module) for module in own.modules()],
        "trained": [parameter.requires_grad for parameter in own.parameters()],
        "gradients": [parameter.grad for parameter in own.parameters()],
    }


def assert_unchanged(base: nn.Module, before: dict[str, Any]) -> None:
    after = state_of(base)
    old, new = before.pop("tensors"), after.pop("tensors")
    assert list(old) == list(new)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert before == after


def assert_close(one: Tensor, other: Tensor) -> None:
    """To 1e-4 of the largest value."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@every_architecture
def test_overfit_equals_training_each_example_alone(case: Architecture) -> None:
    base, inputs = build(case)
    targets, before = case.targets(COUNT), state_of(base)
    deltas = ocd.overfit(
        base, case.layer, case.loss, inputs, targets, steps=STEPS, lr=case.lr, output=case.output
    )
    assert_unchanged(base, before)
    alone = [overfit_alone(base, case, rows_of(inputs, i), rows_of(targets, i)) for i in range(COUNT)]
    expected = torch.stack([delta for delta, _ in alone])
    assert (expected.flatten(1).abs().amax(dim=1) > 1e-5).all(), "nothing is learned: no proof"
    assert_close(deltas.dense(), expected)
    assert_close(deltas.loss_after, torch.stack([loss for _, loss in alone]))
    assert (deltas.loss_after != deltas.loss_before).all()


@every_architecture
def test_predictions_equal_the_loop_over_copies(case: Architecture) -> None:
    base, inputs = build(case)
    before = state_of(base)
    _, weight = copied(base, case.layer)
    size = 0.3 * float(weight.square().mean().sqrt()) or 0.1
    deltas = size * torch.randn(COUNT, DRAWS, *weight.shape)
    frozen = FrozenBase(base, case.layer, outputs=Outputs(case.output))
    probe(frozen, inputs)
    capture = frozen.capture(inputs)
    outputs = frozen.outputs.named(frozen.run(capture, DenseDelta(deltas)).detach())
    assert_unchanged(base, before)
    rows = [
        [predict_alone(base, case, rows_of(inputs, i), delta) for delta in draws]
        for i, draws in enumerate(deltas)
    ]
    expected = torch.stack([torch.stack(row) for row in rows])
    assert_close(outputs, expected)
    unmoved = torch.stack(
        [predict_alone(base, case, rows_of(inputs, i), weight * 0) for i in range(COUNT)]
    )
    assert_close(frozen.outputs.named(capture.output), unmoved)
    moved = (expected - unmoved[:, None]).flatten(2).abs().amax(dim=2)
    assert (moved > 1e-3 * expected.abs().max()).all(), "the deltas move nothing: no proof"
    assert frozen.way is not None
    assert (frozen.way.kind == "shift") == (case.name in SHIFTED)


@pytest.mark.parametrize("case", fitted_ones, ids=lambda case: case.name)
def test_a_whole_fit_saved_and_loaded(case: Architecture, tmp_path: Path) -> None:
    base, inputs = build(case)
    before = state_of(base)
    config = ocd.OCDConfig(layer=case.layer).replace({"training.num_steps": 3})
    examples = ocd.Examples(inputs, case.targets(COUNT))
    model = ocd.OCD(base, loss=case.loss, config=config, output=case.output)
    prediction = model.fit(examples, progress=False).predict(inputs, draws=DRAWS)
    model.save_pretrained(tmp_path)
    loaded = ocd.OCD.from_pretrained(tmp_path, base, output=case.output)
    assert_close(loaded.predict(inputs, draws=DRAWS).outputs, prediction.outputs)
    assert_unchanged(base, before)
    own = copy.deepcopy(getattr(base, "_orig_mod", base)).eval()
    expected = case.read(answer_of(own, inputs)).detach()
    assert_close(prediction.base, expected)
    assert prediction.outputs.shape == (DRAWS, *expected.shape)
    assert prediction.outputs.isfinite().all()


class HasBuffer(nn.Module):
    """Its weight is not a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: by_hooks(nn.Linear(5, 4)), "fc.bias, fc.weight_g, fc.weight_v"),
        (HasBuffer, "another layer"),
    ],
)
def test_a_weight_that_is_no_parameter(make: Callable[[], nn.Module], hint: str) -> None:
    base = nn.ModuleDict({"fc": make()})
    with pytest.raises(ocd.OCDError, match=f"whose weight is not a parameter: .*{hint}"):
        FrozenBase(base, "fc")


def test_a_lazy_layer_that_was_never_called() -> None:
    base = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3))
    with pytest.raises(ocd.OCDError, match="call it once before"):
        FrozenBase(base, "1")


def test_a_scripted_part_is_not_connected_with_the_users() -> None:
    base = nn.Sequential(torch.jit.script(nn.Linear(5, 5)), nn.Linear(5, 4))
    assert not any(parameter.requires_grad for parameter in FrozenBase(base, "1").view.parameters())


def test_a_compiled_base_is_known_as_the_one_inside_it() -> None:
    base = nn.Sequential(nn.Linear(5, 4))
    compiled = torch.compile(base, backend="eager")
    assert list_layers(compiled) == list_layers(base) == ["0"]
    assert base_digest(compiled) == base_digest(base)


def test_similarities_of_all_pairs_are_no_examples_own() -> None:
    one, two = ({"own": torch.ones(n, 3), "pairs": torch.ones(n, n)} for n in (1, 2))
    outputs = Outputs("own")
    outputs.learn(one, two)
    assert outputs.unpack(outputs.pack(two, rows=2))["pairs"] is None
