"""New texts: a csv, tsv, parquet or jsonl file, a list of texts, or a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError, nearest
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.text.reading import Row, is_missing, rows_of, text_of, whole
from ocd.tasks.text.tokens import Tokenizer


@dataclass(frozen=True)
class TextReader:
    """`body`: facts of the sentence encoder, its tokenizer among them. `classes`: their names.
    `column`: of the texts. `width`: tokens to which rows are filled up. `id_column`: whose values name
    the rows; their numbers from 1 on where it is None."""

    body: dict[str, Any]
    classes: tuple[str, ...]
    column: str
    width: int
    id_column: str | None = None

    kind: ClassVar[str] = "texts"
    takes: ClassVar[str] = (
        "a csv, tsv, parquet or jsonl file with a column of texts, or a list of texts"
    )

    @property
    def answer(self) -> Answer:
        """The classes."""
        return Answer("classes", self.classes)

    @property
    def digest(self) -> str | None:
        """That of the body before it was trained; None of a run that an earlier version made."""
        found: str | None = self.body.get("digest")
        return found

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The run's own tokenizer, from its folder; loaded when the first text is read."""
        return Tokenizer(self.body)

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The texts of a file; other columns are not looked at."""
        columns = [self.column] if self.id_column is None else [self.column, self.id_column]
        rows = rows_of(source, columns, start)
        while part := list(islice(rows, size)):
            texts = [text_of(row, self.column, f"{source}, row {number}") for number, row in part]
            own = self.id_column
            ids = [
                str(number) if own is None else whole(str(row[own]), f"{source}, row {number}")
                for number, row in part
            ]
            yield self._tokens(texts, ids)

    def take(self, data: Any) -> NewRows:
        """Texts as a list, one text, a data frame with the column of the texts, or dictionaries.

        Raises OCDError for anything else, and where the column is not there."""
        texts = [text_of(row, self.column, f"text {n}") for n, row in enumerate(self._rows(data), 1)]
        if not texts:
            raise OCDError("there are no texts to predict")
        return self._tokens(texts, [str(number + 1) for number in range(len(texts))])

    def _rows(self, data: Any) -> Iterator[Row]:
        """Each text of what a program has at hand, in the column of the texts."""
        if isinstance(data, Mapping):
            self._check_column(data, "the dictionary")
            data = data[self.column]
            data = [data] if is_missing(data) else data
        elif hasattr(data, "columns"):
            self._check_column(data.columns, "the frame")
            data = data[self.column]
            if hasattr(data, "columns"):
                raise OCDError(f"the frame has several columns {self.column!r}")
        if isinstance(data, str):
            data = [data]
        if isinstance(data, bytes | Set) or not isinstance(data, Iterable):
            raise OCDError(
                f"what was given is of the type {type(data).__name__}: give a text, a list of texts, "
                f"or a data frame with the column {self.column!r}"
            )
        for number, one in enumerate(data, 1):
            if isinstance(one, Mapping):
                self._check_column(one, f"text {number}")
            yield dict(one) if isinstance(one, Mapping) else {self.column: one}

    def _check_column(self, there: Iterable[Any], where: str) -> None:
        """Raises OCDError where the column of the texts is not among these."""
        names = [str(name) for name in there]
        if self.column not in names:
            hint = nearest(self.column, names) or f"; there are {', '.join(map(repr, names)) or 'none'}"
            raise OCDError(f"{where}: no column {self.column!r}{hint}")

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """None: the texts are the user's."""
        return False

    def state(self) -> State:
        """All but the column of the ids."""
        facts = {"body": self.body, "classes": list(self.classes), "column": self.column}
        return facts | {"width": self.width}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> TextReader:
        """As `state` gave it."""
        return cls(facts["body"], tuple(facts["classes"]), facts["column"], facts["width"])

    def _tokens(self, texts: list[str], ids: list[str]) -> NewRows:
        """As wide as the run's own texts, or as the longest of these: draws do not depend on it."""
        tokens = self._tokenizer(texts, self.width)
        remarks = [(place, "the text is empty") for place, text in enumerate(texts) if not text.strip()]
        remarks += [(place, f"longer than {self._tokenizer.limit} tokens: cut") for place in tokens.cut]
        return NewRows(ids, tokens.rows, remarks)
