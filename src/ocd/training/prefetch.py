"""Training batches read and augmented by worker processes, before they are needed.

Everything random in a batch is a function of its number, so that it is the same whichever process
makes it. This pays where reading or augmenting is slow (images decoded from files). For examples in
memory it is a small share of a step, and workers only take cores from the training
(docs/performance.md).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ocd.data import Batch, Inputs, fetch_rows
from ocd.errors import OCDError


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """Batch by number. `index_of(number)`: its examples; `generator_of(number)`: what augments it."""

    dataset: Dataset[Any]
    transform: Callable[[Inputs, torch.Generator], Inputs] | None
    index_of: Callable[[int], Tensor]
    generator_of: Callable[[int], torch.Generator]

    def __getitem__(self, number: int) -> Batch:
        inputs, targets = fetch_rows(self.dataset, self.index_of(number))
        if self.transform is not None:
            inputs = self.transform(inputs, self.generator_of(number))
        return inputs, targets


def fetch_ahead(batches: Batches, numbers: range, num_workers: int) -> Generator[Batch, None, None]:
    """The batches of these numbers in order, by `num_workers` processes that end with the iterator.

    Raises OCDError where a worker fails.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=numbers,
        num_workers=num_workers,
        prefetch_factor=2,
        generator=torch.Generator(),  # seeds the workers, so that the global generator is left alone
    )
    try:
        yield from loader
    except (RuntimeError, AttributeError, pickle.PicklingError) as error:
        # A worker died, as where memory ran out; or the dataset or transform cannot be sent to one.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(
            f"a worker process that reads examples failed ({first}): set collection.num_workers to 0"
        ) from error
