"""California housing (Sec. 4.4): the median value of a district's houses, in units of 100,000 $."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ocd.data import Examples
from ocd.errors import OCDError, install
from ocd.tasks.published import Published
from ocd.tasks.reader import Answer
from ocd.tasks.tables.networks import PeriodicEncoder
from ocd.tasks.tables.numbers_reader import NumbersReader
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.tables.quantiles import fit_quantiles
from ocd.tasks.tables.regression import regression_task
from ocd.tasks.tables.settings import SETTINGS, as_features
from ocd.tasks.task import TaskData, first_examples

TEST_SHARE = 0.2


def load(options: NetworkOptions, data_dir: Path | None) -> TableData:
    """8 features, quantile-normalised as the training rows say; a fifth of the rows to test."""
    try:
        from sklearn.datasets import fetch_california_housing
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise OCDError(f"california needs scikit-learn: {install('tabular')}") from error
    try:
        table = fetch_california_housing(data_home=data_dir, download_if_missing=data_dir is None)
    except OSError as error:
        where = "cannot be downloaded" if data_dir is None else f"is not in {data_dir}"
        raise OCDError(
            f"California housing {where} ({error}): give --data-dir, a folder with scikit-learn's "
            "cal_housing_py3.pkz"
        ) from error
    features, target = table.data.astype(np.float32), table.target.astype(np.float32)
    rows, test_rows = train_test_split(np.arange(len(target)), test_size=TEST_SHARE, random_state=0)
    normalise = fit_quantiles(features[rows])
    answer = Answer("number", tuple(table.target_names))
    train, test = (
        Examples(torch.from_numpy(normalise(features[index])), torch.from_numpy(target[index])[:, None])
        for index in (rows, test_rows)
    )
    return TableData(
        first_examples(train, options.train_size, "train_size"),
        first_examples(test, options.test_size, "test_size"),
        reader=NumbersReader(tuple(table.feature_names), normalise, answer),
    )


def make_encoder(options: NetworkOptions, data: TaskData) -> nn.Module:
    """The encoder of x: features (B, 8) -> (B, 256)."""
    return PeriodicEncoder(as_features(data.train.inputs).shape[1])


PUBLISHED = Published(
    source="California housing with an MLP: the paper's table of tables, mean ± SD over three runs",
    methods={
        "base": {"rmse": (0.4990, None)},
        "ocd": {"rmse": (0.4800, 0.0020)},
        "ocd_mean": {"rmse": (0.4800, 0.0020)},
        "no_scale": {"rmse": (0.5000, None)},
        "resnet": {"rmse": (0.4860, None)},
        "overfit_test": {"rmse": (0.4750, None)},
    },
    remarks=(
        "The published column is headed MSE; its values are root mean squared errors, those of "
        "Gorishniy et al. (2021) for the MLP and the ResNet.",
        "The published bound, overfitting on the test label, leaves 0.4750: three plain gradient steps "
        "go a small part of the way. Ours go all the way, so that our bound is nearly 0.",
        "One draw is a sample of what the target may be, and so farther from it than their mean. "
        "Where deltas are as small as three plain steps make them, the two differ little, so that the "
        "published figure of OCD stands beside both.",
        "The paper moves the first layer of its MLP. We move the last, where the delta of a number is "
        "a number; docs/experiments.md has the first.",
    ),
    options={"train_size": None, "test_size": None, "network": "mlp"},
)

TASK = regression_task("california", load, make_encoder, SETTINGS, PUBLISHED)

TASKS = {TASK.name: TASK}
