"""Series that hardly vary where one learns are warned of, and what cannot be squared is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ocd.data import Examples
from ocd.errors import OCDError
from ocd.tasks import get_task
from ocd.tasks.point_training import train_point
from ocd.tasks.series.forecasters import make_forecaster
from ocd.tasks.task import TaskData


def loaded(folder: Path, frame: pd.DataFrame) -> TaskData:
    frame.to_csv(folder / "mine.csv", index=False)
    task = get_task("series")
    sizes = {"lookback": 24, "horizon": 6, "train_size": 200, "test_size": 50}
    return task.load(task.options(file="mine.csv", **sizes), folder)


def two(times: float, start: int = 700) -> pd.DataFrame:
    """A wave, and one that is so many times as large from a row on; the first 540 are to learn from."""
    wave = np.random.default_rng(0).normal(size=(900, 2))
    wave[start:, 1] *= times
    return pd.DataFrame(wave, columns=["good", "bad"])


@pytest.mark.parametrize("start", [560, 740])
def test_a_series_that_grows_far_beyond_what_is_learnt_is_named(tmp_path, start):
    with pytest.warns(UserWarning, match="later values of 'bad' .up to .*e.03. lie 100 or more dev"):
        data = loaded(tmp_path, two(1e3, start))
    assert len(data.warnings) == 1 and "outweighs all others" in data.warnings[0]
    assert "'good'" not in data.warnings[0] and data.reader.names == ("good", "bad")


@pytest.mark.parametrize("times", [1.0, 10.0])
def test_series_that_grow_a_little_are_not(tmp_path, times, recwarn):
    assert loaded(tmp_path, two(times)).warnings == () and not recwarn.list


def test_values_that_single_precision_cannot_square_are_refused(tmp_path):
    with pytest.raises(OCDError, match="mine.csv, column 'bad': values lie up to .*e.20 deviations"):
        loaded(tmp_path, two(1e20))
    reader = loaded(tmp_path, two(1.0)).reader
    with pytest.raises(OCDError, match="the frame, column 'bad': values lie up to"):
        reader.take(two(1e30, start=0)[:40])


@pytest.mark.parametrize("size", [1e15, 1e25])
@pytest.mark.parametrize("kind", ["linear", "mlp", "patches"])
def test_a_base_whose_training_is_not_finite_is_refused(kind, size):
    """Gradients of 1e15 are clipped to nothing, and those of 1e25 are no numbers."""
    inputs = torch.randn(300, 24, generator=torch.Generator().manual_seed(0))
    data = TaskData(Examples(size * inputs, size * inputs[:, :6]), Examples(inputs, inputs[:, :6]))
    base = make_forecaster(kind, 24, 6, 8)
    with pytest.raises(OCDError, match=r"training did not stay finite: .* \(those of training are up"):
        train_point(base, data, 10, 1e-3, 0, lambda line: None)
