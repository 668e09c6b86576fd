"""One callable for engines that map batches: Ray Data, `datasets`, Spark.

    predictor = BatchPredictor("saved", make_base, inputs="x")
    dataset.map_batches(BatchPredictor, fn_constructor_args=("saved", make_base))     # Ray
    dataset.map(predictor, batched=True)                                              # datasets
    frame.mapInPandas(predictor.pandas, schema)                                       # Spark

A dict of NumPy arrays goes in, and the same with more columns comes out. The generator is loaded once
in each worker, when the first batch comes; what is pickled are names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.model import OCD

Batch = dict[str, Any]


@dataclass
class BatchPredictor:
    """Predictions for batches of columns.

    `folder`: a saved generator, or a repository of the hub. `base_factory()` gives its base, with its
    weights; it has to be importable in the workers. `inputs`: the column that the base takes, a list of
    columns for its positional arguments, or a dict argument -> column. `draws`, `mode`, `seed`: as in
    `OCD.predict`. `device`: where the base is moved; None leaves it where the factory made it. `keep`:
    whether the columns that came in go out, too. `prefix`: of the columns that are added: mean, std and
    base, (B, ...) each.
    """

    folder: str | Path
    base_factory: Callable[[], nn.Module]
    inputs: str | Sequence[str] | Mapping[str, str] = "x"
    draws: int = 5
    mode: str = "draws"
    seed: int = 0
    device: str | None = None
    keep: bool = True
    prefix: str = "ocd_"
    encoder_factory: Callable[[], nn.Module] | None = None
    """Gives the encoder that the generator was fitted with, if there was one."""
    _loaded: OCD | None = field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None}

    def __call__(self, batch: Mapping[str, Any]) -> Batch:
        """The batch with the columns of the prediction. Raises OCDError for a column that is missing or
        not of numbers of one shape."""
        found = self._ocd().predict(self._inputs(batch), self.draws, self.mode, self.seed)
        assert found.base is not None
        made = {"mean": found.mean, "std": found.std, "base": found.base}
        columns = {f"{self.prefix}{name}": value.cpu().numpy() for name, value in made.items()}
        if self.keep and (taken := sorted(columns.keys() & batch.keys())):
            raise OCDError(f"the batch has a column {taken[0]!r} already: choose another prefix")
        return (dict(batch) if self.keep else {}) | columns

    def pandas(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The same for data frames one after another, as Spark's `mapInPandas` hands them: columns of
        several numbers a row are lists."""
        import pandas as pd

        for frame in frames:
            if not len(frame):
                continue
            batch = {name: _stacked(frame[name].to_numpy()) for name in frame.columns}
            made = self(batch)
            added = {n: _listed(made[n]) for n in made if n not in frame.columns}
            kept = frame if self.keep else frame[[]]
            yield kept.assign(**{n: pd.Series(v, index=frame.index) for n, v in added.items()})

    def _ocd(self) -> OCD:
        if self._loaded is None:
            base = self.base_factory()
            base = base if self.device is None else base.to(self.device)
            encoder = None if self.encoder_factory is None else self.encoder_factory()
            self._loaded = OCD.from_pretrained(self.folder, base, encoder=encoder)
        return self._loaded

    def _inputs(self, batch: Mapping[str, Any]) -> Inputs:
        if isinstance(self.inputs, str):
            return self._column(batch, self.inputs)
        if isinstance(self.inputs, Mapping):
            return {name: self._column(batch, column) for name, column in self.inputs.items()}
        return tuple(self._column(batch, column) for column in self.inputs)

    def _column(self, batch: Mapping[str, Any], name: str) -> torch.Tensor:
        if name not in batch:
            raise OCDError(f"the batch has no column {name!r}; it has {', '.join(map(str, batch))}")
        values = _stacked(np.asarray(batch[name]))
        if values.dtype.kind not in "fiub":
            raise OCDError(f"column {name!r} is of {values.dtype}: it must be numbers of one shape")
        single = values.astype(np.float32) if values.dtype == np.float64 else values
        return torch.from_numpy(np.ascontiguousarray(single))


def _stacked(values: Any) -> Any:
    """Rows of lists or arrays as one array, where they have one shape."""
    if values.dtype != object or not len(values):
        return values
    rows = [np.asarray(row) for row in values]
    same = all(row.shape == rows[0].shape and row.dtype.kind in "fiub" for row in rows)
    return np.stack(rows) if same else values


def _listed(values: Any) -> list[Any]:
    """A value for each row: a number, or a list of them."""
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    found: list[Any] = flat.tolist()
    return found
