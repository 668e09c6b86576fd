"""`make results`: the plan names what exists, and what is taken over of a run is what it measured."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import make_results
import results_plan
from ocd.runs.settings import read_settings
from ocd.tasks import get_task
from results_figure import gains
from results_tables import read_results

PLAN = results_plan.read_plan()


@pytest.mark.parametrize("planned", PLAN, ids=lambda planned: planned.folder)
def test_the_plan_names_tasks_and_settings_that_exist(planned: results_plan.Planned) -> None:
    words = planned.arguments(Path("data"), Path("out"))
    given = [after for before, after in pairwise(words) if before == "--set"]
    read_settings(get_task(planned.task), "fast", dict(item.split("=", 1) for item in given))
    assert len(given) == len(planned.settings) + len(planned.files)
    assert planned.needs or planned.hours


def test_no_two_results_share_a_folder_or_a_name() -> None:
    assert len({one.folder for one in PLAN}) == len({one.name for one in PLAN}) == len(PLAN)


def test_a_command_is_shown_without_the_folders_of_a_machine() -> None:
    planned = next(one for one in PLAN if one.folder == "nerf/lego")
    shown = "ocd run nerf-lego --data-dir DIR --seeds 0,1,2\nocd condition runs/nerf-lego"
    assert planned.shown() == shown
    long = next(one for one in PLAN if one.folder == "mnist-noise").shown()
    assert "--set base=lenet5_mnist.safetensors" in long and max(map(len, long.split("\n"))) < 115
    assert all(line.endswith(" \\") for line in long.split("\n")[:-1])


def test_what_is_not_at_hand_is_named(tmp_path: Path) -> None:
    planned = next(one for one in PLAN if one.folder == "mnist")
    assert planned.missing(None).startswith("DATA/data/official_checkpoints")
    (tmp_path / "hub").mkdir()
    assert planned.missing(tmp_path) == str(tmp_path / planned.files["base"])
    lines = make_results.listed([planned], tmp_path, "a state")
    assert f"0.6 h  not at hand: {tmp_path / planned.files['base']}; " in lines


def test_some_are_chosen_by_the_beginning_of_their_folder() -> None:
    found = [one.folder for one in make_results.chosen(PLAN, "nerf,digits")]
    assert found == ["digits", "nerf/lego", "nerf/hotdog", "nerf/drums"]
    assert not [one for one in make_results.chosen(PLAN, "") if one.needs]
    with pytest.raises(SystemExit, match="no result is called 'nerv'; there are digits, mnist"):
        make_results.chosen(PLAN, "nerv")


def test_a_run_is_made_taken_over_and_stamped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(make_results, "RESULTS", tmp_path / "results")
    stale = tmp_path / "results" / "digits" / "figures" / "stale.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    quick = {"train_size": 120, "test_size": 30, "training.num_steps": 5, "baselines": "none"}
    planned = replace(PLAN[0], seeds=[0], settings=quick | {"base_epochs": 1, "alternative": False})
    assert make_results.run([planned], tmp_path, "state", 1) == "digits: made"
    into = tmp_path / "results" / "digits"
    results = json.loads((into / "results.json").read_text())
    assert results["examples"] == {"test": 30, "train": 120} and not stale.exists()
    assert (into / "figures" / "training.png").exists()
    assert str(tmp_path) not in (into / "report.md").read_text() + json.dumps(results)
    made = json.loads((into / "made.json").read_text())
    assert made["code"] == "state" and made["threads"] == 1 and made["torch"]
    assert make_results.of_other_code(planned, "state") == ""
    assert make_results.of_other_code(planned, "another").startswith(f"of {made['version']}, commit ")
    broken = replace(planned, settings={"no_such": 1})
    assert "failed with exit code 2: " in make_results.run([broken], tmp_path, "state", 1)
    capsys.readouterr()


def test_the_parts_of_a_suite_are_made_by_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [one for one in PLAN if one.suite == "setfit"]
    assert len(texts) > 2 and {one.run for one in texts} == {"text/setfit"}
    words = texts[0].arguments(tmp_path, tmp_path / "out")
    assert words[:2] == ["run", "setfit"] and texts[0].shown().startswith(f"ocd run {texts[0].task} ")
    monkeypatch.setattr(make_results, "RESULTS", tmp_path / "results")
    run = tmp_path / "run"
    for folder in (run, *(run / one.task for one in texts)):
        (folder / "figures").mkdir(parents=True)
        (folder / "figures" / "gains.png").touch()
        (folder / "results.json").write_text("{}")
        (folder / "report.md").write_text(
            f"{folder.name}: [it]({texts[0].task}/report.md), ![](figures/gains.png)"
        )
    make_results.take_over_all(texts, run, None, {"code": "state"})
    text = tmp_path / "results" / "text"
    part = Path(texts[0].folder).name
    assert (text / "setfit.md").read_text() == f"run: [it]({part}/report.md), ![](figures/gains.png)"
    assert (text / "figures" / "gains.png").exists() and (text / "setfit.json").exists()
    for one in texts:
        there = tmp_path / "results" / one.folder
        assert (there / "report.md").read_text().startswith(f"{one.task}: ")
        assert json.loads((there / "made.json").read_text()) == {"code": "state"}


def test_gains_of_the_figure_are_those_of_the_verdict() -> None:
    found = {one.folder: gains(one, read_results(one)) for one in results_plan.made()}
    results = read_results(next(one for one in PLAN if one.folder == "mnist"))
    base = sum(results["methods"]["base"]["cross_entropy"]) / len(results["seeds"])
    assert found["mnist"][0][0] == pytest.approx(100 * results["verdict"]["difference"] / base)
    assert all(
        low <= first <= high for pair in found.values() for first, low, high in filter(None, pair)
    )
