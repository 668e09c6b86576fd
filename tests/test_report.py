"""The report is rebuilt from a run folder's files alone: numbers, words and figures."""

from __future__ import annotations

import io
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ocd import figures
from ocd.errors import OCDError
from ocd.report import results_table, write_report
from ocd.results import paired_bootstrap

FIGURES = ("layer_scores", "training", "base_vs_ocd", "worst_examples")
LAYERS = ("conv1", "conv2", "fc1", "fc2")
METRICS = {
    "cross_entropy": {"higher_is_better": False, "unit": ""},
    "accuracy": {"higher_is_better": True, "unit": "%"},
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def make_losses(seed: int, gain: float, num_test: int, num_draws: int = 5) -> dict[str, Any]:
    """Losses per example (N,) and of the draws (K, N), the ensemble's lower by about `gain`."""
    data = np.random.default_rng(0)  # the same test examples whatever the seed
    draw = np.random.default_rng(seed + 1)
    base = np.exp(data.normal(-5, 2.5, num_test))
    ensemble = base * np.exp(draw.normal(-gain, 0.5, num_test))
    losses = {
        "base_loss": base,
        "ensemble_loss": ensemble,
        "draw_loss": ensemble * np.exp(draw.normal(0.1, 0.6, (num_draws, num_test))),
        "bound_loss": base * np.exp(draw.normal(-2, 0.3, num_test)),
    }
    return {name: values.astype(np.float32) for name, values in losses.items()}


def write_predictions(folder: Path, seed: int, gain: float, num_test: int) -> None:
    losses = make_losses(seed, gain, num_test)
    means = {
        "tent_1": 1.1 * losses["base_loss"].mean(),
        "nearest_neighbor": 0.97 * losses["base_loss"].mean(),
        "overfit_test": losses["bound_loss"].mean(),
        "ocd_ensemble_5": losses["ensemble_loss"].mean(),
        "ocd": losses["draw_loss"].mean(),
        "base": losses["base_loss"].mean(),
    }
    methods = {
        name: {"cross_entropy": float(loss), "accuracy": 99 - 2 * float(loss) + 0.01 * seed}
        for name, loss in means.items()
    }
    costs = {"base": 80.0 + seed, "ocd": 410.0, "ocd_ensemble_5": 1300.0}
    facts = {"methods": methods, "costs": costs, "num_test": num_test}
    write_json(folder / f"predictions/seed-{seed}.json", facts)
    save_file(losses, folder / f"predictions/seed-{seed}.safetensors")


def write_selection(folder: Path, seed: int) -> None:
    scores = [-2.1, -1.7, -0.6 + 0.05 * seed, -1.2]
    facts = {"names": LAYERS, "scores": scores, "standard_errors": [0.05, 0.08, 0.06, 0.1],
             "num_draws": 1000, "num_examples": 64, "relative_size": 0.1, "chosen": "fc1",
             "alternative": "fc2", "skipped": {"bn": "no matrix"}}  # fmt: skip
    write_json(folder / f"selection/seed-{seed}.json", facts)


def make_events(seed: int, num_steps: int) -> list[dict[str, Any]]:
    noise = np.random.default_rng(seed)
    events: list[dict[str, Any]] = [
        {"event": "phase", "phase": phase, "seconds": seconds + seed}
        for phase, seconds in zip(
            ("base", "select", "overfit", "train"), (60.0, 12.0, 8.0, 300.0), strict=True
        )
    ]
    events.append({"event": "phase", "phase": "train", "seconds": 100.0})  # resumed once
    events.append({"event": "note", "text": "learning rate 0.02: the loss falls by 40 %"})
    events.append({"event": "note", "text": f"only seed {seed} says this"})
    for step in range(1, num_steps + 1):
        loss = 0.3 + 0.7 * np.exp(-step / 80) + 0.05 * noise.random()
        line = {"event": "train", "role": "main", "step": 10 * step, "loss": loss}
        events.append(line | {"denoise_loss": loss, "scale_loss": 0.1, "lr": 1e-3})
        if step % 50 == 0:
            events.append({**line, "event": "validate", "loss": loss + 0.05})
    events.append({"event": "train", "role": "alternative", "step": 1, "loss": 9.0})
    return [{**event, "seed": seed} for event in events]


def make_run(
    folder: Path, seeds: tuple[int, ...] = (0, 1, 2), gain: float = 0.5, num_test: int = 400
) -> Path:
    """A run folder as the command leaves it, with plausible random numbers."""
    config = {
        "format_version": 1, "task": "digits", "preset": "fast", "seeds": list(seeds),
        "data_dir": None, "options": {}, "config": {"layer": "auto"},
        "examples": {"train": 1437, "test": num_test}, "metrics": METRICS,
        "command": "ocd run digits --seeds 0,1,2",
    }  # fmt: skip
    write_json(folder / "config.json", config)
    for seed in seeds:
        write_selection(folder, seed)
        write_predictions(folder, seed, gain, num_test)
    events = [event for seed in seeds for event in make_events(seed, num_steps=300)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def report_row(folder: Path, key: str) -> list[str]:
    lines = (folder / "report.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("|") and f"`{key}`" in line]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a report's time, so only the tests about figures draw."""
    if "draws" not in request.fixturenames:
        monkeypatch.setattr(figures, "draw_all", lambda folder, **_: [str(folder)])


@pytest.fixture
def draws() -> None:
    """Asked for by the tests that look at figures."""


def test_results_follow_the_schema(tmp_path: Path) -> None:
    returned = write_report(make_run(tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == returned
    assert {"task", "preset", "seeds", "layer", "examples", "metrics", "methods", "seconds",
            "verdict"} <= set(results)  # fmt: skip
    assert results["seeds"] == [0, 1, 2]
    assert results["layer"] == "fc1"
    assert results["examples"] == {"train": 1437, "test": 400}
    assert results["metrics"]["cross_entropy"]["higher_is_better"] is False
    for values in results["methods"].values():
        assert all(len(values[metric]) == 3 for metric in METRICS)
    assert list(results["methods"]) == ["base", "ocd", "ocd_ensemble_5", "overfit_test",
                                        "nearest_neighbor", "tent_1"]  # fmt: skip
    assert results["seconds"] == {"base": 61.0, "select": 13.0, "overfit": 9.0, "train": 401.0,
                                  "predict": None}  # fmt: skip
    assert results["seconds_by_seed"]["train"] == [400.0, 401.0, 402.0]


def test_table_has_mean_spread_best_and_costs(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    for key, mark in (("base", ""), ("ocd_ensemble_5", "**")):
        losses = results["methods"][key]["cross_entropy"]
        accuracies = results["methods"][key]["accuracy"]
        cells = report_row(tmp_path, key)
        assert cells[1] == f"{mark}{mean(losses):.4f} ± {stdev(losses):.4f}{mark}"
        assert cells[2] == f"{mark}{mean(accuracies):.2f} ± {stdev(accuracies):.2f}{mark}"
    assert report_row(tmp_path, "ocd_ensemble_5")[3:] == ["1,300.0", f"{1300 / 81:,.1f}"]
    assert report_row(tmp_path, "overfit_test")[3:] == ["—", "—"]
    assert "**" not in " ".join(report_row(tmp_path, "overfit_test"))  # lower, but a bound


def test_report_tells_a_stranger_what_was_run(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert text.splitlines()[0] == results["verdict"]["sentence"]
    assert "`ocd run digits --seeds 0,1,2`" in text
    assert "1,437 training and 400 test examples" in text
    assert text.count("the loss falls by 40 %") == 1
    assert "- only seed 1 says this (seed 1)" in text
    assert report_row(tmp_path, "fc1")[1:] == ["-0.5500", "0.0346", "3"]  # 0.06 / sqrt(3)


@pytest.mark.parametrize(("gain", "statement"), [(0.5, "gain"), (-0.5, "worse"), (-0.125, "no gain")])
def test_verdict_has_the_sign_of_the_difference(tmp_path: Path, gain: float, statement: str) -> None:
    verdict = write_report(make_run(tmp_path, seeds=(0, 1), gain=gain))["verdict"]
    losses = [make_losses(seed, gain, 400) for seed in (0, 1)]
    difference = np.mean([loss["base_loss"] - loss["ensemble_loss"] for loss in losses])
    low, high = verdict["interval"]
    assert verdict["comparison"] == "ocd_ensemble_5 vs base"
    assert verdict["metric"] == "cross_entropy"
    assert verdict["difference"] == pytest.approx(difference, rel=1e-5)
    assert low < verdict["difference"] < high
    assert verdict["statement"] == statement
    assert verdict["sentence"].startswith(statement.capitalize())


def test_bootstrap_interval_agrees_with_the_normal_one() -> None:
    difference = np.random.default_rng(0).normal(0.3, 2.0, 5000)
    error = difference.std() / np.sqrt(5000)
    interval = paired_bootstrap(difference)
    expected = difference.mean() - 1.96 * error, difference.mean() + 1.96 * error
    assert interval == pytest.approx(expected, abs=0.15 * error)
    assert interval == paired_bootstrap(difference)


@pytest.mark.usefixtures("draws")
def test_figures_are_drawn_and_rebuilt(tmp_path: Path) -> None:
    from matplotlib.image import imread

    write_report(make_run(tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert all(f"](figures/{name}.png)" in text for name in FIGURES)
    drawn = {name: tmp_path / f"figures/{name}.png" for name in FIGURES}
    for path in drawn.values():
        image = imread(path)
        assert min(image.shape[:2]) > 300
        assert 0.02 < image[..., :3].std() < 0.6  # neither blank nor noise
        path.unlink()
    write_report(tmp_path)
    assert all(path.exists() for path in drawn.values())
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.usefixtures("draws")
def test_missing_parts_are_named(tmp_path: Path) -> None:
    """Without a selection its figure goes, an old one too, and the report says so."""
    make_run(tmp_path)
    write_report(tmp_path)
    for path in tmp_path.glob("selection/*.json"):
        path.unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["layer"] = "fc1"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert write_report(tmp_path)["layer"] == "fc1"  # as named
    text = (tmp_path / "report.md").read_text()
    assert "`layer_scores.png` is not drawn: no selection was run" in text
    assert not (tmp_path / "figures/layer_scores.png").exists()


@pytest.mark.usefixtures("draws")
def test_negative_and_tiny_losses_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(0,))
    path = tmp_path / "predictions/seed-0.safetensors"
    losses = make_losses(0, 0.5, 400)
    save_file({name: -10 - values for name, values in losses.items()}, path)
    assert write_report(tmp_path)["verdict"]["metric"] == "loss"  # not what the metric averages
    facts = json.loads(path.with_suffix(".json").read_text())
    for values in facts["methods"].values():
        values["cross_entropy"] /= 1000
    write_json(path.with_suffix(".json"), facts)
    expected = facts["methods"]["base"]["cross_entropy"]
    write_report(tmp_path)
    assert float(report_row(tmp_path, "base")[1]) == pytest.approx(expected, rel=0.01)


@pytest.mark.usefixtures("draws")
def test_values_that_are_not_finite_are_left_out_and_said(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "predictions/seed-1.json"
    facts = json.loads(path.read_text())
    facts["methods"]["ocd"]["cross_entropy"] = float("nan")
    write_json(path, facts)
    losses = make_losses(1, 0.5, 400)
    losses["ensemble_loss"][3] = np.inf
    save_file(losses, path.with_suffix(".safetensors"))
    results = write_report(tmp_path)
    assert results["methods"]["ocd"]["cross_entropy"][1] is None
    assert report_row(tmp_path, "ocd")[1].endswith("(2 of 3)")
    assert results["verdict"]["statement"] == "undecided"
    assert "399 of 400 with finite losses" in (tmp_path / "report.md").read_text()


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    write_report(make_run(tmp_path, seeds=(0,)))
    text = (tmp_path / "report.md").read_text()
    assert "±" not in text
    assert "1 seed;" in text


def test_only_seeds_with_predictions_are_reported(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "predictions/seed-1.json").unlink()
    assert write_report(tmp_path)["seeds"] == [0, 2]
    text = (tmp_path / "report.md").read_text()
    assert "no predictions yet from 1" in text
    assert "only seed 1" not in text


def test_no_predictions_says_what_to_run(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=())
    with pytest.raises(OCDError, match="ocd predict"):
        write_report(tmp_path)


@pytest.mark.parametrize("bad", ['{"event": "train", "seed"', "[1, 2]", '{"event": "train"}'])
def test_a_wrong_line_is_named(tmp_path: Path, bad: str) -> None:
    log = make_run(tmp_path, seeds=(0,)) / "metrics.jsonl"
    lines = log.read_text().splitlines()
    lines[6] = bad
    log.write_text("\n".join(lines))
    with pytest.raises(OCDError, match=r"metrics\.jsonl, line 7: "):
        write_report(tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "predictions/seed-0.safetensors"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    path = make_run(tmp_path, seeds=(0,)) / name
    path.write_bytes(b"{\n?")
    with pytest.raises(OCDError, match=path.name):
        write_report(tmp_path)
    path.unlink()
    with pytest.raises(OCDError, match=path.name):
        write_report(tmp_path)


def test_terminal_table_shows_every_method(tmp_path: Path) -> None:
    from rich.console import Console

    results = write_report(make_run(tmp_path))
    page = io.StringIO()
    Console(width=200, file=page).print(results_table(results))
    text = page.getvalue()
    assert "OCD, ensemble of 5 draws" in text
    assert "Tent, iterations: 1" in text
    assert "accuracy [%] ↑" in text
