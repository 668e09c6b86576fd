"""The oracles against the naive loop: a copy of the base, plain SGD, one example at a time."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import reference
from helpers import LOSS, digits, digits_base, test_digits
from nets import CASES, Case, cross_entropy, every_case, get_case, state_of, targets
from ocd import OCDError
from ocd.base import FrozenBase, list_layers
from ocd.base.probe import probe
from ocd.baselines import OverfitTest, OverfitTestAllLayers
from ocd.lessons import OverfitConfig, search_rate
from ocd.lessons.rate_search import HIGHEST, LOWEST

LR = 0.05
ONE_LAYER = ["last of two linear", "linear, positions", "conv2d, groups, strides", "conv2d, one row",
             "batch norm, dropout: conv2", "tuple", "dict", "residual",
             "spoils its inputs"]  # fmt: skip
NOT_AT_ONCE = {"lstm in front", "adds in place", "operators in place", "operators in place, nested"}
"""vmap cannot do an LSTM. In the others, autograd cannot differentiate through the change in place."""
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, LR),
    "adam": lambda parameters: torch.optim.Adam(parameters, LR),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ONE_LAYER)
def test_the_oracle_is_the_base_overfitted_on_each_test_example(name, optimizer):
    case = get_case(name)
    base, inputs, labels = case.build(), case.inputs(5), targets(5)
    frozen = FrozenBase(base, case.layer)
    probe(frozen, case.inputs(3))
    config = OverfitConfig(lr=LR, optimizer=optimizer)
    p = OverfitTest(frozen, cross_entropy, config, labels).predict(case.inputs(5))
    deltas = reference.overfit(
        base, case.layer, cross_entropy, inputs, labels, OPTIMIZERS[optimizer], 3
    )
    expected = reference.run(base, case.layer, inputs, deltas[:, None])[:, 0]
    assert torch.allclose(p.outputs[0], expected, atol=1e-7)  # Adam's epsilon is not scaled by ‖a‖
    assert torch.allclose(p.scale[0], deltas.flatten(1).norm(dim=1), rtol=1e-5)
    assert torch.equal(p.mean, p.outputs[0])
    if optimizer != "adam":  # whose first steps do not shrink with the gradient
        assert (cross_entropy(p.mean, labels) < cross_entropy(p.base, labels)).all()


def overfit_all_layers(case: Case, base: nn.Module, example, target: Tensor) -> tuple[Tensor, float]:
    """f(x) after three steps on the weights of all layers, and the norm of their whole move."""
    tuned = copy.deepcopy(base).eval().requires_grad_(False)
    weights = [tuned.get_submodule(name).weight.requires_grad_() for name in list_layers(base)]
    start = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.SGD(weights, LR)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(reference.call(tuned, reference.one_example(example, 0)), target).sum().backward()
        optimizer.step()
    moves = [(one - other).detach().flatten() for one, other in zip(weights, start, strict=True)]
    with torch.no_grad():
        output = reference.call(tuned, example)[0]
    return output, torch.cat(moves).norm().item()


@pytest.mark.filterwarnings("ignore:There is a performance drop", "ignore:Using padding='same'")
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name) for c in CASES],
)
def test_the_oracle_of_all_layers_is_the_naive_loop_or_raises_one_clear_line(case):
    base, inputs, labels = case.build().train(), case.inputs(4), targets(4)
    before = state_of(base)
    oracle = OverfitTestAllLayers(base, cross_entropy, OverfitConfig(lr=LR), labels)
    if case.name in NOT_AT_ONCE:
        with pytest.raises(OCDError, match="cannot be overfitted on all layers at once: ") as caught:
            oracle.predict(case.inputs(4))
        assert "\n" not in str(caught.value)
        assert state_of(base) == before
        return
    p = oracle.predict(case.inputs(4))
    assert state_of(base) == before
    for i in range(4):
        example = reference.one_example(inputs, i)
        output, norm = overfit_all_layers(case, base, example, labels[i : i + 1])
        assert torch.allclose(p.outputs[0, i], output, atol=1e-9)
        assert p.scale[0, i].item() == pytest.approx(norm, rel=1e-6)
    assert (cross_entropy(p.mean, labels) < cross_entropy(p.base, labels)).all()


def test_all_layers_reach_further_than_one():
    test, base = test_digits(20), digits_base()
    frozen = FrozenBase(base, "fc1")
    config = OverfitConfig(lr=0.02)
    one = OverfitTest(frozen, LOSS, config, test.targets).predict(test.inputs)
    every = OverfitTestAllLayers(base, LOSS, config, test.targets).predict(test.inputs)
    assert LOSS(every.mean, test.targets).mean() < LOSS(one.mean, test.targets).mean()
    assert (every.scale > one.scale).all()


def test_the_rate_of_all_layers_is_chosen_by_the_rule_for_one_layer():
    """The smallest rate with nine tenths of the largest fall, below the rates at which losses rise."""
    few, base = digits(12), digits_base()
    oracle = OverfitTestAllLayers(base, LOSS, OverfitConfig(), None)
    before = LOSS(base(few.inputs), few.targets).detach()

    def fall_of(lr: float) -> float | None:
        tried = OverfitTestAllLayers(base, LOSS, OverfitConfig(lr=lr), few.targets)
        after = LOSS(tried.predict(few.inputs).mean, few.targets)
        rises = not after.isfinite().all() or (after > before * 1.0001 + 1e-6).any()
        return None if rises else (before - after).mean().item()

    chosen = oracle.with_chosen_lr(few.inputs, few.targets)
    expected = chosen.config.lr
    assert expected == search_rate(fall_of)[0]
    assert chosen == replace(oracle, config=replace(oracle.config, lr=expected))
    assert LOWEST < expected < HIGHEST and fall_of(expected) > 1.2 * fall_of(expected / 3)


def test_no_rate_that_helps_raises_an_error():
    def rises(outputs: Tensor, targets: Tensor) -> Tensor:
        """The squared norm, with a gradient that points the wrong way."""
        return 2 * outputs.detach().square().sum(dim=1) - outputs.square().sum(dim=1)

    case = get_case("last of two linear")
    oracle = OverfitTestAllLayers(case.build(), rises, OverfitConfig(), None)
    with pytest.raises(OCDError, match="no learning rate makes the loss fall"):
        oracle.with_chosen_lr(case.inputs(4), targets(4))


def test_a_rate_must_be_chosen_first():
    case = get_case("last of two linear")
    oracle = OverfitTestAllLayers(case.build(), cross_entropy, OverfitConfig(), None)
    with pytest.raises(OCDError, match="lr is not chosen yet"):
        replace(oracle, targets=targets(4)).predict(case.inputs(4))


@pytest.mark.parametrize("kind", ["one layer", "all layers"])
def test_one_label_for_each_input_is_needed(kind):
    test, base = test_digits(6), digits_base()
    config = OverfitConfig(lr=LR)

    def oracle(labels):
        if kind == "one layer":
            return OverfitTest(FrozenBase(base, "fc1"), LOSS, config, labels)
        return OverfitTestAllLayers(base, LOSS, config, labels)

    for labels, message in [
        (None, "uses its label: there are no labels here"),
        (test.targets[:5], "5 labels for 6 inputs: one each is needed"),
        (test.targets.repeat(2), "12 labels for 6 inputs"),
    ]:
        with pytest.raises(OCDError, match=message) as caught:
            oracle(labels).predict(test.inputs)
        assert "\n" not in str(caught.value)
    one = oracle(test.targets).predict(test.inputs).mean
    other = oracle((test.targets + 1) % 10).predict(test.inputs).mean
    assert not torch.allclose(one, other, atol=1e-3)


@every_case
def test_the_oracle_of_one_layer_does_not_change_the_base(case):
    base = case.build().train()
    frozen = FrozenBase(base, case.layer)
    probe(frozen, case.inputs(3))
    before = state_of(base)
    OverfitTest(frozen, cross_entropy, OverfitConfig(lr=LR), targets(4)).predict(case.inputs(4))
    assert state_of(base) == before
