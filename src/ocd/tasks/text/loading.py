"""From files of texts and labels to tokens and class numbers, and the texts that a seed draws."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ocd.data import Examples, seeded
from ocd.errors import OCDError
from ocd.tasks.task import TaskData, check_count
from ocd.tasks.text.bodies import describe_body, load_body
from ocd.tasks.text.options import TextData, TextOptions
from ocd.tasks.text.reader import TextReader
from ocd.tasks.text.reading import rows_of, text_of
from ocd.tasks.text.tokens import Tokenizer, row_key

WIDEST = 64
"""Tokens to which rows are filled up at least: most new texts are as wide as the run's then."""


@dataclass(frozen=True)
class Labelled:
    """Texts of a file, with their labels as a csv has them and the names of these. `empty`: the numbers
    of rows with an empty text."""

    path: Path
    texts: list[str]
    labels: list[str]
    names: dict[str, str]
    empty: list[int]


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
    empty: list[int] = []
    columns = [text, label, "label_text"] if named else [text, label]
    for number, row in rows_of(path, columns):
        where = f"{path}, row {number}"
        found, of = text_of(row, text, where), row[label]
        if not found.strip():
            empty.append(number)
            if leave_out:
                continue
        if of is None or of == "" or of != of:
            raise OCDError(f"{where}: there is no label")
        if not isinstance(of, str | int | float):
            raise OCDError(f"{where}: label {of!r} is neither a text nor a number")
        # As a csv has it, so that files of two kinds agree.
        of = str(int(of)) if isinstance(of, float) and of.is_integer() else str(of).strip()
        texts.append(found)
        labels.append(of)
        names.setdefault(of, str(row["label_text"]) if named else of)
    if not texts:
        raise OCDError(f"{path}: there are no rows with a text")
    return Labelled(path, texts, labels, names, empty)


def make_data(train: Labelled, test: Labelled, options: TextOptions) -> TextData:
    """Tokens and class numbers of both files. Raises OCDError for one class alone, and for a label that
    only the test file has."""
    classes = _classes(train)
    check_count(options.test_size, len(test.texts), "test_size")
    wanted = slice(0, options.test_size)
    for number, label in enumerate(test.labels, 1):
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
    notes = [f"the body is {name}"]
    for file, done in ((train, "left out"), (test, "answered all the same")):
        if file.empty:
            listed = ", ".join(map(str, file.empty[:5]))
            notes.append(
                f"{len(file.empty)} texts of {file.path.name} are empty and were {done}: row {listed}"
            )
    for tokens, file in ((ours, train), (theirs, test)):
        if tokens.cut:
            notes.append(
                f"{len(tokens.cut)} texts of {file.path.name} are longer than the body's "
                f"{tokenizer.limit} tokens and were cut (the first: row {tokens.cut[0] + 1})"
            )
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


def _classes(train: Labelled) -> list[str]:
    """Labels in order: numbers by size, texts by letter. Raises OCDError for fewer than two."""
    numbers = all(label.lstrip("-").isdecimal() for label in train.names)
    classes = sorted(train.names, key=int if numbers else None)
    if len(classes) < 2:
        raise OCDError(
            f"{train.path}: all rows have the label {classes[0]!r}: there is nothing to learn"
        )
    return classes


def _wide(rows: Tensor, width: int) -> Tensor:
    """Rows of tokens filled up with nothing, so that training and test texts have one shape."""
    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))
