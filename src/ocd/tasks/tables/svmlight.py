"""Files of learning to rank (svmlight: grade, qid, feature:value ...), read a stretch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ocd.errors import OCDError, install

STRETCH = 32 * 2**20  # bytes of text at a time


@dataclass(frozen=True)
class Ranking:
    """`features` (N, D), `grades` (N,), and `queries` (N,): a number for the rows of a query, None
    where the file does not say."""

    features: NDArray[np.float32]
    grades: NDArray[np.float32]
    queries: Tensor | None


def read_svmlight(path: Path, num_features: int, limit: int | None = None) -> Ranking:
    """At most the first `limit` rows; a value that is not there is 0. Queries are those of the file
    (qid), or of a file beside it that ends in .query, with the number of rows of each.

    Features are counted from 1 to `num_features`. scikit-learn's reader parses a stretch of the file at
    a time into rows whose place is there already, so that memory holds the dense numbers and little
    else. Raises OCDError for a file that is not there, has no rows, other text, or a feature beyond D.
    """
    try:
        from sklearn.datasets import load_svmlight_file
    except ImportError as error:
        raise OCDError(f"ranking needs scikit-learn: {install('tabular')}") from error
    if not path.is_file():
        raise OCDError(f"{path}: no such file")
    total = _count_lines(path, limit)
    features = np.zeros((total, num_features), np.float32)
    grades, queries = np.zeros(total, np.float32), np.zeros(total, np.int64)
    filled = start = 0
    size = path.stat().st_size
    while filled < total and start < size:
        try:
            rows, labels, names = load_svmlight_file(
                str(path),
                n_features=num_features,
                dtype=np.float32,
                zero_based=False,
                query_id=True,
                offset=start,
                length=STRETCH,
            )
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise OCDError(
                f"{path}: not svmlight with {num_features} features, `grade qid:1 1:0.5 2:3` ({reason})"
            ) from error
        count = min(len(labels), total - filled)
        features[filled : filled + count] = rows[:count].toarray()
        grades[filled : filled + count] = labels[:count]
        if len(names) == len(labels):
            queries[filled : filled + count] = names[:count]
        filled, start = filled + count, start + STRETCH
    if not filled:
        raise OCDError(f"{path}: there are no rows")
    beside = path.with_name(path.name + ".query")
    found = torch.from_numpy(queries[:filled]) if queries.any() else None
    if beside.is_file():
        found = _queries_beside(beside, filled)
    return Ranking(features[:filled], grades[:filled], found)


def largest_feature(path: Path) -> int:
    """The largest number of a feature in a file; 1 where there is none. Raises OCDError for a file that
    is not there, or has other text."""
    if not path.is_file():
        raise OCDError(f"{path}: no such file")
    largest = 1
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            last = line.partition("#")[0].split()[-1:]  # numbers rise along a line
            name, mark, _ = last[0].partition(":") if last else ("", "", "")
            if mark and name != "qid":
                if not name.isdecimal():
                    raise OCDError(f"{path}, line {number}: {last[0]!r} is no feature such as 3:0.5")
                largest = max(largest, int(name))
    return largest


def _queries_beside(path: Path, count: int) -> Tensor:
    """A number for the rows of each query, from their number in each."""
    try:
        sizes = torch.tensor([int(line) for line in path.read_text().split()])
    except ValueError as error:
        raise OCDError(f"{path}: it must hold the number of rows of each query ({error})") from error
    numbers = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    if len(numbers) < count:
        raise OCDError(f"{path} counts {len(numbers)} rows, where there are {count}")
    return numbers[:count]


def _count_lines(path: Path, limit: int | None) -> int:
    """Lines of a file, the last with or without its line break; at most `limit`."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(2**22):
            count, last = count + block.count(b"\n"), block[-1:]
            if limit is not None and count >= limit:
                return limit
    return count + (last != b"\n")
