"""A user's file -> the examples of a table: what is read as what, and which rows train and test."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ocd.data import Examples, as_groups, some_of
from ocd.errors import OCDError, nearest
from ocd.tasks.reader import Answer
from ocd.tasks.tables.features import Features
from ocd.tasks.tables.kinds import (
    COMMA_FIRST,
    check_kinds,
    class_of,
    name_of,
    note_on_numbers,
    notes_on_infinite,
)
from ocd.tasks.tables.leaks import find_leaks
from ocd.tasks.tables.numbers import as_numbers, find_number_format
from ocd.tasks.tables.options import TableData, TableOptions
from ocd.tasks.tables.reader import TableReader
from ocd.tasks.tables.reading import read_table
from ocd.tasks.tables.targets import check_target, read_targets
from ocd.tasks.task import first_examples

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS, LEAST_TRAINED, LEAST_TESTED = 50, 30, 5
LEAST_STEPS = 100  # of a 32-bit number, that a target's standard deviation must span


def load(options: TableOptions, data_dir: Path | None) -> TableData:
    """Features (N, D) as the training rows say; targets (N, 1) in their own unit, or classes (N,)."""
    if options.path is None or options.target is None:
        missing = "path" if options.path is None else "target"
        what = "a csv, tsv or parquet file" if missing == "path" else "the column to predict"
        raise OCDError(f"no {missing} is given: --set {missing}=..., {what}")
    target = options.target.strip()
    table = _without_dropped(read_table(options.path, data_dir), target, options)
    table = table[table[target].notna()]
    if table.empty:
        raise OCDError(f"{options.path}: the target {target!r} is missing in all rows")
    _check_count(len(table), LEAST_ROWS, f"{options.path} has", "rows with a target")
    check_target(table[target], options.path, options.kind)
    train, test = _parts(table, target, options, data_dir)
    train, test, notes = _with_numbers(train, test, target, options)
    *targets, names = read_targets(train[target], test[target], options.kind)
    if options.kind == "regression":
        _check_spread(train[target], options.path)
    as_categories = _named(table, options.categories, "categories", options.path)
    together = [options.group] if options.group else []
    rows = train.drop(columns=[target, *together])
    features = Features.fit(rows, options.max_categories, options.path, as_categories)
    check_kinds(features.columns, test, options.test_path or options.path)
    made = [
        Examples(torch.from_numpy(features(part)), values)
        for part, values in zip((train, test), targets, strict=True)
    ]
    answer = Answer("classes", tuple(names)) if names else Answer("number", (target,))
    used = first_examples(made[0], options.train_size, "train_size")
    data = TableData(
        used,
        first_examples(made[1], options.test_size, "test_size"),
        num_classes=len(names),
        reader=TableReader(features, answer),
        notes=tuple(notes + features.columns.notes + notes_on_infinite(features.columns, train, test)),
        groups=as_groups(_group_labels(train, options), len(used)),
        test_together=_test_groups(test, options),
        warnings=tuple(
            find_leaks(train, test, target, options.kind, features.columns)
            + _unknown_groups(test, options)
        ),
    )
    _check_count(len(data.train), LEAST_TRAINED, "train_size leaves", "rows to train on")
    return data


def _without_dropped(table: pd.DataFrame, target: str, options: TableOptions) -> pd.DataFrame:
    path = options.path or ""
    _check_column(table, target, "target", path)
    if options.group is not None:
        _check_column(table, options.group, "group", path)
    if options.group is not None and options.group in _named(table, options.drop, "drop", path):
        raise OCDError(
            f"group {options.group!r} is in drop: it is no feature anyway, take it out there"
        )
    if options.group == target:
        raise OCDError(f"group is the target, {target!r}: it says which rows belong together")
    dropped = _named(table, options.drop, "drop", path)
    if target in dropped:
        raise OCDError(f"the target {target!r} is in drop, where columns to leave out are named")
    return table.drop(columns=dropped)


def _named(table: pd.DataFrame, text: str | None, option: str, path: str) -> list[str]:
    """The columns that an option names. Raises OCDError for one that is not there."""
    parts = next(csv.reader([text], skipinitialspace=True)) if text else []
    names = [name.strip() for name in parts if name.strip()]
    for name in names:
        _check_column(table, name, option, path)
    return names


def _with_numbers(
    train: pd.DataFrame, test: pd.DataFrame, target: str, options: TableOptions
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """With a target of numbers, however they are written; and a line that says so."""
    written = find_number_format(train[target], bool(train.attrs.get(COMMA_FIRST)))
    if options.kind != "regression" or written is None:
        return train, test, []
    made = []
    for rows in (train, test):
        numbers = written.read(rows[target])
        numbers = numbers.astype(object).where(numbers.notna(), rows[target])  # named where it is none
        made.append(rows.assign(**{target: numbers.infer_objects()}))
    return made[0], made[1], note_on_numbers(train[target], written)


def _parts(
    table: pd.DataFrame, target: str, options: TableOptions, data_dir: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and to test on."""
    if options.test_path is None:
        return _split(table, target, options)
    test = read_table(options.test_path, data_dir)
    if options.group is not None and options.group in test.columns:
        both = {*_labels(table, options)} & {*_labels(test, options)}
        if both:
            raise OCDError(
                f"{options.test_path}: {len(both)} values of {options.group!r} (group) are in the "
                f"training rows too, such as {min(map(str, both))!r}"
            )
    if lacking := [
        name for name in table.columns if name not in test.columns and name != options.group
    ]:
        raise OCDError(f"{options.test_path} lacks the columns {', '.join(map(repr, lacking))}")
    test = test[test[target].notna()]
    if test.empty:
        raise OCDError(f"{options.test_path}: no row has a target {target!r}")
    return table, test


def _check_count(count: int, least: int, what: str, of: str) -> None:
    if count < least:
        raise OCDError(f"{what} {count} {of}: at least {least} are needed")


def _check_spread(target: pd.Series, path: str) -> None:
    """Raises OCDError where the targets to train on are too alike for numbers of 32 bits."""
    import numpy as np

    numbers = as_numbers(target)
    spread, size = float(numbers.std(ddof=0)), float(numbers.abs().max())
    if numbers.nunique() < 2:
        raise OCDError(
            f"{path}: the target {target.name!r} is constant in the {len(target)} rows to train on, "
            "there is nothing to learn"
        )
    if spread < LEAST_STEPS * float(np.spacing(np.float32(size))):
        raise OCDError(
            f"{path}: the target {target.name!r} varies by about {spread:.2g} at a size of {size:.2g}, "
            "which numbers of 32 bits do not tell apart: subtract its mean, or scale it"
        )


def _check_column(table: pd.DataFrame, name: str, option: str, path: str) -> None:
    if name not in table.columns:
        names = list(table.columns)
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise OCDError(
            f"{path} has no column {name!r} ({option}); there are: {listed}{nearest(name, names)}"
        )


def _split(
    table: pd.DataFrame, target: str, options: TableOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shuffled; each class in its share, and a class of a single row to train on."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    alone = pd.Series(False, index=table.index)
    classes = None
    if options.kind == "classification":
        names = table[target].map(class_of)
        alone = names.map(names.value_counts()) < 2
        classes = names[~alone]
    rest = table[~alone]
    tested = math.ceil(options.test_share * len(rest))  # as scikit-learn has it
    asked = f"{options.path}: test_share {options.test_share:g} leaves"
    _check_count(len(table) - tested, LEAST_TRAINED, asked, "rows to train on")
    _check_count(tested, LEAST_TESTED, asked, "rows to test on")
    if classes is not None:
        count = classes.nunique()
        _check_count(tested, count, asked, f"rows to test on {count} classes")
        _check_count(len(rest) - tested, count, asked, f"rows to train on {count} classes")
    if options.group is not None:
        return _split_by_group(table, options)
    train, test = train_test_split(
        rest, test_size=options.test_share, random_state=options.split_seed, stratify=classes
    )
    return pd.concat([train, table[alone]]), test


def _split_by_group(table: pd.DataFrame, options: TableOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whole groups to test on, about the share of the rows that is asked for."""
    groups = as_groups(_labels(table, options), len(table))
    chance = torch.Generator().manual_seed(options.split_seed)
    wanted = math.ceil(options.test_share * len(table))
    tested = torch.isin(
        torch.arange(len(table)), some_of(torch.arange(len(table)), wanted, chance, groups)
    )
    train, test = table[~tested.numpy()], table[tested.numpy()]
    asked = f"{options.path}: test_share {options.test_share:g} of the groups leaves"
    _check_count(len(train), LEAST_TRAINED, asked, "rows to train on")
    _check_count(len(test), LEAST_TESTED, asked, "rows to test on")
    return train, test


def _group_labels(train: pd.DataFrame, options: TableOptions) -> list[str] | None:
    """Labels of the training rows that are used, which say what belongs together."""
    return None if options.group is None else _labels(train, options)[: options.train_size]


def _test_groups(test: pd.DataFrame, options: TableOptions) -> Tensor | None:
    """Which of the test rows that are used belong together; a file of its own may not say it."""
    if options.group is None or options.group not in test.columns:
        return None
    labels = _labels(test, options)[: options.test_size]
    return as_groups(labels, len(labels), fewest=1)


def _unknown_groups(test: pd.DataFrame, options: TableOptions) -> list[str]:
    """A warning where it is not known which test rows belong together."""
    if options.group is None or options.group in test.columns:
        return []
    return [
        f"{options.test_path} has no column {options.group!r} (group): its rows are taken for evidence "
        "of their own, which makes intervals too narrow where they belong together"
    ]


def _labels(rows: pd.DataFrame, options: TableOptions) -> list[str]:
    """The group of each row by its name; 1, 1.0 and "1 " are one."""
    assert options.group is not None
    column = rows[options.group]
    if column.isna().any():
        raise OCDError(
            f"{int(column.isna().sum())} rows have no value of {options.group!r} (group): give each one"
        )
    return [name_of(value) for value in column]
