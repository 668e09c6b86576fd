"""Series as windows: L values that are given, and the H values that follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ocd.data import Examples
from ocd.errors import OCDError


@dataclass(frozen=True)
class Ends:
    """Rows at which training, validation and test end."""

    train: int
    validation: int
    test: int

    @classmethod
    def of(cls, num_rows: int, path: Path) -> Ends:
        """The usual ones of the ETT data by the file's name (12, 4 and 4 months of 30 days); of another
        file six, two and two tenths."""
        if path.stem.startswith("ETTh") and num_rows >= 20 * 720:
            return cls(12 * 720, 16 * 720, 20 * 720)
        return cls(int(0.6 * num_rows), int(0.8 * num_rows), num_rows)


@dataclass(frozen=True)
class Sizes:
    """Of a window: steps that are given, and that follow. `block`: answers lie each in one block of so
    many rows (the first begins at row 0); 0: anywhere."""

    lookback: int
    horizon: int
    block: int = 0


def windows(values: Tensor, start: int, end: int, sizes: Sizes, count: int) -> tuple[Examples, Tensor]:
    """`count` windows (L) with what follows (H), all of whose answers lie in rows `start` to `end`, at
    random places; all where there are fewer. Also the row at which each answer begins."""
    lookback, horizon = sizes.lookback, sizes.horizon
    first = max(start, lookback)
    places = torch.arange(first, max(first, end - horizon + 1))
    if sizes.block:
        places = places[places // sizes.block == (places + horizon - 1) // sizes.block]
    if not len(places):
        raise OCDError(
            f"rows {start} to {end} hold no window of {lookback} and {horizon} values: give a longer "
            "series, or lower lookback or horizon"
        )
    every = torch.cartesian_prod(places, torch.arange(values.shape[1])).view(-1, 2)
    if len(every) > count:
        chosen = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:count]
        every = every[chosen.sort().values]
    row, column = every.T
    given = values[row[:, None] + torch.arange(-lookback, 0), column[:, None]]
    follows = values[row[:, None] + torch.arange(horizon), column[:, None]]
    return Examples(given, follows), row
