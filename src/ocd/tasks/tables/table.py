"""Any table: `ocd run table --set path=FILE --set target=COLUMN`, for whoever has data and no code."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ocd.data import Examples
from ocd.errors import OCDError, nearest
from ocd.evaluation import CLASSIFIER_METRICS
from ocd.tasks.images.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.tables import networks, training
from ocd.tasks.tables.features import Features, as_numbers, check_kinds, name_of
from ocd.tasks.tables.networks import PeriodicEncoder
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.tables.own_network import make_own_network
from ocd.tasks.tables.reading import read_table
from ocd.tasks.tables.regression import regression_task
from ocd.tasks.tables.settings import SETTINGS_OF_SMALL, as_features
from ocd.tasks.tables.targets import check_target, read_targets
from ocd.tasks.task import Progress, Task, TaskData, first_examples, load_base

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("regression", "classification")
LEAST_ROWS, LEAST_TRAINED, LEAST_TESTED = 50, 30, 5
LEAST_STEPS = 100  # of a 32-bit number, that a target's standard deviation must span


@dataclass(frozen=True)
class Options(NetworkOptions):
    """What `--set` can change in this task."""

    path: str | None = field(default=None, metadata={"help": "the file: csv, csv.gz, tsv or parquet"})
    target: str | None = field(default=None, metadata={"help": "the column to predict"})
    kind: str = field(default="regression", metadata={"help": "regression or classification"})
    test_path: str | None = field(
        default=None, metadata={"help": "a file of rows to test on; else a share is held out"}
    )
    test_share: float = field(default=0.2, metadata={"help": "share of the rows held out to test on"})
    split_seed: int = field(default=0, metadata={"help": "seed of that split"})
    drop: str | None = field(
        default=None,
        metadata={"help": "columns to leave out, separated by commas; a name that has one in quotes"},
    )
    max_categories: int = field(
        default=32, metadata={"help": "columns of a categorical feature; rarer values go together"}
    )
    module: str | None = field(
        default=None,
        metadata={
            "help": "your own network, package.module:function; function(num_features, num_outputs) "
            "gives a module. With `base` it is loaded and answers in the target's own unit; without, "
            "it is trained on standardised targets"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise OCDError(f"kind is {self.kind!r}: use regression or classification")
        if not 0 < self.test_share < 1:
            raise OCDError(f"test_share is {self.test_share:g}: it must be between 0 and 1")
        if not 0 <= self.split_seed < 2**32:
            raise OCDError(f"split_seed is {self.split_seed}: it must be from 0 to below 2**32")
        if self.max_categories < 2:
            raise OCDError(f"max_categories is {self.max_categories}: it must be at least 2")


# ---- data -----------------------------------------------------------------------------


def load(options: Options, data_dir: Path | None) -> TableData:
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
    targets = read_targets(train[target], test[target], options.kind)
    if options.kind == "regression":
        _check_spread(train[target], options.path)
    features = Features(train.drop(columns=target), options.max_categories, options.path)
    check_kinds(features.columns, test, options.test_path or options.path)
    made = [
        Examples(torch.from_numpy(features(rows)), values)
        for rows, values in zip((train, test), targets, strict=True)
    ]
    num_classes = int(targets[0].max()) + 1 if options.kind == "classification" else 0
    data = TableData(
        first_examples(made[0], options.train_size, "train_size"),
        first_examples(made[1], options.test_size, "test_size"),
        num_classes=num_classes,
    )
    _check_count(len(data.train), LEAST_TRAINED, "train_size leaves", "rows to train on")
    return data


def _without_dropped(table: pd.DataFrame, target: str, options: Options) -> pd.DataFrame:
    path = options.path or ""
    _check_column(table, target, "target", path)
    named = next(csv.reader([options.drop], skipinitialspace=True)) if options.drop else []
    dropped = [name.strip() for name in named if name.strip()]
    for name in dropped:
        _check_column(table, name, "drop", path)
    if target in dropped:
        raise OCDError(f"the target {target!r} is in drop, where columns to leave out are named")
    return table.drop(columns=dropped)


def _parts(
    table: pd.DataFrame, target: str, options: Options, data_dir: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and to test on."""
    if options.test_path is None:
        return _split(table, target, options)
    test = read_table(options.test_path, data_dir)
    if lacking := [name for name in table.columns if name not in test.columns]:
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


def _split(table: pd.DataFrame, target: str, options: Options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shuffled; each class in its share, and a class of a single row to train on."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    alone = pd.Series(False, index=table.index)
    classes = None
    if options.kind == "classification":
        names = table[target].map(name_of)
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
    train, test = train_test_split(
        rest, test_size=options.test_share, random_state=options.split_seed, stratify=classes
    )
    return pd.concat([train, table[alone]]), test


# ---- base -----------------------------------------------------------------------------


def make_base(options: Options, data: TaskData) -> nn.Module:
    """The configured network, or the user's own."""
    if options.module is None:
        return networks.make_base(options, data)
    assert isinstance(data, TableData)
    features = as_features(data.train.inputs)
    network = make_own_network(options.module, features, data.num_classes or 1)
    if options.base is not None or data.num_classes:
        return network
    return networks.standardised(network, data)


def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains as for any table."""
    if options.base is not None:
        load_base(base, options.base)
        return
    training.train_base(base, data, options, seed, progress)


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    """The encoder of x: features (B, D) -> (B, 256)."""
    return PeriodicEncoder(as_features(data.train.inputs).shape[1])


# ---- the task, as its options have it ---------------------------------------------------


def specialise(options: Options) -> Task:
    """The task for a user's options: regression of numbers, or classification."""
    if options.kind == "regression":
        # Of a user's network the last layer is not known: Eq. 3 chooses.
        return replace(TASK, layer="auto" if options.module else networks.last_layer(options))
    return replace(
        TASK,
        loss=cross_entropy_per_example,
        metrics=CLASSIFIER_METRICS,
        classifies=True,
        has_distribution=False,
        make_targets=None,
        join_draws=log_mean_softmax,
        settings={
            "collection.storage": "on_the_fly",
            "scale.kind": "joint",
            "training.task_loss_weight": 1.0,
            "training.weight_decay": 0.1,
        },
        run_settings={"augment": False},
    )


TASK = replace(
    regression_task("table", load, make_encoder, SETTINGS_OF_SMALL),
    options=Options,
    make_base=make_base,
    train_base=train_base,
    make_targets=partial(training.out_of_fold_targets, make=make_base),
    other_bases={},
    specialise=specialise,
)

TASKS = {TASK.name: TASK}
