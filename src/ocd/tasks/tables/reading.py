"""A file of rows and columns -> a table of numbers, text, truth values and dates, or one clear line."""

from __future__ import annotations

import bz2
import decimal
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocd.errors import OCDError

if TYPE_CHECKING:
    import pandas as pd

TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SEPARATORS = (",", ";", "\t", "|")
# 1.234,5 and 12,5: what is a number where columns are separated by semicolons.
_DECIMAL_COMMA = r"\s*[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?\s*"


def read_table(name: str, data_dir: Path | None) -> pd.DataFrame:
    """The file, from `data_dir` first. Raises OCDError where it is not there or is no table."""
    try:
        import pandas as pd
    except ImportError as error:
        raise OCDError("tables need pandas: pip install 'ocd-torch[tabular]'") from error
    path = _find(name, data_dir)
    endings = [suffix.lower() for suffix in path.suffixes]
    packed = endings.pop() if endings and endings[-1] in COMPRESSED else ""
    suffix = endings[-1] if endings else ""
    if suffix not in TEXT and (suffix not in PARQUET or packed):
        raise OCDError(f"{path}: a table is a .csv, .tsv or .parquet file, csv also as .csv.gz")
    try:
        table = pd.read_parquet(path) if suffix in PARQUET else _read_text(path, packed)
    except OCDError:
        raise
    except UnicodeError as error:
        raise OCDError(
            f"{path} is not text in UTF-8 ({error}): save it as UTF-8, as spreadsheets offer"
        ) from error
    except Exception as error:  # of many parsers; the first line says enough
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"{path} cannot be read as a table ({reason})") from error
    table.columns = [str(column).strip() for column in table.columns]
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise OCDError(f"{path} has two columns called {repeated[0]!r}: rename one of them")
    if table.empty:
        raise OCDError(f"{path}: there are no rows")
    return table.apply(lambda column: _plain(column, path)).reset_index(drop=True)


def _find(name: str, data_dir: Path | None) -> Path:
    path = Path(name)
    if data_dir is not None and (data_dir / path).is_file():
        path = data_dir / path
    if path.is_dir():
        raise OCDError(f"{path} is a folder: name the file in it")
    if not path.is_file():
        where = f" (nor in {data_dir})" if data_dir is not None else ""
        raise OCDError(f"{name}: no such file{where}")
    return path


def _read_text(path: Path, packed: str) -> pd.DataFrame:
    """Separated by what the first line has most of."""
    import pandas as pd

    with COMPRESSED.get(packed, open)(path, "rt", encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(SEPARATORS, key=header.count)
    table = pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", skipinitialspace=True, low_memory=False
    )  # fmt: skip
    if not isinstance(table.index, pd.RangeIndex):  # pandas took what is too much as an index
        raise OCDError(f"{path}: rows have more fields than the first line has names: give each a name")
    return table.apply(_with_decimal_comma) if separator == ";" else table


def _with_decimal_comma(column: pd.Series) -> pd.Series:
    import pandas as pd

    known = column.dropna()
    if known.empty or not pd.api.types.is_string_dtype(known):
        return column
    if not known.str.fullmatch(_DECIMAL_COMMA).all():
        return column
    return column.str.replace(".", "").str.replace(",", ".").astype("float64")


def _plain(column: pd.Series, path: Path) -> pd.Series:
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
    odd = next((value for value in column if not _is_one_value(value)), None)
    if odd is not None:
        raise OCDError(
            f"{path}: column {column.name!r} holds a {type(odd).__name__}, where one value a row is "
            f"needed: --set drop={column.name}"
        )
    return column.map(lambda value: float(value) if isinstance(value, decimal.Decimal) else value)


def _is_one_value(value: object) -> bool:
    return not hasattr(value, "__len__") or isinstance(value, str | bytes)
