"""From files of texts and labels to tokens and class numbers, and the texts that a seed draws."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.data import Examples, seeded
from ocd.errors import OCDError
from ocd.tasks.task import TaskData, check_count
from ocd.tasks.text.bodies import PUBLISHED, describe_body, is_published, load_body
from ocd.tasks.text.options import TextData, TextOptions
from ocd.tasks.text.reader import TextReader
from ocd.tasks.text.reading import is_missing, rows_of, text_of, whole
from ocd.tasks.text.tokens import Tokenizer, Tokens, row_key

WIDEST = 64
"""Tokens to which rows are filled up at least: most new texts are as wide as the run's then."""
WHOLE_NUMBER = re.compile(r"([+-]?)(0|[1-9][0-9]{0,17})(\.0*)?")
"""A label that is a whole number; 007 is a name."""
NO_LABELS = ("nan", "<na>", "nat")
"""Words that programs write where a label is missing, in lower case."""


@dataclass(frozen=True)
class Labelled:
    """Texts of a file, with their labels (`label_of`) and the names of these. `rows`: the number that
    each has in the file, from 1 on. `empty`: those of rows with an empty text, which are `left_out` or
    are among the texts."""

    path: Path
    texts: list[str]
    labels: list[str]
    names: dict[str, str]
    rows: list[int]
    empty: list[int]
    left_out: bool


def read_labelled(
    path: Path, text: str, label: str, *, named: bool = False, leave_out: bool = False
) -> Labelled:
    """All rows of a file. `named`: whether a column `label_text` has the labels' names, as on the hub.
    `leave_out`: rows with an empty text, from which nothing can be learnt.

    Raises OCDError for a missing label, naming the row, and where there is no text.
    """
    texts: list[str] = []
    labels: list[str] = []
    names: dict[str, str] = {}
    rows: list[int] = []
    empty: list[int] = []
    columns = [text, label, "label_text"] if named else [text, label]
    for number, row in rows_of(path, columns):
        where = f"{path}, row {number}"
        found = text_of(row, text, where)
        if not found.strip():
            empty.append(number)
            if leave_out:
                continue
        of = label_of(row[label], where)
        texts.append(found)
        labels.append(of)
        rows.append(number)
        names.setdefault(of, whole(str(row["label_text"]), where) if named else of)
    if not texts:
        raise OCDError(f"{path}: there are no rows with a text")
    return Labelled(path, texts, labels, names, rows, empty, leave_out)


def label_of(value: Any, where: str) -> str:
    """A label in one way of writing, so that files of several kinds agree: 1, 1.0 and "1" are "1", true
    and "True" are "true"; other texts are as they are, without blanks around them.

    Raises OCDError where there is no label, also where only a word says so (nan), and for what is
    neither a text nor a number.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise OCDError(f"{where}: there is no label")
    if not isinstance(value, str | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise OCDError(f"{where}: label {value!r} is neither a text nor a number")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    label = whole(str(value).strip(), where)
    if label.lower() in NO_LABELS:
        raise OCDError(
            f"{where}: there is no label ({label!r} is how programs write a missing one; if it is a "
            "class, give it another name)"
        )
    if number := WHOLE_NUMBER.fullmatch(label):
        return str(int(number[1] + number[2]))
    return label.lower() if label.lower() in ("true", "false") else label


def make_data(train: Labelled, test: Labelled, options: TextOptions) -> TextData:
    """Tokens and class numbers of both files. Raises OCDError for one class alone, and for a label that
    only the test file has."""
    classes = _classes(train)
    check_count(options.test_size, len(test.texts), "test_size")
    wanted = slice(0, options.test_size)
    for number, label in zip(test.rows, test.labels, strict=True):
        if label not in classes:
            raise OCDError(
                f"{test.path}, row {number}: label {label!r} is in no training row; there are "
                f"{', '.join(repr(known) for known in classes)}"
            )
    body, name = load_body(options.body)
    facts = describe_body(body, name)
    tokenizer = Tokenizer(facts)
    ours, theirs = tokenizer(train.texts), tokenizer(test.texts[wanted])
    width = min(tokenizer.limit, max(WIDEST, ours.rows.shape[1], theirs.rows.shape[1]))
    names = tuple(train.names[label] for label in classes)
    notes = [
        f"the body is {name} (weights {facts['digest']})",
        *_empty_notes(train),
        *_empty_notes(test),
    ]
    drawn = "" if options.shots is None else "; of the file's texts each seed draws few"
    notes += _cut_notes(train, ours, tokenizer.limit, drawn)
    notes += _cut_notes(test, theirs, tokenizer.limit)
    rows = [_wide(tokens.rows, width) for tokens in (ours, theirs)]
    numbers = {label: place for place, label in enumerate(classes)}
    targets = [
        torch.tensor([numbers[label] for label in labels])
        for labels in (train.labels, test.labels[wanted])
    ]
    return TextData(
        Examples(rows[0], targets[0]),
        Examples(rows[1], targets[1]),
        reader=TextReader(facts, names, options.text, width),
        notes=tuple(notes),
        stand_in="" if is_published(name) else f"the body is {name} instead of {PUBLISHED}",
        body=facts,
        classes=list(names),
        texts={
            row_key(row): text
            for file, these in ((train, rows[0]), (test, rows[1]))
            for row, text in zip(these, file.texts, strict=False)
        },
    )


def draw_shots(options: TextOptions, data: TaskData, seed: int) -> TaskData:
    """The data with `options.shots` training texts of each class, drawn by the seed; all of one that
    has fewer."""
    assert isinstance(data, TextData)
    if options.shots is None:
        return data
    labels = data.train.targets
    generator = seeded(seed, 41)
    chosen: list[Tensor] = []
    for number in range(len(data.classes)):
        of_class = (labels == number).nonzero()[:, 0]
        chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[: options.shots]])
    few = torch.cat(chosen)
    few = few[torch.randperm(len(few), generator=generator)]
    return dataclasses.replace(data, train=Examples(*data.train.rows(few)))


def _empty_notes(file: Labelled) -> list[str]:
    """A line where texts of a file are empty."""
    if not file.empty:
        return []
    done = "left out" if file.left_out else "answered all the same"
    listed = ", ".join(map(str, file.empty[:5]))
    return [f"{len(file.empty)} texts of {file.path.name} are empty and were {done}: row {listed}"]


def _cut_notes(file: Labelled, tokens: Tokens, limit: int, more: str = "") -> list[str]:
    """A line where texts of a file are longer than the body takes. `tokens`: of its first texts."""
    if not tokens.cut:
        return []
    return [
        f"{len(tokens.cut):,} of {len(tokens.rows):,} texts of {file.path.name} are longer than the "
        f"body's {limit} tokens and were cut (the first: row {file.rows[tokens.cut[0]]}){more}"
    ]


def _classes(train: Labelled) -> list[str]:
    """Labels in order: numbers by size, texts by letter. Raises OCDError for fewer than two."""
    numbers = all(WHOLE_NUMBER.fullmatch(label) for label in train.names)
    classes = sorted(train.names, key=int if numbers else None)
    if len(classes) < 2:
        raise OCDError(
            f"{train.path}: all rows have the label {classes[0]!r}: there is nothing to learn"
        )
    return classes


def _wide(rows: Tensor, width: int) -> Tensor:
    """Rows of tokens filled up with nothing, so that training and test texts have one shape."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))
