"""A dataset with named columns, such as a `datasets.Dataset` of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ocd.data.inputs import Inputs, Targets, as_inputs, as_targets, from_numpy
from ocd.errors import OCDError, nearest


@dataclass(frozen=True)
class Columns(Dataset[Any]):
    """A dataset whose examples are dicts, and which of their columns OCD takes.

        Columns(dataset, inputs="pixels", target="label")            # base(pixels)
        Columns(dataset, inputs=["tokens", "mask"], target="label")  # base(tokens=..., mask=...)

    `inputs`: one column, or several, which the base gets by name. `target`: the column of the
    targets, or several, which the loss gets as a dict; None where there are none (to predict).
    Columns of uneven length need `collate`: a list of (inputs, target) -> (inputs, targets). Without
    a target it gets 0 in its place.
    """

    dataset: Any
    inputs: str | Sequence[str]
    target: str | Sequence[str] | None = None
    collate: Callable[[list[Any]], Any] | None = None

    def __post_init__(self) -> None:
        known = list(getattr(self.dataset, "column_names", None) or self.dataset[0])
        for wanted in (*_names(self.inputs), *_names(self.target)):
            if wanted not in known:
                hint = nearest(wanted, known) or f"; there are {', '.join(known)}"
                raise OCDError(f"the dataset has no column {wanted!r}{hint}")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        row = self.dataset[index]
        return _of(row, self.inputs), 0 if self.target is None else _of(row, self.target)

    def rows(self, index: Tensor) -> tuple[Inputs, Targets]:
        """Inputs and targets of these examples. Raises OCDError where the columns are uneven."""
        if self.target is None:
            raise OCDError("a fit needs targets: Columns(dataset, inputs=..., target=...)")
        if self.collate is not None:
            inputs, targets = self.collate([self[i] for i in index.tolist()])
            return as_inputs(inputs), as_targets(targets)
        batch = self._batch(index)
        return self._tensors(batch, self.inputs), self._tensors(batch, self.target)

    def input_rows(self, index: Tensor) -> Inputs:
        """Inputs of these examples; their targets are not read."""
        if self.collate is not None:
            inputs, _ = self.collate([self[i] for i in index.tolist()])
            return as_inputs(inputs)
        return self._tensors(self._batch(index), self.inputs)

    def _batch(self, index: Tensor) -> Mapping[str, Any]:
        if hasattr(self.dataset, "column_names"):
            return self.dataset[index.tolist()]
        rows = [self.dataset[i] for i in index.tolist()]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _tensors(self, batch: Mapping[str, Any], wanted: str | Sequence[str]) -> Any:
        if isinstance(wanted, str):
            return _as_tensor(wanted, batch[wanted])
        return {name: _as_tensor(name, batch[name]) for name in wanted}


def _names(wanted: str | Sequence[str] | None) -> Sequence[str]:
    return (wanted,) if isinstance(wanted, str) else wanted or ()


def _of(row: Mapping[str, Any], wanted: str | Sequence[str]) -> Any:
    return row[wanted] if isinstance(wanted, str) else {name: row[name] for name in wanted}


def _as_tensor(name: str, values: Any) -> Tensor:
    """A column as one tensor; floating numbers in PyTorch's default type."""
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, list) and values and isinstance(values[0], Tensor):
            return torch.stack(values)
        found = np.asarray(values)
    except (ValueError, RuntimeError):
        found = np.asarray(None)
    if found.dtype.kind not in "fiub":
        raise OCDError(
            f"column {name!r} holds no numbers of one shape: turn texts and images into tensors first, "
            "and pad uneven lengths, in the dataset or by Columns(..., collate=...)"
        )
    return from_numpy(found)
