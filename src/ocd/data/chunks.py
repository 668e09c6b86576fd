"""Work on many examples in chunks, which shrink when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ocd.data.inputs import Inputs, tensors

Result = TypeVar("Result")
MOST_ROWS, MOST_NUMBERS = 256, 2**21
"""Rows that a base is given at once, and numbers in them: what is seconds long is given in less."""


def rows_at_once(inputs: Inputs) -> int:
    """How many of these examples (B, ...) a base is given at once."""
    numbers = sum(tensor[0].numel() for tensor in tensors(inputs) if len(tensor))
    return max(1, min(MOST_ROWS, MOST_NUMBERS // max(1, numbers)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or Python reports that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
    )


def in_chunks(
    total: int, size: int, work: Callable[[slice], Result], start: int = 0
) -> Iterator[tuple[slice, Result]]:
    """`work` on successive slices of `size` rows, with its results; halves the size and tries the
    same rows again when memory runs out. A single row that does not fit raises the original error.
    """
    while start < total:
        chunk = slice(start, min(total, start + size))
        try:
            result = work(chunk)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            size = max(1, size // 2)
            continue
        yield chunk, result
        start = chunk.stop
