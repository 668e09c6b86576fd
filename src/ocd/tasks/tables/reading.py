"""A file of rows and columns -> a table of numbers, text, truth values and dates, or one clear line."""

from __future__ import annotations

import bz2
import csv
import datetime
import decimal
import gzip
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocd.errors import OCDError, install
from ocd.tasks.tables.kinds import COMMA_FIRST
from ocd.tasks.tables.numbers import may_be_thousands

if TYPE_CHECKING:
    import pandas as pd

TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SEPARATORS = (",", ";", "\t", "|")


def read_table(name: str, data_dir: Path | None, keep_index: bool = False) -> pd.DataFrame:
    """The file, from `data_dir` first. `keep_index`: an index that a parquet file has beside its
    columns, but for row numbers, is the first column. Raises OCDError where it is not there or is
    no table."""
    pandas = _pandas()
    path = find_table(name, data_dir)
    suffix, packed = _kind_of(path)
    with _clear_errors(path):
        table = pandas.read_parquet(path) if suffix in PARQUET else _read_text(path, packed)
    table = _with_names(table, path)
    if keep_index:
        _insert_index(table)
    if table.empty:
        raise OCDError(f"{path}: there are no rows")
    attributes = dict(table.attrs)
    table = table.apply(lambda column: plain_column(column, path)).reset_index(drop=True)
    table.attrs |= attributes
    return table


def stretches_of_table(path: Path, size: int, start: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """Some rows of a file at a time, from row `start` on, with the number of rows before them. Text
    stays text: a few rows do not say what a column holds. Raises OCDError as `read_table` does."""
    path = find_table(str(path), None)
    suffix, packed = _kind_of(path)
    first = 0
    with _clear_errors(path):
        parts = _parquet_parts(path, size) if suffix in PARQUET else _text_parts(path, packed, size)
        for table in parts:
            stretch, first = first, first + len(table)
            if first <= start or not len(table):
                continue
            table = _with_names(table, path).reset_index(drop=True)
            if stretch < start:
                table, stretch = table.iloc[start - stretch :].reset_index(drop=True), start
            yield stretch, table.apply(lambda column: plain_column(column, path))
    if not first:
        raise OCDError(f"{path}: there are no rows")


def _insert_index(table: pd.DataFrame) -> None:
    """As the first column, if it is more than row numbers without a name."""
    import pandas as pd

    index = table.index
    counts = index.name is None and pd.api.types.is_numeric_dtype(index)
    if counts or isinstance(index, pd.MultiIndex):
        return
    name = str(index.name or "index")
    while name in table.columns:
        name = f"{name} of rows"
    table.insert(0, name, index)


def as_frame(data: Any, keep_index: bool = False) -> pd.DataFrame:
    """Rows that a program has at hand: a data frame, a dict of columns or of one row, or a list of
    dicts. `keep_index`: as of `read_table`. Raises OCDError for anything else."""
    pandas = _pandas()
    if isinstance(data, dict) and all(_is_one_value(value) for value in data.values()):
        data = [data]
    if not isinstance(data, pandas.DataFrame):
        if not isinstance(data, dict | list | tuple):
            raise OCDError(
                f"a {type(data).__name__} is no table: give a data frame, or dicts of its rows"
            )
        try:
            data = pandas.DataFrame(data)
        except (ValueError, TypeError) as error:
            raise OCDError(f"this makes no data frame ({error})") from error
    if data.empty:
        raise OCDError("there are no rows to predict")
    table = _with_names(data.copy(), "the frame")
    if keep_index:
        _insert_index(table)
    return table.apply(lambda column: plain_column(column, "the frame")).reset_index(drop=True)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise OCDError(f"tables need pandas: {install('tabular')}") from error
    return pandas


def _kind_of(path: Path) -> tuple[str, str]:
    """The ending of a table's name, and that of its compression; "" for none."""
    endings = [suffix.lower() for suffix in path.suffixes]
    packed = endings.pop() if endings and endings[-1] in COMPRESSED else ""
    suffix = endings[-1] if endings else ""
    if suffix not in TEXT and (suffix not in PARQUET or packed):
        raise OCDError(f"{path}: a table is a .csv, .tsv or .parquet file, csv also as .csv.gz")
    return suffix, packed


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """What readers raise, in one line."""
    try:
        yield
    except (OCDError, GeneratorExit):
        raise
    except UnicodeError as error:
        raise OCDError(
            f"{path} is not text in UTF-8 ({error}): save it as UTF-8, as spreadsheets offer"
        ) from error
    except Exception as error:  # of many parsers; the first line says enough
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"{path} cannot be read as a table ({reason})") from error


def _with_names(table: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    table.columns = [str(column).strip() for column in table.columns]
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise OCDError(f"{path} has two columns called {repeated[0]!r}: rename one of them")
    return table


def find_table(name: str, data_dir: Path | None) -> Path:
    """The file itself, in `data_dir` first. Raises OCDError where there is none."""
    path = Path(name)
    if data_dir is not None and (data_dir / path).is_file():
        path = data_dir / path
    if path.is_dir():
        raise OCDError(f"{path} is a folder: name the file in it")
    if not path.is_file():
        where = f" (nor in {data_dir})" if data_dir is not None else ""
        raise OCDError(f"{name}: no such file{where}")
    return path


def first_line(path: Path) -> list[str]:
    """What stands where names should, of a text file; [] of a parquet file, whose columns have names.
    Raises OCDError as `read_table` does."""
    suffix, packed = _kind_of(path)
    if suffix in PARQUET:
        return []
    with _clear_errors(path):
        return _header(path, packed)[1]


def _header(path: Path, packed: str) -> tuple[str, list[str], bool]:
    """What the first line has most of, the names between, and whether it has none of it: a file of one
    column."""
    with COMPRESSED.get(packed, open)(path, "rt", encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(SEPARATORS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    return separator, names, separator not in header


def _separator(path: Path, packed: str) -> tuple[str, bool]:
    """What lies between fields, and whether there is but one."""
    separator, names, one_column = _header(path, packed)
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise OCDError(f"{path} has two columns called {repeated[0]!r}: rename one of them")
    return separator, one_column


def _read_text(path: Path, packed: str) -> pd.DataFrame:
    import pandas as pd

    separator, _ = _separator(path, packed)
    table = pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, low_memory=False
    )  # fmt: skip
    _check_fields(table, path)
    if separator == ";":
        text = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, dtype=str
        )  # fmt: skip
        for name in table.select_dtypes("number"):
            if may_be_thousands(text[name]):
                table[name] = text[name].astype(object)
    table.attrs[COMMA_FIRST] = separator == ";"
    return table


def _text_parts(path: Path, packed: str, size: int) -> Iterator[pd.DataFrame]:
    import pandas as pd

    separator, one_column = _separator(path, packed)
    with pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, dtype=str, chunksize=size,
        skip_blank_lines=not one_column,  # there an empty line is a row
    ) as parts:  # fmt: skip
        for table in parts:
            _check_fields(table, path)
            yield table


def _parquet_parts(path: Path, size: int) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(size):
            # 2**60 + 1 has no floating point, which whole numbers with missing ones would become.
            yield batch.to_pandas(integer_object_nulls=True, ignore_metadata=True)


def _check_fields(table: pd.DataFrame, path: Path) -> None:
    import pandas as pd

    if not isinstance(table.index, pd.RangeIndex):  # pandas took what is too much as an index
        raise OCDError(f"{path}: rows have more fields than the first line has names: give each a name")


def plain_column(column: pd.Series, path: Path | str) -> pd.Series:
    """Numbers, truth values, timestamps, or objects that are these or text; OCDError for others."""
    import pandas as pd

    types = pd.api.types
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if types.is_timedelta64_dtype(column):
        return column.dt.total_seconds()
    if types.is_complex_dtype(column):
        raise OCDError(f"{path}: column {column.name!r} holds complex numbers: split or drop it")
    if isinstance(column.dtype, pd.CategoricalDtype | pd.IntervalDtype):
        column = column.astype(object)
    if types.is_datetime64_any_dtype(column):
        return column
    if types.is_extension_array_dtype(column) and types.is_numeric_dtype(column):
        missing = column.isna().any()  # Int64, Float64 and boolean have a missing value of their own
        if types.is_bool_dtype(column):
            return column.astype(object).where(column.notna(), None) if missing else column.astype(bool)
        return column.astype("float64" if missing else column.dtype.numpy_dtype)
    if types.is_numeric_dtype(column):
        return column
    column = column.astype(object).where(column.notna(), None)
    known = column.dropna()
    if len(known) and all(type(value) is datetime.date for value in known):
        return pd.to_datetime(column)
    odd = next((value for value in column if not _is_one_value(value)), None)
    if odd is not None:
        raise OCDError(
            f"{path}: column {column.name!r} holds a {type(odd).__name__}, where one value a row is "
            f"needed: --set drop={column.name}"
        )
    if any(isinstance(value, decimal.Decimal) for value in known):
        return column.map(lambda value: float(value) if isinstance(value, decimal.Decimal) else value)
    return column


def _is_one_value(value: object) -> bool:
    return not hasattr(value, "__len__") or isinstance(value, str | bytes)
