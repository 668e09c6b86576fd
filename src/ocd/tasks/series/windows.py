"""Series as windows: L values that are given, and the H values that follow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ocd.data import Examples
from ocd.errors import OCDError

ETT_ROWS = 17_420
ETT_COLUMNS = frozenset(("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"))
"""Of the published ETTh1 and ETTh2, beside a column of dates (Zhou et al. 2021)."""
FEWEST_WINDOWS = 32
"""From which a base learns, or OCD, or which they are tested on: of fewer nothing can be said."""
FEWEST_BLOCKS = 2
"""In which these lie, of OCD and of the test: a part is held out, and a bootstrap draws blocks."""


@dataclass(frozen=True)
class Ends:
    """Rows at which training, validation and test end."""

    train: int
    validation: int
    test: int

    @classmethod
    def of(cls, num_rows: int, is_ett: bool = False) -> Ends:
        """Six, two and two tenths; the usual ones of the published ETT data (12, 4 and 4 months of 30
        days), which leave the last four months of it."""
        if is_ett:
            return cls(12 * 720, 16 * 720, 20 * 720)
        return cls(int(0.6 * num_rows), int(0.8 * num_rows), num_rows)


@dataclass(frozen=True)
class Sizes:
    """Of a window: steps that are given, and that follow. `block`: answers lie each in one block of so
    many rows (the first begins at row 0); 0: anywhere."""

    lookback: int
    horizon: int
    block: int = 0


def is_published_ett(name: str, num_rows: int, columns: Collection[str]) -> bool:
    """Whether a file is the published ETTh1 or ETTh2: by its name, and by what it holds, since others
    are called so too."""
    has = len(columns) == len(ETT_COLUMNS) + 1 and set(columns) >= ETT_COLUMNS
    return name.startswith("ETTh") and num_rows == ETT_ROWS and has


def check_rows(num_rows: int, num_series: int, where: str, sizes: Sizes, is_ett: bool = False) -> None:
    """Raises OCDError, with the number of rows that are needed, for a series that leaves too few
    windows to the base, to OCD or to the test. `is_ett`: the published ETT data, whose parts end where
    they do."""
    short = _too_few(Ends.of(num_rows, is_ett), num_series, sizes)
    if not short:
        return
    advice, streak = "lower lookback or horizon", 0
    # How blocks lie within the parts depends on the number of rows, with a period of five blocks.
    most = num_rows + 5 * (10 * sizes.block + sizes.lookback + FEWEST_WINDOWS)
    for rows in range(num_rows + 1, 0 if is_ett else most + 1):
        streak = 0 if _too_few(Ends.of(rows), num_series, sizes) else streak + 1
        if streak == 5 * sizes.block:
            advice = f"give {rows - streak + 1:,} rows or more, or {advice}"
            break
    raise OCDError(
        f"{where}: {num_rows:,} rows leave {short} with lookback={sizes.lookback} and "
        f"horizon={sizes.horizon}, which is too few: {advice}"
    )


def _too_few(ends: Ends, num_series: int, sizes: Sizes) -> str:
    """What one of the three parts lacks, in words; "" where all have enough."""
    anywhere = replace(sizes, block=0)
    for start, end, of, within, whom in (
        (0, ends.train, 1, sizes, "for the base to learn from"),
        (ends.train, ends.validation, FEWEST_BLOCKS, sizes, "for OCD to learn from"),
        (ends.validation, ends.test, FEWEST_BLOCKS, anywhere, "to test on"),
    ):
        places = _places(start, end, within)
        windows, blocks = len(places) * num_series, len((places // sizes.block).unique())
        if windows < FEWEST_WINDOWS or blocks < of:
            parts = f" in {blocks} (of {of}) stretches of time" if of > 1 else ""
            return f"{windows} (of {FEWEST_WINDOWS}) windows{parts} {whom}"
    return ""


def _places(start: int, end: int, sizes: Sizes) -> Tensor:
    """The rows at which an answer may begin."""
    first = max(start, sizes.lookback)
    places = torch.arange(first, max(first, end - sizes.horizon + 1))
    if not sizes.block:
        return places
    return places[places // sizes.block == (places + sizes.horizon - 1) // sizes.block]


def windows(values: Tensor, start: int, end: int, sizes: Sizes, count: int) -> tuple[Examples, Tensor]:
    """`count` windows (L) with what follows (H), all of whose answers lie in rows `start` to `end`, at
    random places; all where there are fewer. Also the row at which each answer begins."""
    lookback, horizon = sizes.lookback, sizes.horizon
    places = _places(start, end, sizes)
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
