"""Map-style datasets of (inputs, target) pairs, read a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from ocd.data.inputs import Inputs, num_rows, take_rows
from ocd.errors import OCDError

Batch = tuple[Inputs, Tensor]
"""Inputs and targets of a batch."""


@dataclass(frozen=True)
class Examples(Dataset[tuple[Inputs, Tensor]]):
    """Examples in memory. `inputs` and `targets` have one row an example."""

    inputs: Inputs
    targets: Tensor

    def __post_init__(self) -> None:
        if num_rows(self.inputs) != len(self.targets):
            raise OCDError(
                f"{num_rows(self.inputs)} inputs but {len(self.targets)} targets: "
                "one target an example is needed"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Inputs, Tensor]:
        return take_rows(self.inputs, index), self.targets[index]  # type: ignore[arg-type]

    def rows(self, index: Tensor | slice) -> tuple[Inputs, Tensor]:
        """Many examples at once, without a Python loop."""
        return take_rows(self.inputs, index), self.targets[index]


def fetch_rows(dataset: Dataset[Any], index: Tensor) -> tuple[Inputs, Tensor]:
    """The examples `index` (1-D, integers) of any map-style dataset of (inputs, target), batched.

    `Examples` and a `TensorDataset` are indexed at once; any other dataset is read one by one
    and collated as a DataLoader would.
    """
    if isinstance(dataset, Examples):
        return dataset.rows(index)
    if isinstance(dataset, TensorDataset):
        *inputs, targets = (tensor[index] for tensor in dataset.tensors)
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), targets
    rows: list[Any] = [dataset[i] for i in index.tolist()]
    if not isinstance(rows[0], tuple | list) or len(rows[0]) != 2:
        raise OCDError(
            "the dataset must give pairs (inputs, target); "
            f"example {int(index[0])} is a {type(rows[0]).__name__}"
        )
    inputs, targets = default_collate(rows)
    return (tuple(inputs) if isinstance(inputs, list) else inputs), targets


def dataset_size(dataset: Dataset[Any]) -> int:
    """The number of examples. Raises OCDError for an empty or a stream-only dataset."""
    if not hasattr(dataset, "__len__"):
        raise OCDError(
            f"{type(dataset).__name__} has no length: OCD needs a map-style dataset (len and [i])"
        )
    size = len(dataset)
    if size == 0:
        raise OCDError("the dataset is empty: OCD needs at least one (inputs, target) pair")
    return size
