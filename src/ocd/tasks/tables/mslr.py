"""Learning to rank as regression of grades (Sec. 4.4): MSLR-WEB10K, and a small stand-in for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ocd.data import Examples
from ocd.errors import OCDError
from ocd.evaluation import RANKING_METRICS
from ocd.tasks.published import Published
from ocd.tasks.reader import Answer
from ocd.tasks.tables.networks import PeriodicEncoder
from ocd.tasks.tables.numbers_reader import NumbersReader
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.tables.quantiles import Quantiles, fit_quantiles
from ocd.tasks.tables.regression import regression_task
from ocd.tasks.tables.settings import SETTINGS_OF_SMALL, as_features
from ocd.tasks.tables.svmlight import Ranking, largest_feature, read_svmlight
from ocd.tasks.task import Task, TaskData, check_count


@dataclass(frozen=True)
class Files:
    """Where a set lies in `--data-dir`."""

    train: str
    test: str
    num_features: int | None
    """None: as many as the largest number in the files."""


MSLR = Files("Fold1/train.txt", "Fold1/test.txt", 136)
ANY = Files("rank.train", "rank.test", None)


def load(files: Files, options: NetworkOptions, data_dir: Path | None) -> TableData:
    """Features quantile-normalised as the training rows say, and grades 0 to 4 as numbers."""
    if data_dir is None:
        raise OCDError(
            "rankings are not downloaded: give --data-dir, a folder with "
            f"{files.train} and {files.test}"
        )
    both = [data_dir / files.train, data_dir / files.test]
    size = files.num_features or max(largest_feature(path) for path in both)
    train = read_svmlight(both[0], size, options.train_size)
    test = read_svmlight(both[1], size, options.test_size)
    check_count(options.train_size, len(train.grades), "train_size")
    check_count(options.test_size, len(test.grades), "test_size")
    normalise = fit_quantiles(train.features)
    names = tuple(str(number + 1) for number in range(size))
    return TableData(
        _examples(train, normalise),
        _examples(test, normalise),
        in_order=True,
        groups=train.queries,
        test_groups=test.queries,
        reader=NumbersReader(names, normalise, Answer("number", ("grade",))),
    )


def _examples(ranking: Ranking, normalise: Quantiles) -> Examples:
    features = ranking.features
    for start in range(0, len(features), 50_000):  # in place: a second copy would not fit
        stretch = slice(start, start + 50_000)
        features[stretch] = normalise(features[stretch])
    return Examples(torch.from_numpy(features), torch.from_numpy(ranking.grades)[:, None])


def make_encoder(options: NetworkOptions, data: TaskData) -> nn.Module:
    """The encoder of x: features (B, D) -> (B, 256)."""
    return PeriodicEncoder(as_features(data.train.inputs).shape[1], size=4, frequencies=8)


PUBLISHED = Published(
    source="MSLR-WEB10K with an MLP: the paper's table of tables, mean ± SD over three runs",
    methods={
        "base": {"rmse": (0.7470, None)},
        "ocd": {"rmse": (0.7430, 0.0004)},
        "ocd_mean": {"rmse": (0.7430, 0.0004)},
        "no_scale": {"rmse": (0.7490, None)},
        "resnet": {"rmse": (0.7480, None)},
        "overfit_test": {"rmse": (0.7410, None)},
    },
    remarks=(
        "The published column is headed MSE; its values are root mean squared errors.",
        "One draw is a sample of what the target may be; the published figure of OCD stands beside it "
        "and beside the mean.",
    ),
    options={"train_size": None, "test_size": None, "network": "mlp"},
)


def make_task(name: str, files: Files, published: Published) -> Task:
    """The task of one set of ranking data, by its name in the catalog."""
    parts = (partial(load, files), make_encoder, SETTINGS_OF_SMALL, published, RANKING_METRICS)
    return regression_task(name, *parts)


TASKS = {
    "mslr": make_task("mslr", MSLR, PUBLISHED),
    "ltr": make_task(
        "ltr",
        ANY,
        replace(
            PUBLISHED,
            stand_in="another set of rankings stands in for MSLR-WEB10K, with the same format, but "
            "other features, queries and sizes",
        ),
    ),
}
