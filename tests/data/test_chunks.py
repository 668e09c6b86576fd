"""Chunks of rows that shrink when memory runs out."""

from __future__ import annotations

import pytest
import torch

from ocd.data import in_chunks, is_out_of_memory, rows_at_once


def rows_of(chunks: list[slice]) -> list[list[int]]:
    return [list(range(chunk.start, chunk.stop)) for chunk in chunks]


@pytest.mark.parametrize(
    ("total", "size", "start", "expected"),
    [
        (5, 2, 0, [[0, 1], [2, 3], [4]]),
        (5, 9, 0, [[0, 1, 2, 3, 4]]),
        (5, 2, 3, [[3, 4]]),
        (5, 2, 5, []),
        (0, 2, 0, []),
    ],
)
def test_every_row_is_in_one_chunk(total: int, size: int, start: int, expected: list) -> None:
    results = list(in_chunks(total, size, lambda chunk: chunk, start))
    assert rows_of([chunk for chunk, _ in results]) == expected
    assert all(chunk == result for chunk, result in results)


def test_the_size_halves_and_no_row_is_lost() -> None:
    tried = []

    def work(chunk: slice) -> int:
        tried.append(chunk.stop - chunk.start)
        if chunk.stop > 4 and tried[-1] > 2:
            raise torch.OutOfMemoryError
        return tried[-1]

    results = list(in_chunks(11, 4, work))
    assert rows_of([chunk for chunk, _ in results]) == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9], [10]]
    assert tried == [4, 4, 2, 2, 2, 1]


def test_a_single_row_that_does_not_fit_raises_the_original_error() -> None:
    tried = []

    def work(chunk: slice) -> None:
        tried.append(chunk.stop - chunk.start)
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(in_chunks(8, 8, work))
    assert tried == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_base_is_given_fewer_rows_where_examples_are_large():
    small, seconds, huge = (torch.empty(3, size, device="meta") for size in (784, 32_000, 10**8))
    assert [rows_at_once(one) for one in (small, seconds, huge)] == [256, 65, 1]
    assert rows_at_once((seconds, seconds)) == 32
    assert rows_at_once(torch.empty(0, 4)) == 256
