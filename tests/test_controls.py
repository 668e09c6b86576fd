"""What OCD is compared with: the bound that sees the label, and the nearest neighbour."""

from __future__ import annotations

import pytest
import torch

from helpers import LOSS, digits, digits_base, same_state, state_of, test_digits
from ocd import Examples, overfit
from ocd.controls import nearest_neighbor, overfit_test
from ocd.controls.nearest_neighbor import flat_inputs, nearest_in_x
from ocd.layers import OpenBase
from ocd.overfitting import OverfitConfig

CONFIG = OverfitConfig(lr=0.05)


def opened(layer: str = "fc1") -> OpenBase:
    found = OpenBase(digits_base(), layer)
    found.probe(digits(3).inputs)
    return found


def with_delta(delta: torch.Tensor, layer: str, image: torch.Tensor) -> torch.Tensor:
    """The slow way: the delta written into a copy of the base."""
    base = digits_base().requires_grad_(False)
    base.get_submodule(layer).weight += delta
    return base(image[None])[0]


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_bound_is_the_base_overfitted_on_each_test_example(layer):
    test = test_digits(9)
    p = overfit_test(opened(layer), LOSS, CONFIG, test.inputs, test.targets, chunk_size=4)
    deltas = overfit(digits_base(), layer, LOSS, test.inputs, test.targets, lr=0.05).dense()
    for i in range(9):
        expected = with_delta(deltas[i], layer, test.inputs[i])
        assert torch.allclose(p.outputs[0, i], expected, atol=1e-4)
    assert p.outputs.shape == (1, 9, 10)
    assert torch.allclose(p.scale[0], deltas.flatten(1).norm(dim=1), rtol=1e-4)
    assert torch.equal(p.mean, p.outputs[0])
    assert (LOSS(p.mean, test.targets) < LOSS(p.base, test.targets)).all()


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_nearest_is_found_as_by_a_slow_loop(chunk_size):
    training, queries = digits(50).inputs, test_digits(12).inputs
    found = nearest_in_x(queries, flat_inputs(training), chunk_size)
    for i, query in enumerate(queries):
        distances = torch.stack([(query - other).square().sum() for other in training])
        assert distances[found[i]] == pytest.approx(distances.min().item(), rel=1e-5)
    assert len(found.unique()) > 3
    assert torch.equal(nearest_in_x(training, flat_inputs(training), chunk_size), torch.arange(50))


def test_all_tensors_of_an_input_count():
    x, y = torch.zeros(3, 2), torch.tensor([0.0, 5.0, 9.0])
    training = flat_inputs((x, y))
    assert nearest_in_x((x[:2], torch.tensor([8.0, 1.0])), training).tolist() == [2, 0]
    assert nearest_in_x({"x": x[:1], "y": torch.tensor([6.0])}, training).tolist() == [1]


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_neighbour_lends_its_delta_and_not_its_label(layer):
    training, test = digits(40), test_digits(8)
    p = nearest_neighbor(opened(layer), LOSS, CONFIG, training, test.inputs, chunk_size=3)
    places = nearest_in_x(test.inputs, flat_inputs(training.inputs))
    near = Examples(*training.rows(places))
    deltas = overfit(digits_base(), layer, LOSS, near.inputs, near.targets, lr=0.05).dense()
    for i in range(8):
        assert torch.allclose(p.mean[i], with_delta(deltas[i], layer, test.inputs[i]), atol=1e-4)
    assert torch.allclose(p.scale[0], deltas.flatten(1).norm(dim=1), rtol=1e-4)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_example_that_is_not_finite_is_nobodys_neighbour(chunk_size, value):
    training, queries = digits(50).inputs.clone(), test_digits(12).inputs
    training[3] = value
    found = nearest_in_x(queries, flat_inputs(training), chunk_size)
    good = torch.tensor([i for i in range(50) if i != 3])
    assert torch.equal(found, good[nearest_in_x(queries, flat_inputs(training[good]))])


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_a_neighbour_without_a_finite_delta_lends_nothing(layer):
    training, test = digits(20), test_digits(8)
    broken = nearest_in_x(test.inputs, flat_inputs(training.inputs))[0]
    targets = training.targets.clone()
    targets[broken] += 10  # stands for a target that spoils the loss

    def loss(outputs, targets):
        return LOSS(outputs, targets % 10) * torch.where(targets < 10, 1.0, torch.nan)

    p = nearest_neighbor(opened(layer), loss, CONFIG, Examples(training.inputs, targets), test.inputs)
    hit = nearest_in_x(test.inputs, flat_inputs(training.inputs)) == broken
    assert torch.equal(p.mean[hit], p.base[hit])
    assert (p.scale[0, hit] == 0).all()
    assert p.outputs.isfinite().all()
    assert (p.scale[0, ~hit] > 0).any()


def test_neighbour_of_a_training_example_is_the_bound():
    training = digits(20)
    one = nearest_neighbor(opened(), LOSS, CONFIG, training, training.inputs)
    bound = overfit_test(opened(), LOSS, CONFIG, training.inputs, training.targets)
    assert torch.allclose(one.mean, bound.mean, atol=1e-5)


def test_controls_leave_the_base_as_it_was():
    base = opened()
    base.base.train()
    before = state_of(base.base)
    test = test_digits(6)
    overfit_test(base, LOSS, CONFIG, test.inputs, test.targets)
    nearest_neighbor(base, LOSS, CONFIG, digits(10), test.inputs)
    assert same_state(before, state_of(base.base))
    assert base.base.training
    assert all(p.requires_grad and p.grad is None for p in base.base.parameters())
