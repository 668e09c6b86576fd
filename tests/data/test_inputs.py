"""Inputs: a tensor, a tuple or a dict goes through every door in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ocd.data import (
    Examples,
    Inputs,
    call,
    dataset_size,
    fetch_rows,
    map_tensors,
    num_rows,
    read_tensors,
    take_rows,
    tensors,
    to_device,
    write_tensors,
)
from ocd.errors import OCDError


class Minus(nn.Module):
    def forward(self, one: Tensor, two: Tensor | None = None) -> Tensor:
        return one if two is None else one - two


ONE, TWO = torch.arange(6.0).view(3, 2), torch.ones(3, 2)
FORMS: dict[str, Inputs] = {"tensor": ONE, "tuple": (ONE, TWO), "dict": {"two": TWO, "one": ONE}}
every_form = pytest.mark.parametrize("inputs", FORMS.values(), ids=list(FORMS))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and all(map(same, one, other)) and len(one) == len(other)


def test_each_form_is_passed_as_the_base_takes_it() -> None:
    assert torch.equal(call(Minus(), FORMS["tensor"]), ONE)
    assert torch.equal(call(Minus(), FORMS["tuple"]), ONE - TWO)
    assert torch.equal(call(Minus(), FORMS["dict"]), ONE - TWO)


def test_the_tensors_of_each_form() -> None:
    assert same(tensors(ONE), [ONE])
    assert same(tensors((TWO, ONE)), [TWO, ONE])
    assert same(tensors({"b": TWO, "a": ONE}), [ONE, TWO])  # in the order of the names
    assert same(tensors({"a": ONE, "flag": True}), [ONE])


@every_form
def test_map_keeps_the_form(inputs: Inputs) -> None:
    doubled = map_tensors(lambda x: 2 * x, inputs)
    assert type(doubled) is type(inputs)
    assert same(tensors(doubled), [2 * x for x in tensors(inputs)])


def test_what_is_no_tensor_is_passed_on() -> None:
    assert map_tensors(lambda x: 2 * x, {"x": ONE, "causal": True})["causal"] is True
    assert map_tensors(lambda x: 2 * x, (ONE, None))[1] is None


@every_form
def test_rows(inputs: Inputs) -> None:
    assert num_rows(inputs) == 3
    for index in (slice(1, 3), torch.tensor([2, 0])):
        taken = take_rows(inputs, index)
        assert num_rows(taken) == 2
        assert same(tensors(taken), [x[index] for x in tensors(inputs)])
    assert same(to_device(inputs, torch.device("cpu")), inputs)


@pytest.mark.parametrize(
    "inputs",
    [(ONE, TWO[:2]), {"a": ONE, "b": torch.tensor(1.0)}, torch.tensor(1.0), (), {}, {"flag": True}],
)
def test_inputs_that_do_not_agree_on_their_rows(inputs: Any) -> None:
    with pytest.raises(OCDError, match="same leading dimension, one row an example"):
        num_rows(inputs)


@every_form
def test_examples_in_memory(inputs: Inputs) -> None:
    examples = Examples(inputs, torch.tensor([5, 6, 7]))
    assert len(examples) == dataset_size(examples) == 3
    one, target = examples[1]
    assert same(one, map_tensors(lambda x: x[1], inputs)) and target == 6
    some, targets = examples.rows(torch.tensor([2, 0]))
    assert same(some, take_rows(inputs, torch.tensor([2, 0]))) and targets.tolist() == [7, 5]


def test_examples_need_one_target_each() -> None:
    with pytest.raises(OCDError, match="3 inputs but 2 targets"):
        Examples(ONE, torch.zeros(2))


class Listed(Dataset[Any]):
    """Any map-style dataset."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.pairs[index]


@every_form
@pytest.mark.parametrize("index", [[2, 0], [1], [0, 0, 2]])
def test_every_dataset_gives_the_same_batch(inputs: Inputs, index: list[int]) -> None:
    targets, rows = torch.tensor([5, 6, 7]), torch.tensor(index)
    examples = Examples(inputs, targets)
    expected = (take_rows(inputs, rows), targets[rows])
    assert same(fetch_rows(examples, rows), expected)
    assert same(fetch_rows(Listed([examples[i] for i in range(3)]), rows), expected)
    assert same(fetch_rows(Listed([list(examples[i]) for i in range(3)]), rows), expected)
    if not isinstance(inputs, dict):
        assert same(fetch_rows(TensorDataset(*tensors(inputs), targets), rows), expected)


def test_targets_that_are_numbers_become_a_tensor() -> None:
    _, targets = fetch_rows(Listed([(ONE[0], 3), (ONE[1], 4)]), torch.tensor([1, 0]))
    assert targets.tolist() == [4, 3]


@pytest.mark.parametrize("entry", [ONE[0], (ONE[0],), (ONE[0], 1, 2), {"x": ONE[0]}])
def test_a_dataset_that_gives_no_pairs(entry: Any) -> None:
    with pytest.raises(OCDError, match=r"pairs \(inputs, target\); example 1 is"):
        fetch_rows(Listed([entry, entry]), torch.tensor([1]))


def test_a_dataset_without_a_size() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield ONE[0], 1

    with pytest.raises(OCDError, match="Stream is an IterableDataset"):
        dataset_size(Stream())
    with pytest.raises(OCDError, match="the dataset is empty"):
        dataset_size(Listed([]))


def test_tied_tensors_can_be_written(tmp_path: Path) -> None:
    shared = torch.arange(3.0)
    write_tensors(tmp_path / "tied.safetensors", {"one": shared, "other": shared})
    found = read_tensors(tmp_path / "tied.safetensors")
    assert torch.equal(found["one"], shared)
    assert torch.equal(found["other"], shared)
