"""Any table: `ocd run table --set path=FILE --set target=COLUMN`, for whoever has data and no code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ocd.errors import OCDError, nearest
from ocd.inputs import Examples
from ocd.metrics import CLASSIFIER_METRICS, REGRESSION_METRICS
from ocd.tasks import tabular
from ocd.tasks.base import Progress, Task, TaskData, first_examples, load_base
from ocd.tasks.catalog import CATALOG
from ocd.tasks.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.table_features import Features
from ocd.tasks.tabular import NetworkOptions, PeriodicEncoder, TableData, as_features

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("regression", "classification")
SEPARATORS = {".csv": None, ".tsv": "\t", ".txt": None}  # None: pandas looks
LEAST_ROWS = 50
MOST_CLASSES = 100


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
        default=None, metadata={"help": "columns to leave out, separated by commas"}
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
        if self.max_categories < 2:
            raise OCDError(f"max_categories is {self.max_categories}: it must be at least 2")


# ---- data -----------------------------------------------------------------------------


def load(options: Options, data_dir: Path | None) -> TableData:
    """Features (N, D) as the training rows say; targets (N, 1) in their own unit, or classes (N,)."""
    if options.path is None or options.target is None:
        missing = "path" if options.path is None else "target"
        what = "a csv, tsv or parquet file" if missing == "path" else "the column to predict"
        raise OCDError(f"no {missing} is given: --set {missing}=..., {what}")
    table = _read(options.path, data_dir)
    target = _check_column(table, options.target, "target", options.path)
    dropped = [name.strip() for name in options.drop.split(",")] if options.drop else []
    for name in dropped:
        _check_column(table, name, "drop", options.path)
    table = table.drop(columns=dropped)
    table = table[table[target].notna()]
    if table.empty:
        raise OCDError(f"{options.path}: the target {target!r} is missing in all rows")
    if len(table) < LEAST_ROWS:
        raise OCDError(
            f"{options.path} has {len(table)} rows with a target: at least {LEAST_ROWS} are needed"
        )
    if options.test_path is None:
        train, test = _split(table, target, options)
    else:
        train, test = table, _read(options.test_path, data_dir)
        if lacking := [name for name in train.columns if name not in test.columns]:
            raise OCDError(f"{options.test_path} lacks the columns {', '.join(map(repr, lacking))}")
        test = test[test[target].notna()]
        if test.empty:
            raise OCDError(f"{options.test_path}: no row has a target {target!r}")
    if train[target].nunique() < 2:
        raise OCDError(f"{options.path}: the target {target!r} is constant, there is nothing to learn")
    targets = _targets(train[target], test[target], options)
    features = Features(train.drop(columns=target), options.max_categories)
    made = [
        Examples(torch.from_numpy(features(rows)), values)
        for rows, values in zip((train, test), targets, strict=True)
    ]
    num_classes = int(targets[0].max()) + 1 if options.kind == "classification" else 0
    return TableData(
        first_examples(made[0], options.train_size, "train_size"),
        first_examples(made[1], options.test_size, "test_size"),
        num_classes=num_classes,
    )


def _read(name: str, data_dir: Path | None) -> pd.DataFrame:
    """The file, from `data_dir` first. Raises OCDError where it is not there or is no table."""
    try:
        import pandas as pd
    except ImportError as error:
        raise OCDError("tables need pandas: pip install 'ocd-torch[tabular]'") from error
    path = Path(name)
    if data_dir is not None and (data_dir / path).is_file():
        path = data_dir / path
    if not path.is_file():
        where = f" (nor in {data_dir})" if data_dir is not None else ""
        raise OCDError(f"{name}: no such file{where}")
    suffix = next((s for s in reversed(path.suffixes) if s not in (".gz", ".bz2", ".xz", ".zip")), "")
    if suffix not in SEPARATORS and suffix not in (".parquet", ".pq"):
        raise OCDError(f"{path}: a table is a .csv, .tsv or .parquet file, csv also as .csv.gz")
    try:
        if suffix in SEPARATORS:
            separator = SEPARATORS[suffix]
            engine: Any = "python" if separator is None else None
            table = pd.read_csv(path, sep=separator, engine=engine)
        else:
            table = pd.read_parquet(path)
    except Exception as error:  # of many parsers; the first line says enough
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"{path} cannot be read as a table ({reason})") from error
    table.columns = [str(column) for column in table.columns]
    if table.empty:
        raise OCDError(f"{path}: there are no rows")
    return table


def _check_column(table: pd.DataFrame, name: str, option: str, path: str) -> str:
    if name not in table.columns:
        names = list(table.columns)
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise OCDError(
            f"{path} has no column {name!r} ({option}); there are: {listed}{nearest(name, names)}"
        )
    return name


def _split(table: pd.DataFrame, target: str, options: Options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shuffled; each class in its share, where every class has two rows."""
    from sklearn.model_selection import train_test_split

    classes = table[target].astype(str) if options.kind == "classification" else None
    if classes is not None and classes.value_counts().min() < 2:
        classes = None
    try:
        train, test = train_test_split(
            table, test_size=options.test_share, random_state=options.split_seed, stratify=classes
        )
    except ValueError as error:
        raise OCDError(f"{options.path}: {len(table)} rows cannot be split ({error})") from error
    return train, test


def _targets(train: pd.Series, test: pd.Series, options: Options) -> tuple[Tensor, Tensor]:
    import pandas as pd

    if options.kind == "regression":
        columns = [pd.to_numeric(column, errors="coerce") for column in (train, test)]
        wrong = [value for made, column in zip(columns, (train, test), strict=True)
                 for value in column[made.isna()].head(1)]  # fmt: skip
        if wrong:
            raise OCDError(
                f"the target {options.target!r} is not a number in all rows ({wrong[0]!r}): use "
                "--set kind=classification, or another target"
            )
        numbers = [np.asarray(column, np.float32)[:, None] for column in columns]
        if not all(np.isfinite(values).all() for values in numbers):
            raise OCDError(f"the target {options.target!r} is infinite in some rows")
        return torch.from_numpy(numbers[0]), torch.from_numpy(numbers[1])
    names = sorted(train.astype(str).unique())
    if len(names) > MOST_CLASSES or len(names) > len(train) / 2:
        raise OCDError(
            f"the target {options.target!r} has {len(names)} classes in {len(train)} rows: use "
            "--set kind=regression if it is a number"
        )
    unknown = sorted(set(test.astype(str)) - set(names))
    if unknown:
        raise OCDError(
            f"the test rows have classes that no training row has: {', '.join(map(repr, unknown[:5]))}"
        )
    number = {name: index for index, name in enumerate(names)}
    made = [torch.tensor([number[str(value)] for value in column]) for column in (train, test)]
    return made[0], made[1]


# ---- base -----------------------------------------------------------------------------


def make_base(options: Options, data: TaskData) -> nn.Module:
    """The configured network, or the user's own."""
    if options.module is None:
        return tabular.make_base(options, data)
    assert isinstance(data, TableData)
    features = as_features(data.train.inputs)
    num_outputs = data.num_classes or 1
    network = _own_module(options.module)(features.shape[1], num_outputs)
    if not isinstance(network, nn.Module):
        raise OCDError(f"module {options.module} gave a {type(network).__name__}, not a torch module")
    try:
        with torch.no_grad():
            answer = network.eval()(features[:2])
    except Exception as error:  # whatever the user's own code does
        first = (str(error).splitlines() or [""])[0]
        raise OCDError(
            f"module {options.module} cannot take {features.shape[1]} features: {first}"
        ) from error
    if not isinstance(answer, Tensor) or answer.shape != (min(2, len(features)), num_outputs):
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise OCDError(f"module {options.module} answers two rows with {found}, not (2, {num_outputs})")
    if options.base is not None or data.num_classes:
        return network
    return tabular.standardised(network, data)


def _own_module(text: str) -> Callable[[int, int], Any]:
    name, _, function = text.partition(":")
    try:
        found = getattr(importlib.import_module(name), function)
    except (ImportError, ValueError) as error:
        raise OCDError(
            f"module {text!r} cannot be imported ({error}): package.module:function"
        ) from error
    except AttributeError as error:
        raise OCDError(
            f"module {name} has no function {function!r}: package.module:function"
        ) from error
    if not callable(found):
        raise OCDError(f"module {text!r} is no function(num_features, num_outputs)")
    return found


def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    if options.base is not None:
        load_base(base, options.base)
        return
    tabular.train_base(base, data, options, seed, progress)


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    return PeriodicEncoder(as_features(data.train.inputs).shape[1])


# ---- the task, as its options have it ---------------------------------------------------


def specialise(options: Options) -> Task:
    if options.kind == "regression":
        # Of a user's network the last layer is not known: Eq. 3 chooses.
        return replace(TASK, layer="auto" if options.module else tabular.last_layer(options))
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


TASK = Task(
    **asdict(CATALOG["table"]),
    options=Options,
    load=load,
    make_base=make_base,
    train_base=train_base,
    make_targets=partial(tabular.out_of_fold_targets, make=make_base),
    loss=tabular.squared_error,
    metrics=REGRESSION_METRICS,
    join_draws=tabular.mean_of_draws,
    make_encoder=make_encoder,
    make_transform=tabular.nothing,
    is_table=True,
    has_distribution=True,
    specialise=specialise,
    settings=tabular.SETTINGS_OF_SMALL,
    run_settings=tabular.RUN_SETTINGS,
)

TASKS = {TASK.name: TASK}
