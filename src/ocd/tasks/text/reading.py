"""Texts in files: csv, tsv, parquet or jsonl, a stretch at a time, with the row that is wrong named."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ocd.errors import OCDError, install, nearest

Row = dict[str, Any]
ENDINGS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".json": "", ".parquet": "", ".pq": ""}
FIELD_LIMIT = 2**27
"""Characters of one text in a csv."""


def rows_of(path: Path, columns: Sequence[str], start: int = 0) -> Iterator[tuple[int, Row]]:
    """The rows of a file from `start` on, with their numbers from 1 on and the columns that are needed.

    Raises OCDError for a file that cannot be read, an ending that is not known, or a column that is not
    there.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise OCDError(f"{path}: give a csv, tsv, parquet or jsonl file")
    if not path.is_file():
        raise OCDError(f"{path}: no such file")
    read = {".parquet": _parquet, ".pq": _parquet, ".jsonl": _jsonl, ".json": _jsonl}.get(ending)
    try:
        found = _separated(path, ENDINGS[ending], columns) if read is None else read(path, columns)
        yield from islice(enumerate(found, 1), start, None)
    except UnicodeDecodeError as error:
        raise OCDError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise OCDError(f"{path} cannot be read ({error})") from error


def text_of(row: Row, column: str, where: str) -> str:
    """The text in a row. Raises OCDError where there is none."""
    value = row.get(column)
    if value is None or value != value:
        return ""
    if not isinstance(value, str):
        raise OCDError(f"{where}: {column!r} is a {type(value).__name__}, not a text")
    return value


def _separated(path: Path, separator: str, columns: Sequence[str]) -> Iterator[Row]:
    """Fields in quotes may hold separators and line ends; a mark of the byte order is left out."""
    csv.field_size_limit(FIELD_LIMIT)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=separator, strict=True)
        _check(path, columns, reader.fieldnames or [])
        for number, row in enumerate(reader, 1):
            if None in row:
                raise OCDError(
                    f"{path}, row {number}: more fields than the head has; put texts with a "
                    f"{separator!r} in quotes"
                )
            yield {name: row[name] for name in columns}


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """An object in each line; empty lines are not counted."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate((line for line in file if line.strip()), 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise OCDError(f"{path}, row {number}: not a line of JSON ({error})") from error
            if not isinstance(row, dict):
                raise OCDError(f'{path}, row {number}: not an object, like {{"text": ...}}')
            _check(path, columns, list(row), f", row {number}")
            yield {name: row[name] for name in columns}


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """A thousand rows at a time, and only the columns that are needed."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise OCDError(f"parquet needs pyarrow: {install('text')}") from error
    try:
        with parquet.ParquetFile(path) as file:
            _check(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(1024, columns=list(columns)):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise OCDError(f"{path} cannot be read as parquet ({error})") from error


def _check(path: Path, columns: Sequence[str], there: Sequence[str], where: str = "") -> None:
    """Raises OCDError for the first column that is not there, with those that are like it."""
    lacking = [name for name in columns if name not in there]
    if lacking:
        hint = (
            nearest(lacking[0], list(there)) or f"; there are {', '.join(map(repr, there)) or 'none'}"
        )
        raise OCDError(f"{path}{where}: no column {lacking[0]!r}{hint}")
