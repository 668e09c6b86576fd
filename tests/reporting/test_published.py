"""The paper's own table beside a run's: figures as published, gains judged by a rule that is said."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_files import write_mnist
from ocd import Examples
from ocd.evaluation import paired_bootstrap
from ocd.reporting import write_report
from ocd.reporting.gains import (
    LARGER,
    NO_GAIN,
    NOT_REPRODUCED,
    REACHED,
    REPRODUCED,
    SMALLER,
    UNDECIDED,
    Compared,
    compare,
    judge,
)
from ocd.reporting.methods import METHODS, title
from ocd.reporting.published import other_experiment
from ocd.reporting.records import RunRecords, read_run
from ocd.runs import Run
from ocd.runs.examples import said_of
from ocd.tasks import TASKS, TaskData, get_task
from run_folders import change_json, change_tensors, make_run
from small_run import SMALL

PUBLISHED = {
    "source": "Tab. 9",
    "methods": {
        "base": {"cross_entropy": [0.2, 0.01], "accuracy": [97.0, None]},
        "overfit_test": {"cross_entropy": [0.01, None], "accuracy": [100.0, None]},
        "ocd": {"cross_entropy": [0.05, 0.01], "accuracy": [97.5, 0.1]},
        "no_scale": {"cross_entropy": [0.1, None], "accuracy": [97.1, None]},
        "nearest_neighbor": {"cross_entropy": [0.199, None], "accuracy": [97.0, None]},
        "overfit_test_all_layers": {"cross_entropy": [0.01, None], "accuracy": [100.0, None]},
    },
    "remarks": ["Another network.", "Another view."],
    "options": {"corruption": "none"},
}
"""Sorted otherwise than the report's tables, as a configuration on disk is."""

TITLES = {text for _, _, text in METHODS}


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])


def make_published(folder: Path, **changes: Any) -> Path:
    """A synthetic run of a task that has a published table."""
    make_run(folder, num_test=2000)
    changes = {"published": PUBLISHED, "options": {"corruption": "none"}} | changes
    change_json(folder / "config.json", lambda config: config.update(changes))
    return folder


def section(folder: Path) -> str:
    """Of the report; empty where there is none."""
    parts = (folder / "report.md").read_text().split("\n## ")
    return next((part for part in parts if part.startswith("Beside the published table")), "")


def tables(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Metric -> method -> the other cells of its row."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in section(folder).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| method"):
            metric = cells[1].removeprefix("published ").split(" [")[0]
            found[metric] = {}
        elif line.startswith("|") and "`" in line:
            found[metric][cells[0].split("`")[1]] = cells[1:]
    return found


# What the tasks say


def test_published_tables_speak_of_our_methods_and_metrics() -> None:
    for task in (get_task(name) for name in TASKS):
        if task.published is None:
            continue
        base = task.published.methods["base"]
        assert base.keys() <= task.metrics.keys()
        for method, of in task.published.methods.items():
            assert of.keys() <= base.keys(), method
            assert re.sub(r"\d+", "{}", title(method)) in TITLES, method
        assert task.published.options.keys() <= vars(task.options()).keys()
        assert all(remark.endswith(".") for remark in task.published.remarks)
        assert "\n" not in task.published.source


def test_mnist_has_the_papers_figures() -> None:
    published = get_task("mnist").published
    assert published is not None
    assert published.methods["base"] == {"cross_entropy": (0.08, 0.009), "accuracy": (99.2, 0.1)}
    assert published.methods["ocd"] == {"cross_entropy": (0.01, 0.006), "accuracy": (99.7, 0.1)}
    assert published.methods["no_scale"]["cross_entropy"] == (0.069, None)  # no deviation is given
    assert len(published.methods) == 7
    assert get_task("digits").published is None  # not in the paper


def test_a_run_keeps_the_published_table(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    settings = {key: str(value) for key, value in SMALL.items() if not key.endswith("_size")}
    Run.create("mnist", tmp_path / "run", data_dir=tmp_path, settings=settings)
    saved = json.loads((tmp_path / "run/config.json").read_text())["published"]
    assert saved["methods"]["ocd"]["accuracy"] == [99.7, 0.1]
    assert saved["methods"]["nearest_neighbor"]["accuracy"] == [99.3, None]
    assert len(saved["remarks"]) == 3


def test_another_published_table_is_no_other_run(tmp_path: Path) -> None:
    settings = {key: str(value) for key, value in SMALL.items()}
    Run.create("digits", tmp_path, settings=settings)
    assert json.loads((tmp_path / "config.json").read_text())["published"] is None
    change_json(tmp_path / "config.json", lambda config: config.update(published=PUBLISHED))
    Run.create("digits", tmp_path, settings=settings)  # raises where it holds another run
    change_json(tmp_path / "config.json", lambda config: config.pop("published"))
    Run.create("digits", tmp_path, settings=settings)
    assert json.loads((tmp_path / "config.json").read_text())["published"] is None


# The rule


def compared(
    published: float,
    gain: float | None,
    interval: list[float] | None,
    deviation: float | None = None,
    limit: float | None = None,
    extended: bool = False,
) -> Compared:
    figure = (99.0, deviation)
    return Compared("ocd", "accuracy", figure, published, [], gain, interval, limit, extended)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (compared(0.5, 0.5, [0.4, 0.6]), REPRODUCED),
        (compared(0.5, 0.41, [0.4, 0.42], 0.1), REPRODUCED),  # within the published deviation
        (compared(0.5, 0.39, [0.3, 0.5], 0.1), SMALLER),
        (compared(0.5, 0.41, [0.4, 0.42]), SMALLER),  # no deviation, nothing to allow for
        (compared(0.5, 0.3, [-0.1, 0.7], 0.1), NOT_REPRODUCED),
        (compared(0.5, 0.6, [-0.1, 1.3], 0.1), NOT_REPRODUCED),  # large enough, but by chance
        (compared(0.5, -0.2, [-0.3, -0.1], 0.8), NOT_REPRODUCED),
        (compared(0.5, 0.0, [0.0, 0.0], 0.8), NOT_REPRODUCED),
        (compared(0.0, 0.3, [0.2, 0.4]), NO_GAIN),
        (compared(-0.1, None, None), NO_GAIN),
        (compared(0.5, None, None), UNDECIDED),
        (compared(0.5, 0.6, None), UNDECIDED),
        (compared(0.5, 0.8, [0.7, 0.9], limit=0.75), LARGER),
        (compared(0.5, 0.7, [0.6, 0.8], limit=0.75), REPRODUCED),
        (compared(0.5, 0.8, [-0.1, 1.7], limit=0.75), NOT_REPRODUCED),  # larger, but by chance
        (compared(0.0, 0.8, [0.7, 0.9], limit=0.25), LARGER),  # nothing gained there, much here
        (compared(0.0, 0.8, None, limit=0.25), NO_GAIN),
        (compared(0.5, 0.6, [0.5, 0.7], extended=True), REACHED),
        (compared(0.5, 0.3, [0.2, 0.4], extended=True), SMALLER),
    ],
)
def test_rule(row: Compared, expected: str) -> None:
    assert judge(row) == expected


def test_gains_and_their_intervals(tmp_path: Path) -> None:
    run = read_run(make_published(tmp_path))
    results = write_report(tmp_path)
    rows = {(row.method, row.metric): row for row in compare(run, results)}
    for metric, sign in (("cross_entropy", -1), ("accuracy", 1)):
        ours, base = (run.of_seeds(f"value/{method}/{metric}") for method in ("ocd", "base"))
        assert ours is not None and base is not None
        row = rows["ocd", metric]
        assert row.gain == pytest.approx(sign * (ours - base).mean(), rel=1e-4)
        assert row.interval == pytest.approx(paired_bootstrap(sign * (ours - base)[None])[0])
        assert row.ours == results["methods"]["ocd"][metric]
    assert rows["ocd", "cross_entropy"].published_gain == pytest.approx(0.15)
    assert rows["no_scale", "accuracy"].published_gain == 0.1  # 97.1 - 97.0 is a little less


def test_limits_above_which_a_gain_is_larger(tmp_path: Path) -> None:
    """Twice the deviation of base and method, or half of what `ocd` gains there."""
    published = json.loads(json.dumps(PUBLISHED))
    published["methods"]["base"]["accuracy"] = [97.0, 0.3]
    published["methods"]["no_scale"]["accuracy"] = [97.1, 0.4]
    run = read_run(make_published(tmp_path, published=published))
    rows = {(row.method, row.metric): row for row in compare(run, write_report(tmp_path))}
    limits = {of: row.limit for of, row in rows.items()}
    assert limits["no_scale", "accuracy"] == pytest.approx(0.1 + 2 * 0.5)
    assert limits["no_scale", "cross_entropy"] == pytest.approx(0.1 + 0.15 / 2)
    assert limits["ocd", "accuracy"] is limits["ocd", "cross_entropy"] is None
    assert limits["overfit_test", "accuracy"] is None  # all that there is, there and here
    assert limits["overfit_test", "cross_entropy"] is not None


PAPER = {"scale_factor": 1.0, "spread": 1.0}


@pytest.mark.parametrize(
    ("options", "config", "expected"),
    [
        ({"encode_x": True}, {}, "x itself in the condition"),
        ({"augment": True}, {}, "augmented examples"),
        ({}, {"training": {"task_loss_weight": 1.0}}, "the base's own loss with a correction"),
        ({}, {"sampling": PAPER | {"spread": None}}, "sampling settings chosen on held-out examples"),
        ({}, {"sampling": PAPER | {"spread": 0.5}}, "sampling settings other than 1"),
        ({}, {}, None),
        (
            {"encode_x": False, "augment": False},
            {"sampling": PAPER, "training": {"task_loss_weight": 0.0}},
            None,
        ),
    ],
)
def test_with_extensions_a_gain_is_reached(
    tmp_path: Path, options: dict[str, Any], config: dict[str, Any], expected: str | None
) -> None:
    write_report(make_published(tmp_path, run_options=options, config={"layer": "auto"} | config))
    text, word = section(tmp_path), REACHED if expected else REPRODUCED
    assert tables(tmp_path)["accuracy"]["ocd"][-1] == word
    assert f"(17 % of what its base leaves) is {word}, +" in text
    assert f"Of all published gains, {word}: `ocd`" in text
    listed = f"Extensions of this run that the paper has not: {expected}."
    assert text.count("Extensions of this run") == text.count(listed) == (expected is not None)


def test_without_values_of_examples_the_seeds_alone_decide(tmp_path: Path) -> None:
    make_published(tmp_path)
    change_tensors(tmp_path, 1, lambda t: t.pop("value/ocd/accuracy"))
    results = write_report(tmp_path)
    rows = {(row.method, row.metric): row for row in compare(read_run(tmp_path), results)}
    ours, base = (results["methods"][method]["accuracy"] for method in ("ocd", "base"))
    gains = np.subtract(ours, base)
    reach = 2 * gains.std(ddof=1) / np.sqrt(3)
    expected = [gains.mean() - reach, gains.mean() + reach]
    assert rows["ocd", "accuracy"].interval == pytest.approx(expected)


# The section


def test_no_section_without_a_published_table(tmp_path: Path) -> None:
    assert write_report(make_run(tmp_path))["published"] is None
    assert section(tmp_path) == ""


def test_section_shows_both_tables_side_by_side(tmp_path: Path) -> None:
    results = write_report(make_published(tmp_path))
    assert results["published"] == PUBLISHED
    found = tables(tmp_path)
    assert list(found) == ["cross entropy", "accuracy"]
    for rows in found.values():
        assert list(rows) == [
            "base", "ocd", "no_scale", "nearest_neighbor", "overfit_test", "overfit_test_all_layers"
        ]  # fmt: skip
    ours = results["methods"]["ocd"]["accuracy"]
    base = results["methods"]["base"]["accuracy"]
    cells = found["accuracy"]["ocd"]
    gain = np.mean(ours) - np.mean(base)
    assert cells[0] == "97.5 ± 0.1"
    assert cells[1] == f"{np.mean(ours):.2f} ± {np.std(ours, ddof=1):.2f}"
    assert cells[2] == "+0.5 (17 %)"
    assert cells[3] == f"{gain:+.2f} ({100 * gain / (100 - np.mean(base)):.0f} %)"
    assert found["accuracy"]["base"][2:] == ["—"] * 4
    assert found["cross entropy"]["nearest_neighbor"][0] == "0.199"  # no deviation where none is given
    assert section(tmp_path).rstrip().endswith("- Another network.\n- Another view.")


def test_section_says_which_gains_are_reproduced(tmp_path: Path) -> None:
    write_report(make_published(tmp_path))
    text, found = section(tmp_path), tables(tmp_path)
    verdicts = {
        metric: {method: cells[-1] for method, cells in rows.items() if method != "base"}
        for metric, rows in found.items()
    }
    assert verdicts["accuracy"] == {
        "ocd": REPRODUCED,
        "no_scale": NOT_REPRODUCED,
        "nearest_neighbor": NO_GAIN,
        "overfit_test": SMALLER,
        "overfit_test_all_layers": SMALLER,
    }
    assert verdicts["cross entropy"]["ocd"] == SMALLER
    assert (
        "OCD, one draw: the published gain of 0.15 (75 % of what its base leaves) is smaller here, +0.0"
    ) in text
    assert "the published gain of 0.5 points (17 % of what its base leaves) is reproduced, +1." in text
    assert (
        "Of all published gains, reproduced: `ocd`; smaller here: `overfit_test`, "
        "`overfit_test_all_layers`; not reproduced: `no_scale`; no gain published: `nearest_neighbor`."
    ) in text
    # A base with a lower loss leaves less: what the paper gained is more than there is.
    assert "Our base leaves only 0.09" in text
    assert "published for `ocd`, `no_scale`, `overfit_test`, `overfit_test_all_layers`: here no" in text


def test_another_experiment_is_shown_but_not_judged(tmp_path: Path) -> None:
    write_report(make_published(tmp_path, options={"corruption": "noise", "shift": 2}))
    text = section(tmp_path)
    assert "another experiment than the published one: `corruption` is noise instead of none." in text
    assert "verdict" not in text.split("Only methods")[0]
    assert "Of all published gains" not in text
    assert all(len(cells) == 5 for rows in tables(tmp_path).values() for cells in rows.values())


def test_what_stands_in_for_the_papers_network_is_kept_with_the_table(tmp_path: Path) -> None:
    task, other = get_task("mnist"), Examples(torch.zeros(4, 1, 28, 28), torch.zeros(4).long())
    for stand_in in ("", "another network stands in"):
        said = said_of(task, {0: TaskData(other, other, stand_in=stand_in)})["published"]
        assert said["stand_in"] == stand_in and said["options"] == task.published.options
        write_report(make_published(tmp_path / (stand_in or "none"), published=PUBLISHED | said))
        text = section(tmp_path / (stand_in or "none"))
        assert ("Of all published gains" in text) == (not stand_in)
        assert (f"published one: {stand_in}. The figures" in text) == bool(stand_in)
    assert said_of(get_task("digits"), {0: TaskData(other, other)})["published"] is None


@pytest.mark.parametrize(
    ("task", "changed"),
    [("setfit-sst5", {"precision": "bfloat16"}), ("setfit-sst5", {"iterations": 5}),
     ("tiny-imagenet", {"model": "efficientnet-lite0"}), ("tiny-imagenet", {"train_size": 100})],
)  # fmt: skip
def test_options_without_which_a_task_is_not_the_papers(task: str, changed: dict) -> None:
    options = get_task(task).options()
    published = dataclasses.asdict(get_task(task).published)
    for one, count in ((options, 0), (dataclasses.replace(options, **changed), 1)):
        config = {"published": published, "options": dataclasses.asdict(one)}
        assert len(other_experiment(RunRecords(config, [], {}, {}, {}))) == count


def test_a_table_of_the_base_alone_says_that_no_gain_is_published(tmp_path: Path) -> None:
    alone = PUBLISHED | {"methods": {"base": PUBLISHED["methods"]["base"]}}
    write_report(make_published(tmp_path, published=alone))
    assert "**Accuracy.** No gain is published." in section(tmp_path)


def test_a_method_that_was_not_run_is_undecided(tmp_path: Path) -> None:
    make_published(tmp_path)
    for seed in (0, 1, 2):
        path = tmp_path / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts: facts["methods"].pop("no_scale"))
    write_report(tmp_path)
    cells = tables(tmp_path)["accuracy"]["no_scale"]
    assert cells == ["97.1", "—", "+0.1 (3 %)", "—", "—", UNDECIDED]
