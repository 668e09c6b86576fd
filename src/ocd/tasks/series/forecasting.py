"""Forecasts of series in a CSV file: a point forecaster whose scenarios OCD draws."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ocd.data import Examples, join_rows
from ocd.errors import OCDError
from ocd.evaluation import REGRESSION_METRICS
from ocd.prediction import join_by_mean
from ocd.tasks.catalog import CATALOG
from ocd.tasks.point_training import (
    LEFT_OUT,
    SETTINGS,
    Encoder,
    squared_error,
    train_point,
)
from ocd.tasks.point_training import RUN_SETTINGS as SHARED_SETTINGS
from ocd.tasks.series.forecasters import KINDS, make_forecaster
from ocd.tasks.series.reader import SeriesReader
from ocd.tasks.series.reading import Series, listed_names, read_series
from ocd.tasks.series.units import in_units, warn_of_far, without_constant
from ocd.tasks.series.windows import Ends, Sizes, check_rows, is_published_ett, windows
from ocd.tasks.task import Progress, Task, TaskData, check_least, load_base, unless_loaded

LATE_SHARE = 0.4
"""Of the training windows: those from later rows, which a base of the user's own has not seen."""
FEWEST_TOGETHER = 48
"""Rows, two days of hours, whose windows are one piece of evidence at least: windows overlap."""


@dataclass(frozen=True)
class Options:
    """What `--set` can change in this task."""

    base: str | None = field(
        default=None,
        metadata={
            "help": "a file with the weights of a `network`, not to train one: it is given windows in "
            "units of the training rows' mean and deviation, less their last value (docs/draws.md)"
        },
    )
    file: str = field(
        default="ETTh1.csv",
        metadata={"help": "a csv or parquet file, a row a time step; in --data-dir first"},
    )
    columns: str = field(
        default="", metadata={"help": "columns to forecast, each by itself; all numbers if not set"}
    )
    time: str = field(
        default="",
        metadata={
            "help": "the column that says when a row is (year,month,... of several); found if not set, "
            "none: rows are in the order of time"
        },
    )
    network: str = field(default="mlp", metadata={"help": f"the base: {', '.join(KINDS)}"})
    lookback: int = field(default=96, metadata={"help": "steps that are given"})
    horizon: int = field(default=24, metadata={"help": "steps that are forecast"})
    train_size: int = field(
        default=20_000,
        metadata={"help": "windows; four of ten are from later rows, which `held_out` keeps for OCD"},
    )
    test_size: int = field(default=1_000, metadata={"help": "test windows"})
    width: int = field(default=128, metadata={"help": "hidden width of mlp and gru"})
    base_steps: int = field(default=1500, metadata={"help": "steps of the base's training"})

    @property
    def of_time(self) -> tuple[str, ...] | None:
        """The columns that are named as the time; () for none, and None where they are to be found."""
        named = tuple(part.strip() for part in self.time.split(",") if part.strip())
        return None if not named else () if named == ("none",) else named

    @property
    def together(self) -> int:
        """Rows of a block, two horizons or more. A training window's answer lies in one block, and the
        windows of a block on one side of every split: no answer step is known from another side."""
        return max(FEWEST_TOGETHER, 2 * self.horizon)

    def __post_init__(self) -> None:
        if self.network not in KINDS:
            raise OCDError(f"network is {self.network!r}: use one of {', '.join(KINDS)}")
        check_least(self, lookback=16, horizon=1, train_size=64, test_size=2, width=1, base_steps=1)


def load(options: Options, data_dir: Path | None) -> TaskData:
    """Windows (N, L) and what follows (N, H), each series in units of its training rows' deviation."""
    columns = [part.strip() for part in options.columns.split(",") if part.strip()]
    where = f"series {options.file}"
    series = read_series(options.file, data_dir, columns, options.of_time)
    total, sizes = len(series.values), Sizes(options.lookback, options.horizon, options.together)
    is_ett = is_published_ett(Path(options.file).stem, total, series.columns)
    check_rows(total, len(series.names), where, sizes, is_ett)
    ends = Ends.of(total, is_ett)
    series, mean, deviation = without_constant(series, ends.train, where)
    values = in_units(series, mean, deviation, where)[: ends.test]
    ours = int(LATE_SHARE * options.train_size)
    early, of_early = windows(values, 0, ends.train, sizes, options.train_size - ours)
    late, of_late = windows(values, ends.train, ends.validation, sizes, ours)
    test, of_test = windows(
        values, ends.validation, ends.test, replace(sizes, block=0), options.test_size
    )
    rows = torch.cat([of_early, of_late])
    given = () if options.base is None else _given_base(options, late)
    return TaskData(
        Examples(join_rows(early.inputs, late.inputs), torch.cat([early.targets, late.targets])),
        test,
        notes=(*_said(series, ends), *given),
        warnings=warn_of_far(series.names, values, ends.train),
        groups=rows // options.together,
        test_together=of_test // options.together,
        num_early=len(early),
        reader=SeriesReader(
            series.names,
            options.lookback,
            options.horizon,
            mean,
            deviation,
            series.step,
            series.when.columns or options.of_time,
        ),
    )


def _said(series: Series, ends: Ends) -> list[str]:
    """Notes on what was read: what is forecast, by which time, and what was left out."""
    total, columns = len(series.values), series.when.columns
    rest = total - ends.test
    ett = f" (the usual parts of ETT; the last {rest:,} rows are not used)" if rest else ""
    series_of = f"{len(series.names)} series ({listed_names(series.names)}) of {total:,} steps"
    notes = [
        f"{series_of}, each forecast by itself; rows to {ends.train:,} and to {ends.validation:,}, the "
        f"later ones, to learn from, to {ends.test:,} to test{ett}"
    ]
    if columns:
        apart = f"; rows are mostly {series.step} apart" if series.step else ""
        many = "s" if len(columns) > 1 else ""
        notes.append(f"the time is in column{many} {listed_names(columns)}{apart}")
    gaps = series.when.missing(0, total)
    return [*notes, *series.notes, *([gaps] if gaps else [])]


def _given_base(options: Options, later: Examples) -> tuple[str, ...]:
    """A warning, and a note, where a base of the user's own forecasts worse than the last value
    repeated: most likely it was trained on other windows. `later`: rows that it has not seen."""
    assert options.base is not None and isinstance(later.inputs, Tensor)
    base = make_forecaster(options.network, options.lookback, options.horizon, options.width)
    load_base(base, options.base)
    with torch.no_grad():
        own = float(squared_error(base.eval()(later.inputs), later.targets).mean())
    naive = float(squared_error(later.inputs[:, -1:].expand_as(later.targets), later.targets).mean())
    if own <= naive:
        return ()
    text = (
        f"the base {options.base} forecasts worse than the last value repeated (squared error "
        f"{own:.4g}, {naive:.4g}): is it made for windows in units of the training rows' mean and "
        "deviation, less their last value?"
    )
    warnings.warn(text, stacklevel=2)
    return (text,)


def compose(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The last steps that are given, as many as follow, and what follows: (B, 2 H)."""
    return torch.cat([inputs[:, -outputs.shape[1] :], outputs], dim=1)


def make_base(options: Options, data: TaskData) -> nn.Module:
    """An untrained forecaster."""
    return make_forecaster(options.network, options.lookback, options.horizon, options.width)


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains by the squared error of all steps."""
    train_point(base, data, options.base_steps, 1e-3, seed, progress)


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    """The encoder of x: the window less its last value (B, L) -> (B, 256)."""
    return WindowEncoder(options.lookback)


class WindowEncoder(Encoder):
    """Of a window less its last value, and that value."""

    def forward(self, inputs: Tensor) -> Tensor:
        last = inputs[:, -1:]
        return super().forward(torch.cat([inputs[:, :-1] - last, last], dim=1))


RUN_SETTINGS = SHARED_SETTINGS | {"held_out": 0.0, "cross_fit": True}
"""All rows teach the base and OCD, whose lessons are made on bases that have not seen their block."""


def specialise(options: Options) -> Task:
    """A base of the user's own has seen the earlier rows: lessons are of the later ones."""
    if options.base is None:
        return TASK
    return replace(TASK, run_settings=RUN_SETTINGS | {"held_out": LATE_SHARE})


TASK = Task(
    **asdict(CATALOG["series"]),
    options=Options,
    load=load,
    make_base=make_base,
    train_base=train_base,
    loss=squared_error,
    metrics=REGRESSION_METRICS,
    join_draws=join_by_mean,
    make_encoder=make_encoder,
    make_transform=lambda options: None,
    compose=compose,
    layer="head",
    settings=SETTINGS
    | {
        "denoiser.width": 128,
        # Windows overlap: of 8,000 the held-out loss rises after 750 steps.
        "training.num_steps": 800,
        "training.validate_every": 100,
        "training.validation_share": 0.25,
    },
    run_settings=RUN_SETTINGS,
    left_out=LEFT_OUT,
    specialise=specialise,
)

TASKS = {TASK.name: TASK}
