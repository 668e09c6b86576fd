"""The report is rebuilt from a run folder's files alone: numbers, words and figures."""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from ocd.errors import OCDError
from ocd.evaluation import auroc
from ocd.reporting import results_table, table_width, write_report
from ocd.reporting.comparison_figure import MethodPoint, draw_comparison
from ocd.reporting.error_ranking import own_score_sentence, rank_errors
from ocd.reporting.methods import title
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import markdown_table
from ocd.reporting.training_figures import LayerScore, draw_layer_scores
from run_folders import FIGURES, MADE, METRICS, change_json, change_tensors, make_run, write_json

ORDER = [
    "base", "ocd", "ocd_ensemble_5", "ocd_mean_network_5", "ocd_mean",
    "ocd_without_correction_5", "correction_only", "no_scale", "alternative_layer",
    "alternative_layer_ensemble_5", "nearest_neighbor", "mean_delta", "random_direction",
    "delta_regression", "fine_tuned_layer", "label_head", "label_network", "tent_1", "tent_10",
    "tent_30", "temperature", "laplace", "deep_ensemble_5", "overfit_test", "overfit_test_all_layers",
]  # fmt: skip


def write_old_figures(folder: Path) -> None:
    (folder / "figures").mkdir(parents=True)
    for name in FIGURES:
        (folder / f"figures/{name}.png").write_bytes(b"old")


def cells_of(text: str, key: str) -> list[str]:
    (row,) = [line for line in text.splitlines() if line.startswith("|") and f"`{key}`" in line]
    return [cell.strip() for cell in row.strip("|").split("|")]


def report_row(folder: Path, key: str, section: str = "Results") -> list[str]:
    """The cells of a key's row in a section of the report."""
    assert "OCD on" in (folder / "report.html").read_text()
    sections = (folder / "report.md").read_text().split("\n## ")
    (text,) = [part for part in sections if part.startswith(section + "\n")]
    return cells_of(text, key)


@pytest.fixture(autouse=True)
def _without_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a report's time, so only the tests about figures draw."""
    if "draws" not in request.fixturenames:
        monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [str(folder)])


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
    assert list(results["metrics"]) == list(METRICS)
    assert list(results["methods"]) == ORDER
    assert results["uses_label"] == ["overfit_test", "overfit_test_all_layers"]
    assert results["skipped"] == {"tent_50": "the base has no normalisation layer"}
    assert results["seconds"] == {"base": 61.0, "select": 13.0, "overfit": 9.0, "train": 401.0,
                                  "predict": None}  # fmt: skip
    assert results["seconds_by_seed"]["train"] == [400.0, 401.0, 402.0]


def test_costs_are_means_and_multiples_of_the_base(tmp_path: Path) -> None:
    make_run(tmp_path)
    for seed, seconds in ((0, None), (1, 50.0), (2, 70.0)):  # the first seed's base was loaded
        path = tmp_path / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts, s=seconds: facts["training_seconds"].update(base=s))
    costs = write_report(tmp_path)["costs"]
    assert costs.keys() == MADE.keys()
    assert costs["deep_ensemble_5"] == {
        "microseconds": 401.0, "training_seconds": 1150.0, "parameters": 308_530,
        "microseconds_ratio": pytest.approx(401 / 81),
        "training_seconds_ratio": pytest.approx(1150 / 60), "parameters_ratio": pytest.approx(5.0),
    }  # fmt: skip
    assert costs["base"]["training_seconds"] == 60.0
    assert costs["temperature"]["training_seconds_ratio"] == pytest.approx(0.01)
    assert costs["laplace"]["microseconds"] is costs["laplace"]["microseconds_ratio"] is None
    assert report_row(tmp_path, "deep_ensemble_5", "What it costs")[1:] == [
        "401.0", "5.0", "1,150.0", "19.2", "308,530", "5.0"]  # fmt: skip
    assert report_row(tmp_path, "laplace", "What it costs")[1:4] == ["—", "—", "2.0"]


def test_without_costs_there_is_no_cost_column(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(0,))
    gone = ("costs", "training_seconds", "parameters", "uses_label", "skipped")
    change_json(tmp_path / "predictions/seed-0.json", lambda facts: [facts.pop(key) for key in gone])
    results = write_report(tmp_path)
    assert results["costs"]["ocd"]["microseconds"] is None
    assert results["uses_label"] == ["overfit_test", "overfit_test_all_layers"]  # known for it
    assert "µs" not in markdown_table(results)
    assert "No costs are known." in (tmp_path / "report.md").read_text()


def test_skipped_in_some_seeds_says_in_which(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "predictions/seed-1.json"
    change_json(path, lambda facts: facts["skipped"].update(tent_50="no time", laplace="no head"))
    change_json(path, lambda facts: facts["methods"].pop("laplace"))
    results = write_report(tmp_path)
    assert results["skipped"] == {
        "tent_50": "the base has no normalisation layer (seed 0, 2); no time (seed 1)",
        "laplace": "no head (seed 1)",
    }
    assert "- last-layer Laplace `laplace`: no head (seed 1)" in (tmp_path / "report.md").read_text()
    assert report_row(tmp_path, "laplace")[1].endswith("(2 of 3)")


def test_table_has_groups_mean_spread_and_the_best_in_bold(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    for key, mark in (("base", ""), ("deep_ensemble_5", "**")):
        losses = results["methods"][key]["cross_entropy"]
        accuracies = results["methods"][key]["accuracy"]
        cells = report_row(tmp_path, key)
        assert len(cells) == 1 + len(METRICS)
        assert cells[1] == f"{mark}{mean(losses):.4f} ± {stdev(losses):.4f}{mark}"
        assert cells[2] == f"{mark}{mean(accuracies):.2f} ± {stdev(accuracies):.2f}{mark}"
    assert "**" not in " ".join(report_row(tmp_path, "overfit_test"))  # lower, but an oracle
    lines = (tmp_path / "report.md").read_text().splitlines()
    groups = [line.split("|")[1].strip() for line in lines if line.startswith("| **")]
    assert groups == 2 * ["**OCD**", "**baselines**", "**oracle (uses the test label)**"]


def test_what_is_known_of_some_seeds_is_not_the_best(tmp_path: Path) -> None:
    """A method with its best seed alone: the others are compared over all."""
    make_run(tmp_path)
    for seed in (1, 2):
        path = tmp_path / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts: facts["methods"].pop("deep_ensemble_5"))
    table = markdown_table(write_report(tmp_path))
    row = next(line for line in table.splitlines() if "`deep_ensemble_5`" in line)
    assert "(1 of 3)" in row and "**" not in row and table.count("**") > 8


def test_narrow_table_for_readers(tmp_path: Path) -> None:
    table = markdown_table(write_report(make_run(tmp_path)))
    assert table.splitlines()[0] == (
        "| method | cross entropy ↓ | accuracy [%] ↑ | calibration error [%] ↓ | µs per example | "
        "× base | training s |"
    )
    assert cells_of(table, "ocd_ensemble_5")[4:] == ["501.0", "6.2", "400.0"]


def test_results_of_before_have_plain_costs_and_another_order(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path, seeds=(0,)))
    new = markdown_table(results)
    results["costs"] = {name: costs["microseconds"] for name, costs in results["costs"].items()}
    results["methods"] = dict(reversed(results["methods"].items()))
    for key in ("uses_label", "skipped", "uncertainty"):
        del results[key]
    without_seconds = [line.rsplit("|", 2)[0] + "|" for line in new.splitlines()]
    assert markdown_table(results).splitlines() == without_seconds


def test_report_tells_a_stranger_what_was_run(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert text.splitlines()[0] == results["verdict"]["sentence"]
    assert "`ocd run digits --seeds 0,1,2`" in text
    assert "1,437 training and 400 test examples" in text
    assert text.count("the loss falls by 40 %") == 1
    assert "- only seed 1 says this (seed 1)" in text
    assert "- alternative layer: learning rate 0.01\n- label_head: learning rate 0.01\n" in text
    assert "Left out of this table:\n\n- Tent, iterations: 50 `tent_50`: the base has no" in text
    assert report_row(tmp_path, "fc1", "Layer scores")[1:] == ["-0.5500", "0.0346", "3"]  # 0.06 / √3


def test_comparisons_are_in_the_report(tmp_path: Path) -> None:
    verdict = write_report(make_run(tmp_path))["verdict"]
    for found in verdict["against"]:
        cells = against_row(tmp_path, found["baseline"], "why")
        assert cells[1:3] == [found["why"], found["statement"]]
        difference, (low, high) = found["difference"], found["interval"]
        assert float(cells[3].split()[0]) == pytest.approx(difference, abs=1e-4)
        assert f"({low:+.2g}"[:5] in cells[3] and low < high


def test_one_draw_is_set_against_the_base_and_every_baseline(tmp_path: Path) -> None:
    results = write_report(make_run(tmp_path))
    found = {one["baseline"]: one for one in results["verdict"]["one_draw"]}
    assert "base" in found and len(found) > len(results["verdict"]["against"])
    losses = {name: mean(results["methods"][name]["cross_entropy"]) for name in ("ocd", *found)}
    for baseline, facts in found.items():
        difference = losses[baseline] - losses["ocd"]
        assert facts["difference"] == pytest.approx(difference, rel=1e-4)
        assert facts["interval"][0] < difference < facts["interval"][1]
        cells = against_row(tmp_path, baseline, "share")
        assert cells[1] == facts["statement"]
        assert cells[3] == f"{100 * difference / losses[baseline]:+.1f} %"


def against_row(folder: Path, key: str, column: str) -> list[str]:
    """Of the table with this column."""
    text = (
        (folder / "report.md").read_text().split("\n## Against base and baselines")[1].split("\n## ")[0]
    )
    (table,) = [part for part in text.split("\n\n") if f"| {column}" in part]
    return cells_of(table, key)


def test_uncertainty_is_judged_by_seed(tmp_path: Path) -> None:
    make_run(tmp_path)
    results = write_report(tmp_path)
    scores = results["uncertainty"]
    assert list(scores) == ["base_entropy", "spread", "predictive_entropy", "mutual_information"]
    assert all(len(found[key]) == 3 for found in scores.values() for key in ("auroc", "aurc"))
    best = max(scores, key=lambda name: mean(scores[name]["auroc"]))
    assert report_row(tmp_path, best, "Knowing where the base errs")[1].startswith(
        f"{mean(scores[best]['auroc']):.4f} ± {stdev(scores[best]['auroc']):.4f}"
    )
    change_tensors(tmp_path, 1, lambda t: t["uncertainty/spread"].fill(np.nan))
    scores = write_report(tmp_path)["uncertainty"]
    assert [value is None for value in scores["spread"]["auroc"]] == [False, True, False]


def test_the_report_says_what_an_error_of_the_base_is(tmp_path: Path) -> None:
    make_run(tmp_path)
    of_classes, of_numbers = "its most probable class is not the right", "tenth of the test examples"
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert of_classes in text and of_numbers not in text
    for seed in (0, 1, 2):  # of numbers there is no entropy of the base's answer
        change_tensors(tmp_path, seed, lambda tensors: tensors.pop("uncertainty/base_entropy"))
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert of_numbers in text and of_classes not in text


def of_scores(tensors: list[dict[str, Any]]) -> RunRecords:
    """A run of these tensors, one of each seed."""
    of_seed = dict(enumerate(tensors))
    return RunRecords({}, [], {seed: {} for seed in of_seed}, of_seed, {})


def make_scores(base: float, spread: float, num: int = 500, num_seeds: int = 3) -> RunRecords:
    """Scores that know the base's errors the better, the larger these numbers."""
    draw = np.random.default_rng(0)
    tensors = []
    for _ in range(num_seeds):
        errors = (draw.random(num) < 0.1).astype(float)
        scores = {"base_entropy": base, "spread": spread}
        named = {
            f"uncertainty/{s}": (k * errors + draw.normal(0, 1, num)).round(1)
            for s, k in scores.items()
        }
        tensors.append({"base_error": errors, **named})
    return of_scores(tensors)


@pytest.mark.parametrize(
    ("base", "spread", "words"),
    [
        (0.5, 2.0, "ranks the base's errors better than"),
        (2.0, 0.5, "ranks the base's errors worse than"),
        (1.0, 1.0, "cannot be told apart, in ranking the base's errors, from"),
    ],
)
def test_one_score_is_set_against_that_of_the_base(base: float, spread: float, words: str) -> None:
    run = make_scores(base, spread)
    found = rank_errors(run)
    assert "against_base" not in found["base_entropy"]
    against = found["spread"]["against_base"]
    difference, (low, high) = against["difference"], against["interval"]
    expected = np.subtract(found["spread"]["auroc"], found["base_entropy"]["auroc"]).mean()
    assert difference == pytest.approx(expected)
    assert low < difference < high
    assert own_score_sentence(found) == (
        f"“OCD: spread of the draws” {words} “base: entropy of its answer”: {difference:+.4f} in AUROC "
        f"(paired bootstrap over test examples, 95 % interval {low:+.4f} to {high:+.4f}; positive: "
        "OCD is better)."
    )
    # A better one of the other scores changes nothing: which one counts was settled beforehand.
    for tensors in run.tensors.values():
        tensors["uncertainty/mutual_information"] = tensors["base_error"]
    assert own_score_sentence(rank_errors(run)) == own_score_sentence(found)


def test_interval_of_scores_agrees_with_resampling_one_by_one() -> None:
    run = make_scores(1.0, 1.5, num=200)
    generator, gaps = np.random.default_rng(1), []
    for _ in range(1000):
        rows = generator.integers(200, size=200)
        pairs = []
        for tensors in run.tensors.values():
            for sign, score in ((1, "spread"), (-1, "base_entropy")):
                value = auroc(tensors[f"uncertainty/{score}"][rows], tensors["base_error"][rows])
                assert value is not None
                pairs.append(sign * value / 3)
        gaps.append(sum(pairs))
    expected = np.percentile(gaps, [2.5, 97.5])
    found = rank_errors(run)["spread"]["against_base"]["interval"]
    assert found == pytest.approx(expected, abs=0.15 * np.diff(expected).item())


def test_where_scores_cannot_be_compared() -> None:
    one = {"base_error": np.array([1.0, 0.0, 0.0]), "uncertainty/spread": np.array([3.0, 1.0, 2.0])}
    found = rank_errors(of_scores([one]))
    assert found["spread"]["against_base"] is None
    assert own_score_sentence(found).endswith(
        "has AUROC 1.0000; the base has no score to compare it with."
    )
    flat = {"base_error": np.zeros(3), "uncertainty/spread": np.ones(3)}
    found = rank_errors(of_scores([flat | {"uncertainty/base_entropy": np.ones(3)}]))
    assert found["spread"] == {"auroc": [None], "aurc": [0.0], "against_base": None}
    assert "could not be judged: the base errs on no test example" in own_score_sentence(found)
    assert "could not be judged" in own_score_sentence({"base_entropy": {"auroc": [0.8]}})


def test_scores_of_ten_thousand_examples_take_seconds() -> None:
    run = make_scores(1.0, 1.5, num=10_000)
    start = time.process_time()
    rank_errors(run)
    assert time.process_time() - start < 5


@pytest.mark.usefixtures("draws")
def test_figures_are_drawn_anew(tmp_path: Path) -> None:
    from matplotlib.image import imread

    drawn = {name: tmp_path / f"figures/{name}.png" for name in FIGURES}
    write_old_figures(tmp_path)
    write_report(make_run(tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert all(f"](figures/{name}.png)" in text for name in FIGURES)
    for path in drawn.values():
        image = imread(path)
        assert min(image.shape[:2]) > 300
        assert 0.02 < image[..., :3].std() < 0.6  # neither blank nor noise
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.usefixtures("draws")
def test_missing_parts_are_named(tmp_path: Path) -> None:
    """Without selection, scores or costs their figures go, old ones too, and the report says so."""
    make_run(tmp_path, seeds=(0,))
    write_old_figures(tmp_path)
    (tmp_path / "selection/seed-0.json").unlink()
    change_json(tmp_path / "predictions/seed-0.json", lambda facts: facts.pop("costs"))
    change_tensors(tmp_path, 0, lambda t: t.pop("base_error"))
    change_json(tmp_path / "config.json", lambda facts: facts["config"].update(layer="fc1"))
    assert write_report(tmp_path)["layer"] == "fc1"  # as named
    text = (tmp_path / "report.md").read_text()
    assert "`layer_scores.png` is not drawn: no selection was run" in text
    assert "`comparison.png` is not drawn: no method has" in text
    assert "`risk_coverage.png` is not drawn: the predictions lack" in text
    names = {path.stem for path in tmp_path.glob("figures/*")}
    assert names == {"base_vs_ocd", "worst_examples", "training"}


def test_scores_of_layers_of_one_example_are_drawn_without_errors():
    figure = draw_layer_scores(
        [LayerScore("head", 1.5, math.nan, 1), LayerScore("body", 1, math.nan, 0)]
    )
    low, high = figure.axes[0].get_xlim()
    assert low < 1 < 1.5 < high


@pytest.mark.parametrize("scatter", [1.0, 0.3, 0.0])
def test_no_names_overlap_in_the_comparison(scatter: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    places = np.exp(np.random.default_rng(0).normal(0, scatter, (len(ORDER), 2))).tolist()
    pairs = zip(ORDER, places, strict=True)
    points = [MethodPoint(title(name), "baselines", *place) for name, place in pairs]
    figure = draw_comparison(points, "loss")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    names = figure.axes[0].get_yticklabels()
    assert [name.get_text() for name in names] == [
        point.title for point in sorted(points, key=lambda point: point.loss)
    ]
    boxes = [name.get_window_extent(renderer) for name in names]
    assert all(box.x0 >= 0 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "loss"), [("name " * 40, 0.12), ("one that diverged", 1e30)])
def test_long_names_and_a_loss_that_is_huge_leave_the_comparison_readable(
    name: str, loss: float
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    points = [MethodPoint("base", "base", 10, 0.1), MethodPoint(name, "baselines", 15, loss)]
    figure = draw_comparison(points, "a loss of somebody's own with a name that goes on " * 2)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    left, right = figure.axes
    assert left.get_window_extent(renderer).width > 100
    labels = [axes.xaxis.get_label().get_window_extent(renderer) for axes in figure.axes]
    ticks = [
        label.get_window_extent(renderer)
        for label, place in zip(left.get_xticklabels(), left.get_xticks(), strict=True)
        if left.get_xlim()[0] <= place <= left.get_xlim()[1]
    ]
    assert not any(a.overlaps(b) for of in (labels, ticks) for i, a in enumerate(of) for b in of[:i])
    assert labels[0].x0 >= 0 and right.get_xlabel() == "prediction [µs per example]"


@pytest.mark.usefixtures("draws")
def test_a_single_method_has_figures_too(tmp_path: Path) -> None:
    write_report(make_run(tmp_path, seeds=(0,), made={"base": MADE["base"]}, num_test=5))
    text = (tmp_path / "report.md").read_text()
    assert "](figures/comparison.png)" in text
    assert "`base_vs_ocd.png` is not drawn" in text


@pytest.mark.usefixtures("draws")
def test_negative_and_tiny_losses_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(0,))

    def negate(tensors: dict[str, Any]) -> None:
        for name in tensors:
            if "loss" in name:
                tensors[name] = -10 - tensors[name]

    change_tensors(tmp_path, 0, negate)
    assert write_report(tmp_path)["verdict"]["metric"] == "loss"  # not what the metric averages
    path = tmp_path / "predictions/seed-0.json"
    facts = json.loads(path.read_text())
    for values in facts["methods"].values():
        values["cross_entropy"] /= 1000
    write_json(path, facts)
    expected = facts["methods"]["base"]["cross_entropy"]
    write_report(tmp_path)
    assert float(report_row(tmp_path, "base")[1]) == pytest.approx(expected, rel=0.01)


@pytest.mark.usefixtures("draws")
def test_values_that_are_not_finite_are_left_out_and_said(tmp_path: Path) -> None:
    make_run(tmp_path)
    nan = float("nan")
    change_json(
        tmp_path / "predictions/seed-1.json",
        lambda facts: facts["methods"]["ocd"].update(cross_entropy=nan),
    )
    change_tensors(tmp_path, 1, lambda t: t["loss/ocd_ensemble_5"].__setitem__(3, np.inf))
    results = write_report(tmp_path)
    assert results["methods"]["ocd"]["cross_entropy"][1] is None
    assert report_row(tmp_path, "ocd")[1].endswith("(2 of 3)")
    assert results["verdict"]["statement"] == "undecided"
    assert "399 of 400 with finite losses" in (tmp_path / "report.md").read_text()


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    write_report(make_run(tmp_path, seeds=(0,)))
    text = (tmp_path / "report.md").read_text()
    assert "±" not in text
    assert "(paired bootstrap over test examples, 95 %" in text
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


def test_seeds_of_different_test_sets_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(0, 1), num_test=40)
    change_tensors(tmp_path, 1, lambda t: t.update({name: t[name][..., :30] for name in [*t]}))
    with pytest.raises(OCDError, match=r"seed 0: \[40\]; seed 1: \[30\]"):
        write_report(tmp_path)


def test_terminal_table_fits_and_shows_every_method(tmp_path: Path) -> None:
    from rich.console import Console

    results = write_report(make_run(tmp_path))
    page = io.StringIO()
    Console(width=200, file=page).print(results_table(results))
    text = page.getvalue()
    assert "OCD, ensemble of 5 draws" in text
    assert "Tent, iterations: 1" in text
    assert "accuracy" in text and "[%] ↑" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 120


def printed(results: dict[str, Any], width: int) -> str:
    from rich.console import Console

    page = io.StringIO()
    Console(width=width, file=page).print(results_table(results, width))
    return page.getvalue()


def test_a_narrow_terminal_has_fewer_columns(tmp_path: Path) -> None:
    """First those of least interest go, then methods' titles are broken, but between words."""
    results = write_report(make_run(tmp_path))
    whole = table_width(results_table(results))
    loss = f"{mean(results['methods']['base']['cross_entropy']):.4f}"
    assert printed(results, whole) == printed(results, 200)
    kept = {
        whole - 1: ("cross", "accuracy", "µs per", "× base", "calibration"),
        100: ("cross", "accuracy", "µs per", "× base"),
        80: ("cross", "accuracy", "× base"),
        60: ("cross", "accuracy"),
        40: ("cross",),
    }
    for width, columns in kept.items():
        text = printed(results, width)
        assert max(map(len, text.splitlines())) <= width
        for name in ("cross", "accuracy", "× base", "µs per", "calibration", "training s"):
            assert (name in text) is (name in columns), (width, name)
        assert {loss, "ensemble", "iterations:", "diffusion"} <= set(text.replace(",", " ").split())
        assert "…" not in text


def test_ten_thousand_examples_take_seconds(tmp_path: Path) -> None:
    make_run(tmp_path, num_test=10_000)
    start = time.process_time()
    write_report(tmp_path)
    assert time.process_time() - start < 10  # two cores take 2
