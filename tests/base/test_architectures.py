"""Deltas and predictions of many architectures are those of a loop over deep copies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, Architecture
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ocd import OCD, Examples, OCDConfig, overfit
from ocd.base import DenseDelta, FrozenBase, Outputs, find_layer, probe
from ocd.data import take_rows

each = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)


def call(base: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return base(**inputs)
    return base(*inputs) if isinstance(inputs, tuple) else base(inputs)


def built(architecture: Architecture) -> nn.Module:
    torch.manual_seed(0)
    return architecture.make()


def single(base: nn.Module, layer: str) -> tuple[nn.Module, nn.Parameter]:
    """A copy of the base in eval mode, and the one parameter that moves; a parametrised weight is made
    a plain one of the same value."""
    copied = copy.deepcopy(base).eval()
    found = find_layer(copied, layer)
    module = copied.get_submodule(found.module)
    if parametrize.is_parametrized(module, found.parameter):
        plain = nn.Linear(module.in_features, module.out_features)
        plain.weight, plain.bias = nn.Parameter(module.weight.detach()), module.bias
        copied.set_submodule(found.module, plain)
        module = plain
    return copied, module.get_parameter(found.parameter).requires_grad_()


def differ(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


@each
def test_overfitting_is_a_loop_over_copies(architecture: Architecture) -> None:
    base = built(architecture)
    inputs, targets = architecture.inputs(4), architecture.targets(4)
    state = copy.deepcopy(base.state_dict())
    deltas = overfit(
        base, architecture.layer, architecture.loss, inputs, targets, steps=2, lr=architecture.lr,
        output=architecture.output,
    )  # fmt: skip
    wanted = []
    for i in range(4):
        moved, weight = single(base, architecture.layer)
        start, row = weight.detach().clone(), slice(i, i + 1)
        optimizer = torch.optim.SGD([weight], lr=architecture.lr)
        for _ in range(2):
            optimizer.zero_grad()
            answer = call(moved, take_rows(inputs, row))
            architecture.loss(answer, take_rows(targets, row)).sum().backward()
            optimizer.step()
        wanted.append(weight.detach() - start)
    assert torch.stack(wanted).abs().max() > 0
    assert differ(deltas.dense(), torch.stack(wanted)) < 1e-4
    for name, value in base.state_dict().items():
        assert torch.equal(value, state[name]), name


@each
def test_predictions_are_those_of_moved_copies(architecture: Architecture) -> None:
    base, inputs = built(architecture), architecture.inputs(4)
    frozen = FrozenBase(base, architecture.layer, outputs=Outputs(architecture.output))
    probe(frozen, inputs)
    size = 0.3 * float(frozen.weight.std(unbiased=False)) or 0.1
    deltas = size * torch.randn(4, 2, *frozen.weight_shape)
    with torch.no_grad():
        found = frozen.outputs.named(frozen.run(frozen.capture(inputs), DenseDelta(deltas)))
    wanted = torch.empty_like(found)
    for i in range(4):
        for k in range(2):
            moved, weight = single(base, architecture.layer)
            with torch.no_grad():
                weight += deltas[i, k]
                answer = call(moved, take_rows(inputs, slice(i, i + 1)))
            wanted[i, k] = answer[architecture.output][0] if architecture.output else answer[0]
    assert differ(found, wanted) < 1e-4
    assert (wanted[:, 0] - wanted[:, 1]).abs().max() > 1e-4, "the deltas move nothing"


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "LSTM", "U-Net", "siamese", "masked"])
def test_a_whole_fit(name: str) -> None:
    architecture = next(one for one in ARCHITECTURES if one.name == name)
    base, inputs = built(architecture), architecture.inputs(12)
    config = OCDConfig(layer=architecture.layer).replace({"training.num_steps": 3, "overfit.lr": 0.05})
    ocd = OCD(base, loss=architecture.loss, config=config, output=architecture.output)
    ocd.fit(Examples(inputs, architecture.targets(12)), progress=False)
    prediction = ocd.predict(take_rows(inputs, slice(0, 5)), draws=2)
    with torch.no_grad():
        own = call(base.eval(), take_rows(inputs, slice(0, 5)))
    own = own[architecture.output] if architecture.output else own
    assert prediction.base is not None
    assert differ(prediction.base, own) < 1e-4
    assert prediction.outputs.shape == (2, *own.shape)
