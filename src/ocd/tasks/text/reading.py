"""Texts in files: csv, tsv, parquet or jsonl, a stretch at a time, with the row that is wrong named.

A file that can be read in two ways, or of which a part would be lost, is refused.
"""

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
        raise OCDError(f"{path}: not UTF-8 ({_no_utf8(path)}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise OCDError(f"{path} cannot be read ({error})") from error


def text_of(row: Row, column: str, where: str) -> str:
    """The text in a row, "" where a value is missing. Raises OCDError for what is no text."""
    value = row.get(column)
    if isinstance(value, str):
        return whole(value, where)
    if is_missing(value):
        return ""
    raise OCDError(f"{where}: {column!r} is of the type {type(value).__name__}, not a text")


def is_missing(value: Any) -> bool:
    """Whether it is None, not a number, or what pandas has for these."""
    return (
        value is None
        or (isinstance(value, float) and value != value)
        or type(value).__name__ in ("NAType", "NaTType")
    )


def whole(text: str, where: str) -> str:
    """The text itself. Raises OCDError where a half of a character stands alone in it, which no file
    can be written with and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise OCDError(
            f"{where}: character {error.start + 1} is {half}, half of a character (a surrogate "
            "without its other half): repair it or leave it out"
        ) from error
    return text


def _no_utf8(path: Path) -> str:
    """The first line of a file that is not UTF-8, and the byte of the file, from 1 on."""
    before = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number:,}, byte {before + error.start + 1:,} of the file"
            before += len(line)
    return "its last character is cut"


def _separated(path: Path, separator: str, columns: Sequence[str]) -> Iterator[Row]:
    """Fields in quotes may hold separators and line ends; a mark of the byte order is left out.

    An empty line is a row only in a file of one column, where it is an empty text.
    """
    csv.field_size_limit(FIELD_LIMIT)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        head = next(reader, [])
        _check(path, columns, head)
        places = {name: head.index(name) for name in columns}
        number = 0
        for fields in reader:
            if not fields and len(head) > 1:
                continue
            number += 1
            row = fields or [""]
            _check_fields(f"{path}, row {number}", row, head, places, separator)
            yield {name: row[place] for name, place in places.items()}


def _check_fields(
    where: str, row: list[str], head: list[str], places: dict[str, int], separator: str
) -> None:
    """Raises OCDError for a row with more fields than the head, without one that is needed, and for
    quotes in a tsv that may be two texts' own."""
    if len(row) > len(head):
        raise OCDError(
            f"{where}: more fields than the head has; put texts with a {separator!r} in quotes"
        )
    short = [name for name, place in places.items() if place >= len(row)]
    if short:
        raise OCDError(
            f"{where}: there are only {len(row)} of {len(head)} fields, and {short[0]!r} is not there"
        )
    # Many programs write a tsv without quotes: those in it belong to the texts then, and of two texts
    # the first of which begins with one, and the other ends with one, csv makes a single one.
    if separator == "\t" and any("\t" in field and "\n" in field.replace("\r", "\n") for field in row):
        raise OCDError(
            f"{where}: quotes go over a tab and the end of a line: if these are several rows, put each "
            "text in quotes and double the quotes inside it; if it is one text, give a csv"
        )


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """An object in each line; empty lines are not counted."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate((line for line in file if line.strip()), 1):
            try:
                row = json.loads(line, object_pairs_hook=_Fields)
            except ValueError as error:
                raise OCDError(f"{path}, row {number}: not a line of JSON ({error})") from error
            if not isinstance(row, _Fields):
                raise OCDError(f'{path}, row {number}: not an object, like {{"text": ...}}')
            _check(path, columns, [name for name, _ in row], f", row {number}")
            values = dict(row)
            found = {name: values[name] for name in columns}
            yield {name: dict(of) if isinstance(of, _Fields) else of for name, of in found.items()}


class _Fields(list[tuple[str, Any]]):
    """The fields of an object of JSON, of which several may have one name."""


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
    """Raises OCDError for the first column that is not there, with those that are like it, and for one
    that is there more than once."""
    lacking = [name for name in columns if name not in there]
    if lacking:
        hint = (
            nearest(lacking[0], list(there)) or f"; there are {', '.join(map(repr, there)) or 'none'}"
        )
        raise OCDError(f"{path}{where}: no column {lacking[0]!r}{hint}")
    twice = [name for name in columns if there.count(name) > 1]
    if twice:
        raise OCDError(
            f"{path}{where}: {there.count(twice[0])} columns are called {twice[0]!r}: give each a name "
            "of its own"
        )
