"""A generator in engines that map batches over many processes: Ray, started here, and Spark.

Skipped where these are not installed: `pip install 'ocd-torch[ray]'`, `pip install pyspark`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ocd import OCD, BatchPredictor, Examples, OCDConfig

ROWS, FEATURES = 10_000, 4
SMALL = {
    "layer": "2", "overfit.lr": 0.1, "training.num_steps": 20, "training.batch_size": 16,
    "denoiser.width": 16, "sampling.scale_factor": 1.0, "sampling.spread": 1.0,
}  # fmt: skip


def make_base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().sum(dim=1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OCD]:
    folder = tmp_path_factory.mktemp("saved")
    model = OCD(make_base(), loss=squared, config=OCDConfig().replace(SMALL))
    model.fit(Examples(torch.randn(64, FEATURES), torch.randn(64, 2)), progress=False)
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield ray
    ray.shutdown()


def numbers() -> dict[str, np.ndarray]:
    values = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype(np.float32)
    return {"x": values, "id": np.arange(ROWS)}


class DiesOnce(BatchPredictor):
    """Its process ends, as if it was killed, at the first batch behind the middle, once."""

    def __call__(self, batch):  # type: ignore[no-untyped-def]
        mark = Path(self.folder) / "died"
        if int(batch["id"].max()) > ROWS // 2 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().__call__(batch)


@pytest.mark.parametrize("kind", [BatchPredictor, DiesOnce])
def test_ray_maps_every_row_once(kind, saved, ray) -> None:
    folder, model = saved
    values = numbers()
    dataset = ray.data.from_items([{"x": row, "id": i} for i, row in enumerate(values["x"])])
    mapped = dataset.map_batches(
        kind, fn_constructor_args=(folder, make_base), fn_constructor_kwargs={"draws": 2},
        batch_size=500, concurrency=2,
    )  # fmt: skip
    found = mapped.to_pandas().sort_values("id")
    assert found["id"].tolist() == list(range(ROWS))
    expected = model.predict(torch.from_numpy(values["x"]), draws=2)
    np.testing.assert_allclose(np.stack(found["ocd_mean"]), expected.mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.stack(found["ocd_base"]), expected.base.numpy(), atol=1e-5)
    assert (folder / "died").exists() == (kind is DiesOnce)


def test_spark_maps_frames(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    folder, model = saved
    values = numbers()["x"][:200]
    session = (
        sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
    )
    try:
        frame = session.createDataFrame(
            [(i, row.tolist()) for i, row in enumerate(values)], "id int, x array<float>"
        )
        predictor = BatchPredictor(folder, make_base, draws=2)
        schema = (
            "id int, x array<float>, ocd_mean array<float>, ocd_std array<float>, ocd_base array<float>"
        )
        found = frame.repartition(4).mapInPandas(predictor.pandas, schema).toPandas().sort_values("id")
    finally:
        session.stop()
    assert found["id"].tolist() == list(range(200))
    expected = model.predict(torch.from_numpy(values), draws=2).mean
    np.testing.assert_allclose(np.stack(found["ocd_mean"]), expected.numpy(), atol=1e-5)
