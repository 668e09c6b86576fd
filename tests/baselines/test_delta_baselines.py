"""Baselines that move the layer without a generator: neighbour, mean delta, random direction."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import reference
from helpers import LOSS, PCA, TINY, digits, digits_base, fitted, part_of, test_digits
from ocd import OCD, Examples, OCDConfig, overfit
from ocd.base import FrozenBase
from ocd.base.probe import probe
from ocd.baselines import NearestNeighbor, OCDVariant, OverfitTest, RandomDirection, mean_delta
from ocd.baselines.nearest_neighbor import flat_inputs, nearest_in_x
from ocd.baselines.shared_delta import SharedDelta
from ocd.data import tensors
from ocd.lessons import OverfitConfig, Workdir

CONFIG = OverfitConfig(lr=0.05)


def frozen(layer: str = "fc1", base: nn.Module | None = None) -> FrozenBase:
    found = FrozenBase(base or digits_base(), layer)
    probe(found, digits(3).inputs)
    return found


def with_delta(delta: torch.Tensor, layer: str, image: torch.Tensor) -> torch.Tensor:
    """The slow way: the delta written into a copy of the base."""
    return reference.run_one(digits_base(), layer, image[None], delta)


# The nearest neighbour


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


@pytest.mark.parametrize("kind", TINY)
def test_the_neighbours_delta_is_used_and_not_its_label(kind):
    tiny = TINY[kind]
    training, test, base = tiny.examples(40), tiny.examples(8, seed=5), tiny.base()
    found = FrozenBase(base, tiny.layer)
    probe(found, training.inputs)
    p = NearestNeighbor(found, LOSS, CONFIG, training).predict(test.inputs)
    columns = zip(tensors(test.inputs), tensors(training.inputs), strict=True)
    squares = [torch.cdist(one.flatten(1), other.flatten(1)).square() for one, other in columns]
    near = Examples(*training.rows(sum(squares).argmin(dim=1)))
    deltas = overfit(base, tiny.layer, LOSS, near.inputs, near.targets, lr=0.05).dense()
    expected = reference.run(base, tiny.layer, test.inputs, deltas[:, None])[:, 0]
    assert torch.allclose(p.mean, expected, atol=1e-5)
    assert torch.allclose(p.scale[0], deltas.flatten(1).norm(dim=1), rtol=1e-4)


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_neighbours_of_digits(layer):
    training, test = digits(40), test_digits(8)
    p = NearestNeighbor(frozen(layer), LOSS, CONFIG, training).predict(test.inputs)
    indices = nearest_in_x(test.inputs, flat_inputs(training.inputs))
    near = Examples(*training.rows(indices))
    deltas = overfit(digits_base(), layer, LOSS, near.inputs, near.targets, lr=0.05).dense()
    for i in range(8):
        assert torch.allclose(p.mean[i], with_delta(deltas[i], layer, test.inputs[i]), atol=1e-4)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_example_that_is_not_finite_is_never_the_nearest(chunk_size, value):
    training, queries = digits(50).inputs.clone(), test_digits(12).inputs
    training[3] = value
    found = nearest_in_x(queries, flat_inputs(training), chunk_size)
    good = torch.tensor([i for i in range(50) if i != 3])
    assert torch.equal(found, good[nearest_in_x(queries, flat_inputs(training[good]))])


def nan_above_nine(outputs, targets):
    """The loss, and NaN for targets above nine."""
    return LOSS(outputs, targets % 10) * torch.where(targets < 10, 1.0, torch.nan)


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_a_neighbour_without_a_finite_delta_moves_nothing(layer):
    training, test = digits(20), test_digits(8)
    broken = nearest_in_x(test.inputs, flat_inputs(training.inputs))[0]
    targets = training.targets.clone()
    targets[broken] += 10
    training_with_nan = Examples(training.inputs, targets)
    p = NearestNeighbor(frozen(layer), nan_above_nine, CONFIG, training_with_nan).predict(test.inputs)
    hit = nearest_in_x(test.inputs, flat_inputs(training.inputs)) == broken
    assert torch.equal(p.mean[hit], p.base[hit])
    assert (p.scale[0, hit] == 0).all()
    assert p.outputs.isfinite().all()
    assert (p.scale[0, ~hit] > 0).any()


def test_the_neighbour_of_a_training_example_is_the_oracle():
    training = digits(20)
    one = NearestNeighbor(frozen(), LOSS, CONFIG, training).predict(training.inputs)
    oracle = OverfitTest(frozen(), LOSS, CONFIG, training.targets).predict(training.inputs)
    assert torch.allclose(one.mean, oracle.mean, atol=1e-5)


# One delta for all examples


@pytest.mark.parametrize("kind", TINY)
def test_mean_delta_is_the_mean_of_the_training_deltas(kind):
    tiny = TINY[kind]
    training, test, base = tiny.examples(30), tiny.inputs(6, seed=5), tiny.base()
    found = FrozenBase(base, tiny.layer)
    probe(found, training.inputs)
    shared = mean_delta(found, LOSS, CONFIG, training)
    deltas = overfit(base, tiny.layer, LOSS, training.inputs, training.targets, lr=0.05).dense()
    assert torch.allclose(shared.weight, deltas.mean(dim=0), atol=1e-6)
    few = mean_delta(found, LOSS, CONFIG, training, num_examples=5)
    assert torch.allclose(few.weight, deltas[:5].mean(dim=0), atol=1e-6)
    assert not torch.allclose(few.weight, shared.weight, atol=1e-4)
    p = shared.predict(test)
    expected = reference.run(base, tiny.layer, test, deltas.mean(dim=0).expand(6, 1, *deltas.shape[1:]))
    assert torch.allclose(p.outputs[0], expected[:, 0], atol=1e-5)
    assert p.scale[0].tolist() == pytest.approx([deltas.mean(dim=0).norm().item()] * 6, rel=1e-4)


def test_an_example_without_a_finite_delta_does_not_spoil_the_mean():
    training = digits(20)
    targets = training.targets.clone()
    targets[3] += 10
    shared = mean_delta(frozen(), nan_above_nine, CONFIG, Examples(training.inputs, targets))
    good = torch.tensor([i for i in range(20) if i != 3])
    rest = mean_delta(frozen(), LOSS, CONFIG, Examples(*training.rows(good)))
    assert torch.nn.functional.cosine_similarity(
        shared.weight.flatten(), rest.weight.flatten(), dim=0
    ).item() == pytest.approx(1, abs=1e-4)
    assert shared.weight.norm().item() == pytest.approx(rest.weight.norm().item(), rel=0.06)


@pytest.mark.parametrize("layer", ["fc1", "conv2", "fc2"])
def test_a_shared_delta_is_added_to_the_weight(layer):
    base, inputs = digits_base(), test_digits(300).inputs
    weight = base.get_submodule(layer).weight
    move = 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    p = SharedDelta(frozen(layer, base), move).predict(inputs)
    moved = copy.deepcopy(base).requires_grad_(False)
    moved.get_submodule(layer).weight += move
    assert torch.allclose(p.outputs[0], moved(inputs), atol=1e-4)
    nothing = SharedDelta(frozen(layer, base), torch.zeros_like(move)).predict(inputs)
    assert torch.equal(nothing.outputs[0], nothing.base)


# Random directions


@pytest.mark.parametrize("kind", ["log", "joint"])
@pytest.mark.parametrize("code", ["rank one", "pca"])
@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_random_directions_have_the_norms_of_ocds_own_draws(code, kind, spread):
    settings = {"scale.kind": kind, "sampling.spread": spread, "sampling.scale_factor": 1.5}
    ocd = fitted(settings | (PCA if code == "pca" else {}))
    inputs = test_digits(40).inputs
    own, random = ocd.predict(inputs, 4, seed=2), RandomDirection(ocd).predict(inputs, 4, seed=2)
    assert torch.allclose(random.scale, own.scale, rtol=1e-3)
    assert own.scale.std() > 1e-3 * own.scale.mean()  # they are not all of one norm
    assert (random.outputs - own.outputs).abs().max() > 1e-3
    assert torch.equal(random.base, own.base)


@pytest.mark.parametrize("prediction", ["x0", "epsilon"])  # with epsilon, a draw is much like Ω_T
@pytest.mark.parametrize("kind", ["log", "joint"])
def test_random_directions_are_random(kind, prediction):
    """At the last layer an output moves by ‖a‖² u, so that u's direction can be seen."""
    ocd = fitted({"layer": "fc2", "scale.kind": kind, "diffusion.prediction": prediction})
    inputs = test_digits(100).inputs

    def directions(baseline, seed):
        p = baseline.predict(inputs, 5, seed)
        return torch.nn.functional.normalize(p.outputs - p.base, dim=2)

    one = directions(RandomDirection(ocd), 0)
    others = {
        "OCD's": directions(OCDVariant(ocd), 0),
        "another seed": directions(RandomDirection(ocd), 1),
        "another draw": one.roll(1, dims=0),
        "another example": one.roll(1, dims=1),
    }
    for name, other in others.items():
        cosines = (one * other).sum(dim=2).flatten()  # 500, of two random directions in R^10
        assert abs(cosines.mean().item()) < 4 / (10 * 500) ** 0.5, name
        assert cosines.std().item() == pytest.approx(10**-0.5, rel=0.2), name
    assert one.mean(dim=(0, 1)).norm() < 4 / 500**0.5  # and no direction is preferred


def test_a_random_direction_does_not_depend_on_the_rest_of_the_batch():
    ocd, test = fitted({"layer": "fc2"}), test_digits(30)
    whole = RandomDirection(ocd).predict(test.inputs, 3)
    part = RandomDirection(ocd).predict(part_of(test, 20, None).inputs, 3)
    assert torch.allclose(part.outputs, whole.outputs[:, 20:], atol=1e-4)


# Deltas that the run has already


@pytest.mark.parametrize("layer", ["fc1", "conv2"])  # u and a, and whole weights
def test_stored_deltas_serve_as_those_made_anew(layer, tmp_path, monkeypatch):
    training, test = digits(40), test_digits(8)
    targets = training.targets.clone()
    targets[5] += 10  # its loss is not a number, so the store leaves it out
    training = Examples(training.inputs, targets)
    config = OCDConfig().replace({"layer": layer, "overfit.lr": 0.05, "collection.shard_rows": 16})
    ocd, work = OCD(digits_base(), loss=nan_above_nine, config=config), Workdir(tmp_path / "run")
    ocd.overfit(training, work, progress=False)
    _, source = ocd.lessons(training, work)
    found = source.overfitter.frozen
    arguments = (found, nan_above_nine, CONFIG, training)
    near, mean = NearestNeighbor(*arguments), mean_delta(*arguments)
    stored = source.reader
    near_stored = replace(near, stored=stored)
    p = near.predict(test.inputs)
    everyone = near.predict(training.inputs).mean
    monkeypatch.setattr("ocd.baselines.training_deltas.overfit_batch", never)
    assert torch.allclose(near_stored.predict(test.inputs).mean, p.mean, atol=1e-5)
    assert torch.allclose(near_stored.predict(training.inputs).mean, everyone, atol=1e-5)
    assert torch.allclose(mean_delta(*arguments, stored=stored).weight, mean.weight, atol=1e-6)


def never(*args, **kwargs):
    raise AssertionError("overfitted again")
