"""A run on series answers for the rows of another file: forecasts and scenarios in its own units."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import ocd
from ocd import OCDError
from ocd.applying import ApplyOptions, Ask, apply_to
from ocd.applying.answers import make_answers
from ocd.cli.app import app
from ocd.prediction import Prediction
from ocd.runs import Run
from ocd.tasks import Answer, NewRows

SETTINGS = {
    "file": "known.csv", "lookback": "24", "horizon": "6", "train_size": "300", "test_size": "20",
    "base_steps": "20", "num_draws": "20", "training.num_steps": "12", "training.validate_every": "6",
    "training.batch_size": "16", "denoiser.width": "16", "baselines": "none",
}  # fmt: skip


def frame(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    wave = 50 + 10 * np.sin(np.arange(rows) / 24 * 2 * np.pi) + random.normal(size=rows)
    days = pd.date_range("2021-01-01", periods=rows, freq="h").astype(str)
    return pd.DataFrame({"when": days, "walk": random.normal(size=rows).cumsum(), "wave": wave})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    frame(900, 0).to_csv(folder / "known.csv", index=False)
    made = Run.create("series", folder / "run", "fast", folder, [0], SETTINGS)
    made.predict(0)
    (folder / "known.csv").unlink()  # only the run's folder is needed
    return folder / "run"


def base_by_hand(run: Path, given: pd.Series) -> np.ndarray:
    """What the base says after the last of some values of `wave`."""
    values = given.to_numpy()
    known = frame(900, 0)["wave"].to_numpy()[:540]
    scaled = (values - known.mean()) / known.std(ddof=1)
    with torch.no_grad():
        answer = ocd.load(run).ocd.base(torch.tensor(scaled[None, -24:], dtype=torch.float32))[0]
    return answer.numpy() * known.std(ddof=1) + known.mean()


def test_each_step_behind_the_first_window_is_forecast_once_in_the_users_unit(run, tmp_path):
    new = frame(43, 1)  # 24 given, then three times 6, and one more
    path = tmp_path / "new.csv"
    new[["wave", "when", "walk"]].to_csv(path, index=False, sep=";", decimal=",")
    options = ApplyOptions(
        path, tmp_path / "out.csv", tmp_path / "draws.csv", ask=Ask(draws=20), part=3
    )
    summary = apply_to(ocd.load(run), options, lambda count: None)
    found = pd.read_csv(tmp_path / "out.csv")
    assert summary.rows == 2 * 4 and len(found) == 8 * 6
    last = found[found["row"] == "wave after " + new["when"].iloc[-1]]
    assert last["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert last["base"].to_numpy() == pytest.approx(base_by_hand(run, new["wave"]), rel=1e-4)
    first = found[found["row"] == "wave after " + new["when"].iloc[24]]
    earlier = base_by_hand(run, new["wave"][:25])
    assert first["base"].to_numpy() == pytest.approx(earlier, rel=1e-4)
    with (tmp_path / "draws.csv").open(encoding="utf-8") as file:
        draws = list(csv.DictReader(file))
    assert len(draws) == 8 * 20 * 6 and [d["draw"] for d in draws[:7]] == ["1"] * 6 + ["2"]
    of_last = [float(d["value"]) for d in draws if d["row"] == last["row"].iloc[0]]
    scenarios = np.array(of_last).reshape(20, 6)
    assert scenarios.mean(axis=0) == pytest.approx(last["ocd"].to_numpy(), rel=1e-4)
    assert scenarios.std(axis=0) == pytest.approx(last["std"].to_numpy(), rel=1e-3)
    assert "low 90 %" in found and (found["low 90 %"] <= found["high 90 %"]).all()


@pytest.mark.parametrize("shared", [[], ["--shard", "0/1"]])
def test_the_command_counts_forecasts_and_rows_apart(run, tmp_path, shared):
    frame(43, 1).to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / ("parts" if shared else "out.csv")
    given = ["apply", str(run), "--input", str(tmp_path / "new.csv"), "--out", str(out)]
    done = CliRunner().invoke(app, [*given, *shared])
    assert done.exit_code == 0, done.output
    assert f"8 forecasts of 6 steps, 48 rows: {out}" in done.stdout
    files = [pd.read_csv(out)] if not shared else [pd.read_parquet(p) for p in out.glob("*.parquet")]
    assert sum(map(len, files)) == 48


def test_a_frame_at_hand_is_answered_as_a_file_is(run):
    new = frame(30, 2)
    loaded = ocd.load(run)
    answers = loaded.predict(new)
    assert answers.ocd.shape == (4, 6) and answers.draws.shape == (20, 4, 6)
    assert len(answers.frame()) == 24 and answers.ids[0].startswith("walk after 2021")
    mean = loaded.predict(new, answer="mean")
    assert mean.std is None and not mean.intervals
    backwards = loaded.predict(new.iloc[::-1])
    assert torch.allclose(backwards.ocd, answers.ocd, atol=1e-4)
    assert "had the latest first" in backwards.remarks[0]


def test_answers_beside_a_large_level_keep_their_digits():
    rows = NewRows(["a after 1"], torch.zeros(1, 24), [], torch.tensor([[1e9, 0.5]]))
    draws = torch.tensor([[[0.25, -1.0]], [[0.75, 2.0]]])
    base = torch.tensor([[0.5, 0.5]])
    found = Prediction(draws, draws.mean(dim=0), base)
    near = torch.zeros(1), torch.zeros(1)
    steps = Answer("steps", ("1", "2"))
    answers = make_answers(rows, found, lambda outputs: outputs.mean(dim=0), steps, near)
    assert (answers.base - 1e9).tolist() == [[0.25, 0.25]]
    assert (answers.draws - 1e9).tolist() == [[[0.125, -0.5]], [[0.375, 1.0]]]
    assert answers.std[0].tolist() == pytest.approx([0.125, 0.75])
    assert (answers.columns()["ocd"] - 1e9).tolist() == [0.25, 0.25]


def test_what_cannot_be_forecast_is_refused_in_one_line(run):
    loaded = ocd.load(run)
    with pytest.raises(OCDError, match="the frame has 23 rows: 24 are needed, which the forecast is"):
        loaded.predict(frame(23, 1))
    with pytest.raises(OCDError, match="the frame has no column of numbers 'walk'"):
        loaded.predict(frame(40, 1).drop(columns="walk"))
