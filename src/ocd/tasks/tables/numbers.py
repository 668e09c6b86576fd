"""How the numbers of a column are written: 1234.5, $1,234.50, 1 234,50, 12 %, yes or no.

    written = find_number_format(training_column)   # None: these are no numbers
    written.read(column)                            # other rows, read alike

One way of writing is found on the training rows, and all rows are read by it, those to come too. A
value alone does not say whether 1,234 is a thousand or one; a column mostly does.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.tasks.tables.dates import is_placeholder

if TYPE_CHECKING:
    import pandas as pd

CURRENCIES = (
    *("$", "€", "£", "¥", "₹", "₩", "₽", "₺", "₪", "฿", "R$", "US$", "A$", "C$", "HK$", "NZ$", "S$"),
    *("kr", "zł", "Fr.", "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF"),
    *("ILS", "INR", "JPY", "KRW", "MXN", "NOK", "NZD", "PLN", "RON", "RUB", "SEK", "SGD", "THB", "TRY"),
    *("USD", "ZAR"),
)
"""What is known as a currency: three capitals alone may be anything."""
_SIGN = f"(?:{'|'.join(map(re.escape, CURRENCIES))})"
_AROUND = re.compile(
    rf"(?P<minus>[-+−]?)\s*(?P<before>{_SIGN}?)\s*(?P<inner>[-+−]?)\s*"
    rf"(?P<body>\d[\d.,'’\s]*|\.\d+)\s*(?P<after>{_SIGN}?)\s*(?P<percent>%?)"
)
_GROUP_MARKS = {",": ",", ".": "[.]", " ": r"[ \u00a0\u2009\u202f]", "'": "['’]"}
WORDS = (("true", "false"), ("yes", "no"), ("y", "n"), ("on", "off"))
"""Pairs of words that are read as 1 and 0."""


@dataclass(frozen=True)
class NumberFormat:
    """`decimal`: the mark before decimals. `group`: the mark between thousands, "" for none.
    `currency`: the sign or code that amounts have, or may have. `percent`: whether they are in per
    cent, which they stay. `words`: the pair that is read as 1 and 0, in place of digits."""

    decimal: str = "."
    group: str = ""
    currency: str = ""
    percent: bool = False
    words: tuple[str, ...] = ()

    def read(self, column: pd.Series) -> pd.Series:
        """As floating point; missing where a value is missing or not written this way."""
        import pandas as pd

        if pd.api.types.is_numeric_dtype(column):
            return as_numbers(column)
        if self != NumberFormat():
            return pd.to_numeric(column.map(self._one), errors="coerce").astype("float64")
        plain = as_numbers(column)
        odd = unreadable(column, plain)  # a minus as typesetters have it, or brackets
        return plain.mask(odd, column[odd].map(self._one).astype("float64")) if odd.any() else plain

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"words": list(self.words)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumberFormat:
        """As `as_dict` gave it."""
        return cls(**values | {"words": tuple(values["words"])})

    def _one(self, value: Any) -> float | None:
        if not isinstance(value, str):
            return _float(value)
        text = value.strip()
        if self.words:
            word = text.lower()
            return float(word == self.words[0]) if word in self.words else None
        found = _parts(text)
        if found is None or found.percent != self.percent or found.currency not in ("", self.currency):
            return None
        if not _body(self.decimal, self.group).fullmatch(found.body):
            return None
        digits = re.sub(_GROUP_MARKS[self.group], "", found.body) if self.group else found.body
        return found.sign * float(digits.replace(self.decimal, "."))


@dataclass(frozen=True)
class _Parts:
    """A number without what stands around it."""

    sign: float
    body: str
    currency: str
    percent: bool


def _parts(text: str) -> _Parts | None:
    """Of an amount; in brackets, as accountants write it, it is negative."""
    negative = text.startswith("(") and text.endswith(")")
    found = _AROUND.fullmatch(text[1:-1].strip() if negative else text)
    if found is None or (found["before"] and found["after"]) or (found["minus"] and found["inner"]):
        return None
    minus = (found["minus"] or found["inner"]) in ("-", "−")
    if negative and minus:
        return None
    currency = found["before"] or found["after"]
    sign = -1.0 if negative or minus else 1.0
    return _Parts(sign, found["body"].strip(), currency, bool(found["percent"]))


def _body(decimal: str, group: str) -> re.Pattern[str]:
    """Digits with these marks; thousands may be written without their mark."""
    whole = r"\d{1,300}"
    if group:
        whole = rf"(?:[1-9]\d{{0,2}}(?:{_GROUP_MARKS[group]}\d{{3}})+|\d{{1,300}})"
    return re.compile(rf"(?:{whole}(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+)")


def _float(value: Any) -> float | None:
    """Of what is a number or a truth value already."""
    if not isinstance(value, bool | np.bool_ | int | float | np.number):
        return None
    try:
        return float(value)
    except OverflowError:  # digits beyond what floating point has
        return None


def find_number_format(column: pd.Series, comma_first: bool = False) -> NumberFormat | None:
    """How a column's numbers are written, where all of its values are such, missing ones aside.

    `comma_first`: whether 1,234 is one and 234 thousandths where nothing tells, as in files whose
    fields are separated by semicolons; else it is a thousand.
    """
    from pandas.api import types

    if types.is_bool_dtype(column):
        return NumberFormat(words=WORDS[0])
    if types.is_numeric_dtype(column):
        return NumberFormat()
    if types.is_datetime64_any_dtype(column):
        return None
    known = column.dropna()
    known = known[~known.map(is_placeholder).astype(bool)]
    if not len(known):
        return None
    texts = {str(value).strip() for value in known.unique()}
    lowered = {text.lower() for text in texts}
    for pair in WORDS:
        if lowered <= {*pair}:
            return NumberFormat(words=pair)
    thousands = comma_first and may_be_thousands(known)
    if not thousands and as_numbers(known).notna().all():
        return NumberFormat()
    return _format_of(texts, comma_first)


def may_be_thousands(column: pd.Series) -> bool:
    """Whether text has dots before three digits alone, none of them behind a zero: 1.234 is a thousand
    where a comma stands before decimals."""
    known = column.dropna().astype(str).str.strip()
    whole = known.str.fullmatch(r"[-+]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d{1,3})")
    return bool(len(known) and whole.all() and known.str.contains(".", regex=False).any())


def _format_of(texts: set[str], comma_first: bool) -> NumberFormat | None:
    """Of text that is not plain numbers."""
    parts = [_parts(text) for text in texts]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    percent = {part.percent for part in found}
    currencies = {part.currency for part in found} - {""}
    if len(percent) > 1 or len(currencies) > 1:  # 12 % and 0.12 are not one unit, nor are $ and €
        return None
    currency = currencies.pop() if currencies else ""
    commas = [(",", ""), (",", "."), (",", " "), (",", "'")]
    points = [(".", ""), (".", ","), (".", " "), (".", "'")]
    for decimal, group in [*commas, *points] if comma_first else [*points, *commas]:
        pattern = _body(decimal, group)
        if group == "." and not comma_first and not any("," in part.body for part in found):
            continue  # a version or an address, as likely as thousands
        if all(pattern.fullmatch(part.body) for part in found):
            return NumberFormat(decimal, group, currency, percent.pop())
    return None


def as_numbers(column: pd.Series) -> pd.Series:
    """As floating point; missing where a value is no plain number. Truth values are 0 and 1."""
    import pandas as pd

    plain = column if pd.api.types.is_numeric_dtype(column) else column.map(_as_float)
    try:
        return pd.to_numeric(plain, errors="coerce").astype("float64")
    except OverflowError:  # digits beyond what floating point has
        short = plain.map(lambda value: value if len(str(value)) < 300 else None)
        return pd.to_numeric(short, errors="coerce").astype("float64")


def _as_float(value: Any) -> Any:
    """A truth value as a number; to_numeric would take a date for its nanoseconds."""
    if isinstance(value, bool | np.bool_):
        return float(value)
    return value if isinstance(value, str | int | float | np.number) else None


def unreadable(column: pd.Series, numbers: pd.Series) -> pd.Series:
    """Which values are there but could not be read, signs for a missing value aside."""
    return column.notna() & numbers.isna() & ~column.map(is_placeholder).astype(bool)
