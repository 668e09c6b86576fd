"""Map-style datasets of (inputs, target) pairs, read a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from ocd.data.columns import Columns
from ocd.data.inputs import Inputs, Targets, as_inputs, as_targets, num_rows, take_rows
from ocd.data.seeds import shuffled_places
from ocd.errors import OCDError

Batch = tuple[Inputs, Targets]
"""Inputs and targets of a batch."""
Collate = Callable[[list[Any]], Any]
"""Examples -> a batch (inputs, targets), as a DataLoader takes it: pads texts of uneven length."""


@dataclass(frozen=True)
class Examples(Dataset[Batch]):
    """Examples in memory: one row of `inputs` and `targets` each. NumPy arrays and data frames of
    numbers become tensors."""

    inputs: Inputs
    targets: Targets

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", as_inputs(self.inputs))
        object.__setattr__(self, "targets", as_targets(self.targets))
        if num_rows(self.inputs) != num_rows(self.targets):
            raise OCDError(
                f"{num_rows(self.inputs)} inputs but {num_rows(self.targets)} targets: "
                "one target an example is needed"
            )

    def __len__(self) -> int:
        return num_rows(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return take_rows(self.inputs, index), take_rows(self.targets, index)

    def rows(self, index: Tensor | slice) -> Batch:
        """Many examples at once, without a Python loop."""
        return take_rows(self.inputs, index), take_rows(self.targets, index)


@dataclass(frozen=True)
class Chosen(Dataset[Batch]):
    """Some examples of a dataset, by `index` (1-D, integers), read as fast as the dataset itself."""

    dataset: Dataset[Any]
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.index[index])]


def some_by_chance(dataset: Dataset[Any], most: int, generator: torch.Generator) -> Tensor | None:
    """Which examples to take of a dataset that has more than `most` of them, in rising order; None for
    all. 0 sets no limit."""
    total = dataset_size(dataset)
    if not most or total <= most:
        return None
    return shuffled_places(torch.arange(most), total, generator).sort().values


def as_dataset(data: Any, collate: Collate | None = None) -> Dataset[Any]:
    """The map-style dataset of what a user hands in: itself, or that of a DataLoader, read with its
    collate function or with `collate`. Raises OCDError for what has no examples to be indexed."""
    if isinstance(data, DataLoader):
        as_dataset(data.dataset)
        return _Collated(data.dataset, collate or data.collate_fn)
    if isinstance(data, IterableDataset):
        raise OCDError(
            f"{type(data).__name__} is an IterableDataset: OCD needs a map-style dataset (len and "
            "[i]), such as list(dataset)"
        )
    if hasattr(data, "iloc"):
        raise OCDError("a data frame has no targets: use Examples(frame[features], frame[target])")
    if hasattr(data, "column_names"):
        raise OCDError(
            f"a dataset with the columns {', '.join(data.column_names)} does not say which are inputs: "
            "use Columns(dataset, inputs=..., target=...)"
        )
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise OCDError(
            f"{type(data).__name__} has no length or no [i]: OCD needs a map-style dataset of "
            "(inputs, target)"
        )
    found: Dataset[Any] = data if collate is None else _Collated(data, collate)
    return found


@dataclass(frozen=True)
class _Collated(Dataset[Any]):
    """A dataset and the function that makes a batch of its examples."""

    dataset: Dataset[Any]
    collate: Collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def fetch_rows(dataset: Dataset[Any], index: Tensor) -> Batch:
    """The examples `index` (1-D, integers) of any map-style dataset of (inputs, target), batched.

    `Examples`, `Columns` and a `TensorDataset` themselves are indexed at once; any other dataset, a
    subclass too, is read one by one and collated as a DataLoader would. Raises OCDError for examples
    that make no batch.
    """
    if type(dataset) in (Examples, Columns):
        return dataset.rows(index)  # type: ignore[attr-defined]
    if type(dataset) is Chosen:
        return fetch_rows(dataset.dataset, dataset.index[index])
    if type(dataset) is TensorDataset:
        *inputs, targets = (tensor[index] for tensor in dataset.tensors)
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), as_targets(targets)
    batch = _collated(as_dataset(dataset), index)
    if not _is_pair(batch):
        raise OCDError(
            f"the dataset must give pairs (inputs, target); example {int(index[0])} is "
            f"{_described(batch)}"
        )
    return as_inputs(batch[0]), as_targets(batch[1])


def fetch_inputs(dataset: Dataset[Any], index: Tensor) -> Inputs:
    """The inputs of these examples. Their targets, if there are any, are not looked at: examples may be
    pairs (inputs, target), or inputs alone."""
    if type(dataset) is Examples:
        return take_rows(dataset.inputs, index)
    if type(dataset) is Columns:
        return dataset.input_rows(index)
    if type(dataset) is TensorDataset:
        inputs = [tensor[index] for tensor in dataset.tensors]
        inputs = inputs[:-1] or inputs
        return inputs[0] if len(inputs) == 1 else tuple(inputs)
    batch = _collated(as_dataset(dataset), index)
    return as_inputs(batch[0] if _is_pair(batch) else batch)


class Unseen:
    """What a user hands in to predict: inputs (B, ...) in memory, or a dataset. Read by `rows`."""

    def __init__(self, data: Any, collate: Collate | None = None) -> None:
        pairs = (
            isinstance(data, list) and len(data) > 0 and not isinstance(data[0], Tensor | np.ndarray)
        )
        in_memory = isinstance(data, Tensor | np.ndarray | Mapping | tuple | list) or hasattr(
            data, "iloc"
        )
        self.dataset: Dataset[Any] | None = None
        if in_memory and not pairs:
            self.inputs = as_inputs(data)
        else:
            self.dataset = as_dataset(data, collate)

    def __len__(self) -> int:
        if self.dataset is None:
            return num_rows(self.inputs)
        return len(self.dataset)  # type: ignore[arg-type]

    def rows(self, chunk: slice) -> Inputs:
        """The inputs of some examples."""
        if self.dataset is None:
            return take_rows(self.inputs, chunk)
        return fetch_inputs(self.dataset, torch.arange(chunk.start, min(chunk.stop, len(self))))


def _collated(dataset: Dataset[Any], index: Tensor) -> Any:
    rows: list[Any] = [dataset[i] for i in index.tolist()]
    collate = dataset.collate if isinstance(dataset, _Collated) else default_collate
    try:
        batch = collate(rows)
        return _in_usual_type(batch, rows[0]) if collate is default_collate else batch
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise OCDError(
            f"examples {int(index[0])} to {int(index[-1])} make no batch ({reason}): inputs and "
            "targets must be numbers of the same shape; pad them, or pass a collate function"
        ) from None


def _in_usual_type(batch: Any, example: Any) -> Any:
    """A batch of the default collate function. Numbers and arrays in double precision, the usual type
    of NumPy and Python, come in PyTorch's default type."""
    if isinstance(batch, Tensor):
        is_usual = isinstance(example, Tensor) or batch.dtype != torch.float64
        return batch if is_usual else batch.to(torch.get_default_dtype())
    if isinstance(batch, Mapping):
        return {key: _in_usual_type(part, example[key]) for key, part in batch.items()}
    if isinstance(batch, tuple | list) and not isinstance(example, str):
        return [_in_usual_type(*pair) for pair in zip(batch, example, strict=True)]
    return batch


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, tuple | list) and len(batch) == 2


def _described(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"a tuple of {len(batch)}"
    if isinstance(batch, Mapping):
        return "a dict: use Columns(dataset, inputs=..., target=...)"
    return "a single value"


def dataset_size(dataset: Dataset[Any]) -> int:
    """The number of examples. Raises OCDError for an empty or a stream-only dataset."""
    size = len(as_dataset(dataset))  # type: ignore[arg-type]
    if size == 0:
        raise OCDError("the dataset is empty: OCD needs at least one (inputs, target) pair")
    return size
