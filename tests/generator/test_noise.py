"""Noise: a function of the example, the seed and the draw, and of nothing else; and it is normal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

import reference
from ocd.data import Inputs, take_rows
from ocd.generator import example_keys, example_noise


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


INPUTS: dict[str, Inputs] = {
    "float32": normal(6, 3, 4),
    "float64": normal(6, 3, 4).double(),
    "float16": normal(6, 3, 4).half(),
    "bfloat16": normal(6, 3, 4).bfloat16(),
    "int64": torch.arange(6 * 5).view(6, 5),
    "uint8": pixels(6, 1, 4, 4),
    "bool": pixels(6, 40) > 127,
    "one number an example": normal(6),
    "not contiguous": normal(4, 6).T,
    "tuple": (normal(6, 3), pixels(6, 5)),
    "dict": {"tokens": torch.arange(12).view(6, 2), "mask": pixels(6, 9) > 127},
}
every_input = pytest.mark.parametrize("inputs", INPUTS.values(), ids=list(INPUTS))


def noise(inputs: Inputs, seed: int = 0, draws: int = 3, shape: tuple[int, ...] = (2, 5)) -> Tensor:
    return example_noise(example_keys(inputs), seed, draws, shape)


# What it depends on


@every_input
def test_noise_belongs_to_the_example(inputs: Inputs) -> None:
    together = noise(inputs)
    assert together.shape == (6, 3, 2, 5) and together.dtype == torch.float32
    assert len(together.flatten(1).unique(dim=0)) == 6, "two examples share their noise"
    for order in (
        torch.tensor([5, 0, 3]),
        torch.arange(6).flip(0),
        torch.tensor([2]),
        torch.tensor([1, 1]),
    ):
        assert torch.equal(noise(take_rows(inputs, order)), together[order])


@every_input
def test_first_draws_are_the_same_for_any_number(inputs: Inputs) -> None:
    many = noise(inputs, draws=7)
    for draws in (1, 2, 6):
        assert torch.equal(noise(inputs, draws=draws), many[:, :draws])
    assert len(many[0].flatten(1).unique(dim=0)) == 7, "two draws are the same"


@every_input
def test_other_seeds_give_other_noise(inputs: Inputs) -> None:
    seeds = [0, 1, 2, 3, -1, 12345, 2**31, 2**62]
    drawn = torch.stack([noise(inputs, seed) for seed in seeds])
    assert torch.equal(drawn[4], noise(inputs, -1))
    assert len(drawn.flatten(1).unique(dim=0)) == len(seeds)


def test_the_memory_layout_of_the_inputs_does_not_matter() -> None:
    inputs = normal(4, 3, 5)
    strided = inputs.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(example_keys(strided), example_keys(inputs))
    assert torch.equal(example_keys(inputs.requires_grad_()), example_keys(inputs.detach()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_zero_of_either_sign_is_the_same_input(dtype: torch.dtype) -> None:
    inputs = normal(3, 4).to(dtype)
    inputs[:, 1] = 0.0
    other = inputs.clone()
    other[:, 1] = -0.0
    assert torch.equal(inputs, other) and bool(other[:, 1].signbit().all())
    assert torch.equal(noise(other), noise(inputs))


def test_a_dict_is_known_by_its_names_not_by_its_order() -> None:
    left, right = normal(4, 3), normal(4, 2, seed=1)
    keys = example_keys({"a": left, "b": right})
    assert torch.equal(example_keys({"b": right, "a": left}), keys)
    assert not (example_keys({"a": right, "b": left}) == keys).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_any_change_of_the_input_changes_its_key(dtype: torch.dtype) -> None:
    def changed(action: Callable[[Tensor], None]) -> Tensor:
        other = example.clone()
        action(other)
        return example_keys(other)

    def last_bits(x: Tensor) -> None:
        x[0, 3] *= 1 + 2 * torch.finfo(dtype).eps

    def swap(x: Tensor) -> None:
        x[0, [1, 7]] = x[0, [7, 1]]

    def negate(x: Tensor) -> None:
        x[0, 2] *= -1

    example = normal(1, 10).to(dtype)
    keys = [example_keys(example), *(changed(action) for action in (last_bits, swap, negate))]
    assert len(torch.cat(keys).unique()) == 4


def test_a_swap_between_the_parts_of_a_tuple_changes_the_key() -> None:
    one, two = normal(3, 4), normal(3, 4, seed=1)
    assert not (example_keys((one, two)) == example_keys((two, one))).any()
    for other in ((one, one), (two, two), one, two):  # each part counts
        assert not (example_keys((one, two)) == example_keys(other)).any()


def test_keys_of_similar_examples_do_not_collide() -> None:
    steps = torch.arange(20_000)
    binary = (steps[:, None] >> torch.arange(15)) & 1
    for inputs in (steps, steps[:, None].float(), binary, binary.to(torch.uint8)):
        assert len(example_keys(inputs).unique()) == 20_000


# What it is


def test_noise_is_what_the_slow_version_says() -> None:
    keys = torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), 123456789])
    for seed in (0, 1, 2, 77, -5):
        drawn = example_noise(keys, seed, 3, (7,))
        expected = [
            [[reference.noise(key, seed, draw, place) for place in range(7)] for draw in range(3)]
            for key in keys.tolist()
        ]
        torch.testing.assert_close(drawn, torch.tensor(expected), rtol=1e-4, atol=2e-5)


def test_noise_of_an_odd_size_is_the_start_of_a_longer_one() -> None:
    keys = example_keys(normal(3, 4))
    longer = example_noise(keys, 5, 2, (8,))
    assert torch.equal(example_noise(keys, 5, 2, (7,)), longer[..., :7])
    assert torch.equal(example_noise(keys, 5, 2, (2, 3)).flatten(2), longer[..., :6])
    assert example_noise(keys, 5, 2, (1,)).shape == (3, 2, 1)


VIEWS = {
    "over examples": lambda: noise(normal(40_000, 3), draws=1, shape=(1,)),
    "over draws": lambda: noise(normal(1, 3), draws=40_000, shape=(1,)),
    "over elements": lambda: noise(normal(1, 3), draws=1, shape=(40_000,)),
    "over seeds": lambda: torch.stack([noise(normal(1, 3), s, 1, (2,)) for s in range(1500)]),
    "over similar examples": lambda: noise(torch.arange(20_000), draws=1, shape=(2,)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_noise_is_standard_normal(view: Callable[[], Tensor]) -> None:
    values = view().flatten()
    error = len(values) ** -0.5
    assert values.isfinite().all()
    assert abs(values.mean()) < 4 * error
    assert abs(values.var() - 1) < 4 * 2**0.5 * error
    assert kstest(values.numpy(), "norm").pvalue > 1e-3


def test_neighbours_are_not_correlated() -> None:
    drawn = noise(torch.arange(2000), seed=3, draws=4, shape=(4,)).double()
    other = noise(torch.arange(2000), seed=4, draws=4, shape=(4,)).double()
    pairs = {
        "examples": (drawn[1:], drawn[:-1]),
        "draws": (drawn[:, 1:], drawn[:, :-1]),
        "elements": (drawn[..., 1:], drawn[..., :-1]),
        "seeds": (drawn, other),
        "draw and element": (drawn[:, 1:, :-1], drawn[:, :-1, 1:]),
    }
    for name, (one, two) in pairs.items():
        for transform in (lambda x: x, torch.abs):
            values = np.corrcoef(transform(one).flatten(), transform(two).flatten())[0, 1]
            assert abs(values) < 4 * one.numel() ** -0.5, name


def test_no_global_state_is_touched() -> None:
    before = torch.get_rng_state()
    noise(normal(3, 4))
    assert torch.equal(torch.get_rng_state(), before)
