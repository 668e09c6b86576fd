"""A quick run says what it left out, what the full run adds, and about how long that takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ocd import OCDError
from ocd.baselines import DRAWN
from ocd.data import read_json
from ocd.runs import Run, audit_run, quick_lines
from ocd.runs.quick import OF_TRAINING, OTHER_BASE, duration, estimate
from ocd.runs.settings import RunOptions, read_settings
from ocd.tasks import CATALOG, get_task
from small_run import SMALL

GIVEN = ("baselines", "num_bases", "alternative")
TINY = {key: str(value) for key, value in SMALL.items() if key not in GIVEN}
"""What makes a run of the task digits take a second, but for what --quick decides."""
TABLE = {
    "width": "8", "blocks": "1", "base_epochs": "2", "num_draws": "4", "other_draws": "2",
    "selection.num_examples": "4", "selection.num_draws": "6", "denoiser.width": "16",
    "training.num_steps": "6", "training.batch_size": "16", "training.validate_every": "3",
}  # fmt: skip


def write_table(path: Path) -> Path:
    rows = [f"{i % 7},{i % 11},{(3 * i) % 5 + i % 7}" for i in range(80)]
    path.write_text("\n".join(["rooms,age,price", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished quick run, which no test may change."""
    root = tmp_path_factory.mktemp("runs") / "digits"
    run = Run.create("digits", root, settings=TINY | {"quick": "true"})
    run.predict(0)
    run.report()
    return run


@pytest.mark.parametrize("task", CATALOG)
def test_every_task_has_a_quick_run_with_its_own_ocd(task: str) -> None:
    _, options, run_options, config = read_settings(get_task(task), "fast", {"quick": "true"})
    _, full_options, full, full_config = read_settings(get_task(task), "fast", {})
    assert (options, config) == (full_options, full_config)
    assert run_options.quick and not full.quick
    assert (run_options.baselines, run_options.num_bases, run_options.alternative) == ("few", 1, False)
    assert (run_options.num_draws, run_options.augment) == (full.num_draws, full.augment)


def test_what_is_given_beside_it_counts() -> None:
    *_, run_options, _ = read_settings(
        get_task("digits"), "fast", {"quick": "true", "baselines": "paper", "num_bases": "3"}
    )
    assert (run_options.baselines, run_options.num_bases) == ("paper", 3)
    assert not read_settings(get_task("digits"), "fast", {"quick": "false"})[2].quick


def test_a_quick_run_is_recorded(quick: Run) -> None:
    saved = read_json(quick.root / "config.json")
    assert saved["run_options"]["quick"] is True
    assert "label_head" in saved["left_out"] and "temperature" not in saved["left_out"]
    assert Run.open(quick.root).run_options == quick.run_options
    found = {finding.name: finding for finding in audit_run(Run.open(quick.root)).findings}
    assert found["manifest"].passed and found["labels, seed 0"].passed
    verdict = read_json(quick.root / "results.json")["verdict"]
    assert verdict["quick"]["left_out"] == saved["left_out"]
    assert (quick.root / "report.md").read_text().startswith("Quick run: one seed. Left out: ")


def test_what_is_left_out_is_what_the_full_run_adds(quick: Run, tmp_path: Path) -> None:
    full = Run.create("digits", tmp_path, settings=TINY)
    full.predict(0)
    ours, theirs = (read_json(run.root / "predictions/seed-0.json")["methods"] for run in (quick, full))
    assert theirs.keys() - ours.keys() == set(read_json(quick.root / "config.json")["left_out"])
    assert ours.keys() < theirs.keys()
    assert read_json(full.root / "config.json")["left_out"] == []
    # OCD is the same in both.
    assert ours["ocd"] == theirs["ocd"] and ours["ocd_ensemble_5"] == theirs["ocd_ensemble_5"]


def test_what_is_left_out_of_a_table(tmp_path: Path) -> None:
    path = write_table(tmp_path / "homes.csv")
    settings = TABLE | {"path": str(path), "target": "price"}
    quick = Run.create("table", tmp_path / "quick", settings=settings | {"quick": "true"})
    full = Run.create("table", tmp_path / "full", settings=settings)
    rows = []
    for run in (quick, full):
        run.predict(0)
        found = read_json(run.root / "predictions/seed-0.json")
        rows.append(found["methods"].keys() | found["skipped"].keys())
        # From bases that have not seen the example, which a quick run trains too.
        assert found["distribution"].keys() >= {"ocd", "base_conformal", "boosting_conformal"}
    left_out = read_json(quick.root / "config.json")["left_out"]
    assert rows[1] - rows[0] - {"tent_1", "tent_10", "tent_30"} == set(left_out)
    first = quick.report()["verdict"]
    assert list(first["distribution"]["levels"]) == ["90", "50"]
    assert first["distribution"]["num_rows"] == 16


def full_of(run: Run) -> RunOptions:
    assert run.full_options is not None
    return run.full_options


def test_the_estimate_is_made_of_what_was_timed(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"base": 10.0, "overfit": 3.0, "train": 100.0, "predict": 0.0}
    monkeypatch.setattr(quick, "phase_seconds", lambda _: seconds)
    of_seed = estimate(quick, full_of(quick), 0)
    four_bases, other_layer = 4 * 10, 103
    expected = (
        113
        + four_bases
        + other_layer
        + 100 * sum(share for kind, share in OF_TRAINING.items() if kind not in DRAWN)
    )  # digits has no whole answers
    assert of_seed.seconds == pytest.approx(expected) and not of_seed.untimed
    seconds = {"base": None, "overfit": 3.0, "train": 100.0, "predict": 0.0}
    of_seed = estimate(quick, full_of(quick), 0)
    assert of_seed.seconds == pytest.approx(expected - 50)
    assert of_seed.untimed == ["deep_ensemble_5"]


def test_another_kind_of_base_is_in_the_estimate(monkeypatch: pytest.MonkeyPatch, quick: Run) -> None:
    seconds = {"base": 10.0, "train": 0.0}
    monkeypatch.setattr(quick, "phase_seconds", lambda _: seconds)
    task = dataclasses.replace(quick.task, other_bases={"resnet": {}})
    monkeypatch.setattr(quick, "task", task)
    assert estimate(quick, full_of(quick), 0).seconds == pytest.approx(10 + 40 + 10 * OTHER_BASE)


def test_the_last_lines(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"base": 10.0, "overfit": 3.0, "train": 27.0, "predict": 0.0}
    monkeypatch.setattr(quick, "phase_seconds", lambda _: seconds)
    first, seeds, more, takes, command, *layer = quick_lines(quick, full_of(quick), "ocd run digits")
    assert first.startswith("This was a quick run: one seed and few baselines, about 40 seconds. ")
    assert seeds == "- seeds 1 and 2, for an interval over seeds too"
    assert more.startswith("- more to compare with: the second-best layer of Eq. 3; ")
    assert "; head trained on labels, added to base; " in more and more.endswith("5 bases")
    assert (takes, command) == ("It takes about 8 minutes on this machine:", "  ocd run digits")
    assert layer[0].startswith("The layer fc1 was named, not chosen: --set layer=auto lets Eq. 3 ")
    assert "`ocd select DIR`" in layer[1]
    seconds["base"] = None
    takes = quick_lines(quick, full_of(quick), "")[3]
    untimed = "the training of deep ensemble of 5 bases, which this run has not timed"
    assert takes.endswith(f", and {untimed}:")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 1 second"),
        (8.4, "about 8 seconds"),
        (43, "about 40 seconds"),
        (57, "about 1 minute"),
        (89, "about 1 minute"),
        (200, "about 3 minutes"),
        (5000, "about 85 minutes"),
        (9000, "about 2.5 hours"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_quick_run_has_one_seed_and_the_preset_fast(tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="a quick run has one seed, not 0,1: leave out --quick"):
        Run.create("digits", tmp_path / "new", seeds=(0, 1), settings=TINY | {"quick": "true"})
    with pytest.raises(OCDError, match="a quick run has the preset fast: paper trains a U-Net"):
        Run.create("digits", tmp_path / "new", "paper", settings=TINY | {"quick": "true"})
    assert not (tmp_path / "new").exists()
