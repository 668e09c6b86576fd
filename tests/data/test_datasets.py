"""What people hand in as data: each form gives the same batches; a wrong one is refused in a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from ocd.data import Examples, as_dataset, dataset_size, fetch_rows
from ocd.errors import OCDError

INPUTS = torch.arange(12.0).reshape(6, 2)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])
INDEX = torch.tensor([4, 1])


class Doubled(TensorDataset):
    """A subclass that changes an example as it is read, as augmentations do."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        inputs, target = super().__getitem__(index)
        return 2 * inputs, target


class Tripled(Examples):
    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        inputs, target = super().__getitem__(index)
        return 3 * inputs, target


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(INPUTS, TARGETS, strict=True))


@pytest.mark.parametrize(
    "data",
    [
        Examples(INPUTS, TARGETS),
        Examples(INPUTS.numpy(), TARGETS.numpy()),  # type: ignore[arg-type]
        TensorDataset(INPUTS, TARGETS),
        list(zip(INPUTS, TARGETS, strict=True)),
        [(row, int(target)) for row, target in zip(INPUTS.numpy(), TARGETS, strict=True)],
        DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True),
    ],
    ids=["examples", "arrays", "tensors", "list", "list of arrays", "loader"],
)
def test_every_form_gives_the_same_batch(data: Any) -> None:
    inputs, targets = fetch_rows(data, INDEX)
    assert isinstance(inputs, Tensor)
    assert torch.equal(inputs, INPUTS[INDEX])
    assert torch.equal(targets, TARGETS[INDEX])
    assert dataset_size(data) == 6


def test_a_subclass_is_read_by_its_own_getitem() -> None:
    doubled, _ = fetch_rows(Doubled(INPUTS, TARGETS), INDEX)
    tripled, _ = fetch_rows(Tripled(INPUTS, TARGETS), INDEX)
    assert isinstance(doubled, Tensor)
    assert isinstance(tripled, Tensor)
    assert torch.equal(doubled, 2 * INPUTS[INDEX])
    assert torch.equal(tripled, 3 * INPUTS[INDEX])


def test_a_loader_keeps_its_collate_function() -> None:
    def padded(rows: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        inputs = torch.nn.utils.rnn.pad_sequence([row for row, _ in rows], batch_first=True)
        return inputs, torch.tensor([target for _, target in rows])

    texts = [(torch.ones(length), length) for length in (3, 1, 2)]
    inputs, targets = fetch_rows(DataLoader(texts, collate_fn=padded), torch.tensor([1, 0]))  # type: ignore[arg-type]
    assert inputs.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]  # type: ignore[union-attr]
    assert targets.tolist() == [1, 3]


def test_a_list_with_a_value_for_each_example_is_cut_with_the_tensors() -> None:
    examples = Examples({"x": INPUTS, "names": list("abcdef"), "kind": "rows"}, TARGETS)
    inputs, _ = examples.rows(INDEX)
    assert inputs["names"] == ["e", "b"]  # type: ignore[index,comparison-overlap]
    assert inputs["kind"] == "rows"  # type: ignore[index,comparison-overlap]


def test_pairs_of_a_mapping_stay_a_mapping() -> None:
    data = [({"x": row}, target) for row, target in zip(INPUTS, TARGETS, strict=True)]
    inputs, _ = fetch_rows(data, INDEX)  # type: ignore[arg-type]
    assert torch.equal(inputs["x"], default_collate([INPUTS[4], INPUTS[1]]))  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (Stream(), "Stream is an IterableDataset"),
        (iter([]), "has no length or no"),
        ([(torch.ones(2), 0), (torch.ones(3), 1)], "examples 0 to 1 make no batch"),
        ([(torch.ones(2), {"a": "b"})] * 2, "turn labels into class numbers"),
        ([{"x": torch.ones(2), "y": 0}] * 2, r"a dict: use Columns\(dataset"),
        ([(torch.ones(2), "cat"), (torch.ones(2), "dog")], "turn labels into class numbers"),
        ([(torch.ones(2), torch.ones(1), 0)] * 2, "must give pairs"),
        ([("a text", 0)] * 2, "inputs hold no tensor"),
    ],
    ids=["stream", "iterator", "ragged", "targets", "dicts", "words", "triples", "texts"],
)
def test_what_cannot_be_used_is_refused_in_one_line(data: Any, line: str) -> None:
    with pytest.raises(OCDError, match=line) as refusal:
        fetch_rows(data, torch.tensor([0, 1]))
    assert "\n" not in str(refusal.value)


def test_arrays_of_words_and_data_frames_are_refused() -> None:
    with pytest.raises(OCDError, match="turn labels into class numbers"):
        Examples(INPUTS, np.array(list("abcdef")))  # type: ignore[arg-type]
    with pytest.raises(OCDError, match="one target an example"):
        Examples(INPUTS, torch.tensor(3))

    class Frame(list[int]):
        iloc = None

    with pytest.raises(OCDError, match="a data frame has no targets"):
        as_dataset(Frame())


def test_double_numbers_of_numpy_and_python_come_in_the_default_type() -> None:
    rows = [({"x": np.ones(2), "kind": "a"}, 1.5), ({"x": np.zeros(2), "kind": "b"}, 2.0)]
    inputs, targets = fetch_rows(rows, torch.tensor([0, 1]))  # type: ignore[arg-type]
    assert inputs["x"].dtype == targets.dtype == torch.float32  # type: ignore[index, call-overload]
    assert inputs["kind"] == ["a", "b"]  # type: ignore[index, call-overload, comparison-overlap]
    double = [(torch.ones(2).double(), 1)] * 2
    inputs, _ = fetch_rows(double, torch.tensor([0, 1]))  # type: ignore[arg-type]
    assert inputs.dtype == torch.float64  # type: ignore[union-attr]
