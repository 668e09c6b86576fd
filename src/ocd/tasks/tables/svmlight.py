"""Files of learning to rank (svmlight: grade, qid, feature:value ...), read a stretch at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ocd.errors import OCDError

STRETCH = 32 * 2**20  # bytes of text at a time


def read_svmlight(
    path: Path, num_features: int, limit: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (N, D) and grades (N,), at most the first `limit` rows; a value that is not there is 0.

    Features are counted from 1 to `num_features`. scikit-learn's reader parses a stretch of the file at
    a time into rows whose place is there already, so that memory holds the dense numbers and little
    else. Raises OCDError for a file that is not there, has no rows, other text, or a feature beyond D.
    """
    try:
        from sklearn.datasets import load_svmlight_file
    except ImportError as error:
        raise OCDError("ranking needs scikit-learn: pip install 'ocd-torch[tabular]'") from error
    if not path.is_file():
        raise OCDError(f"{path}: no such file")
    total = _count_lines(path, limit)
    features = np.zeros((total, num_features), np.float32)
    grades = np.zeros(total, np.float32)
    filled = start = 0
    size = path.stat().st_size
    while filled < total and start < size:
        try:
            rows, labels = load_svmlight_file(
                str(path),
                n_features=num_features,
                dtype=np.float32,
                zero_based=False,
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
        filled, start = filled + count, start + STRETCH
    if not filled:
        raise OCDError(f"{path}: there are no rows")
    return features[:filled], grades[:filled]


def _count_lines(path: Path, limit: int | None) -> int:
    """Lines of a file, the last with or without its line break; at most `limit`."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(2**22):
            count, last = count + block.count(b"\n"), block[-1:]
            if limit is not None and count >= limit:
                return limit
    return count + (last != b"\n")
