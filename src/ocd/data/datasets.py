"""Map-style datasets of (inputs, target) pairs, read a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from ocd.data.inputs import Inputs, Targets, as_inputs, num_rows, take_rows
from ocd.errors import OCDError

Batch = tuple[Inputs, Targets]
"""Inputs and targets of a batch."""


@dataclass(frozen=True)
class Examples(Dataset[Batch]):
    """Examples in memory: one row of `inputs` and `targets` each. NumPy arrays become tensors."""

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


def as_targets(value: Any) -> Targets:
    """Targets as a tensor with a row for each example, or a tuple or dict of such. Raises OCDError for
    anything that is not numbers."""
    if isinstance(value, Mapping):
        return {str(key): _as_tensor(part) for key, part in value.items()}
    if isinstance(value, tuple | list) and any(isinstance(part, Tensor | np.ndarray) for part in value):
        return tuple(_as_tensor(part) for part in value)
    return _as_tensor(value)


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.dim():
            return value
        raise OCDError("targets are a single number: one target an example is needed")
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "fiub" or found.ndim == 0:
        raise OCDError(
            f"targets are a {type(value).__name__} of {found.dtype}: they must be numbers "
            "with a row for each example (turn labels into class numbers)"
        )
    return torch.from_numpy(np.ascontiguousarray(found))


def as_dataset(data: Any) -> Dataset[Any]:
    """The map-style dataset of what a user hands in: itself, or that of a DataLoader, read with its
    collate function. Raises OCDError for what has no examples to be indexed."""
    if isinstance(data, DataLoader):
        as_dataset(data.dataset)
        return _Collated(data.dataset, data.collate_fn)
    if isinstance(data, IterableDataset):
        raise OCDError(
            f"{type(data).__name__} is an IterableDataset: OCD needs a map-style dataset (len and "
            "[i]), such as list(dataset)"
        )
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise OCDError(
            f"{type(data).__name__} has no length or no [i]: OCD needs a map-style dataset of "
            "(inputs, target)"
        )
    if hasattr(data, "iloc"):
        raise OCDError(
            "a data frame has no targets: use Examples(frame[features].to_numpy(), "
            "frame[target].to_numpy())"
        )
    found: Dataset[Any] = data
    return found


@dataclass(frozen=True)
class _Collated(Dataset[Any]):
    """A dataset and the function that makes a batch of its examples."""

    dataset: Dataset[Any]
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def fetch_rows(dataset: Dataset[Any], index: Tensor) -> Batch:
    """The examples `index` (1-D, integers) of any map-style dataset of (inputs, target), batched.

    `Examples` and a `TensorDataset` themselves are indexed at once; any other dataset, a subclass too,
    is read one by one and collated as a DataLoader would. Raises OCDError for examples that make no
    batch.
    """
    if type(dataset) is Examples:
        return dataset.rows(index)
    if type(dataset) is TensorDataset:
        *inputs, targets = (tensor[index] for tensor in dataset.tensors)
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), as_targets(targets)
    dataset = as_dataset(dataset)
    rows: list[Any] = [dataset[i] for i in index.tolist()]
    collate = dataset.collate if isinstance(dataset, _Collated) else default_collate
    if collate is default_collate and (not isinstance(rows[0], tuple | list) or len(rows[0]) != 2):
        raise OCDError(
            "the dataset must give pairs (inputs, target); "
            f"example {int(index[0])} is a {type(rows[0]).__name__}"
        )
    try:
        batch = collate(rows)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise OCDError(
            f"examples {int(index[0])} to {int(index[-1])} make no batch ({reason}): inputs and "
            "targets must be numbers of the same shape; pad them, or hand in a DataLoader with a "
            "collate function"
        ) from None
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise OCDError(
            f"a batch of the dataset is a {type(batch).__name__}: it must be (inputs, targets)"
        )
    return as_inputs(batch[0]), as_targets(batch[1])


def dataset_size(dataset: Dataset[Any]) -> int:
    """The number of examples. Raises OCDError for an empty or a stream-only dataset."""
    size = len(as_dataset(dataset))  # type: ignore[arg-type]
    if size == 0:
        raise OCDError("the dataset is empty: OCD needs at least one (inputs, target) pair")
    return size
