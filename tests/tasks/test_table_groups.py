"""A table whose rows belong together: also the report of its test rows knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ocd import OCDError
from ocd.data import read_json, read_tensors
from ocd.runs import Run
from ocd.runs.condition import VARIANTS, compare_conditions
from ocd.tasks.tables.loading import load
from ocd.tasks.tables.options import TableOptions

TINY = {
    "target": "price", "group": "patient", "baselines": "none", "alternative": False,
    "width": 8, "blocks": 1, "base_epochs": 2, "num_bases": 1, "num_draws": 4, "other_draws": "",
    "selection.num_examples": 4, "selection.num_draws": 6, "denoiser.width": 16,
    "training.num_steps": 6, "training.batch_size": 16, "training.validate_every": 3,
}  # fmt: skip


def visits(num_patients: int, each: int, seed: int = 0, first: int = 0) -> pd.DataFrame:
    """Visits of patients, mixed; a patient's prices are alike."""
    chance = np.random.default_rng(seed)
    patient = np.repeat(np.arange(first, first + num_patients), each)
    frame = pd.DataFrame({"x": chance.normal(size=len(patient)), "patient": patient})
    frame["price"] = chance.normal(size=num_patients)[patient - first] + frame["x"]
    return frame.sample(frac=1, random_state=seed)


@pytest.mark.parametrize(("num_patients", "each"), [(10, 20), (100, 2)])
def test_a_run_counts_patients_not_visits(tmp_path: Path, num_patients: int, each: int) -> None:
    visits(num_patients, each).to_csv(tmp_path / "visits.csv", index=False)
    settings = TINY | {"path": tmp_path / "visits.csv"}
    run = Run.create("table", tmp_path / "run", settings={k: str(v) for k, v in settings.items()})
    run.predict(0)
    verdict = run.report()["verdict"]
    together = read_tensors(run.root / "predictions" / "seed-0.safetensors")["together"]
    tested = len(together.unique())
    assert len(together) == len(run.data.test) == 40 and tested == num_patients // 5
    report = (run.root / "report.md").read_text()
    assert verdict["evidence"]["num"] == tested
    if tested < 16:
        assert verdict["statement"] == verdict["distribution"]["statement"] == "undecided"
        why = "the 40 test examples are of 2 groups, and what is found on fewer than 16"
        assert why in verdict["sentence"] and why in report
        assert why[1:] in verdict["distribution"]["sentence"]
    else:
        over = f"{tested} groups of test examples"
        assert verdict["statement"] != "undecided"
        assert f"(paired bootstrap over {over}, 95 %" in verdict["sentence"]
        assert f"over {over}" in verdict["distribution"]["sentence"]
        assert f"a paired bootstrap over {over}." in report


def test_conditions_are_compared_over_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visits(100, 2).to_csv(tmp_path / "visits.csv", index=False)
    settings = TINY | {"path": tmp_path / "visits.csv", "cross_fit": False}
    run = Run.create("table", tmp_path / "run", settings={k: str(v) for k, v in settings.items()})
    run.train(0)
    monkeypatch.setattr("ocd.runs.condition.VARIANTS", {"all": VARIANTS["all"]})
    assert "a paired bootstrap over 20 groups of test examples and seeds." in compare_conditions(run)
    kept = read_json(run.root / "condition.json")
    assert len(kept["together"]) == 40 and len(set(kept["together"])) == 20


def test_of_two_files_the_test_file_says_which_of_its_rows_belong_together(tmp_path: Path) -> None:
    visits(30, 2).to_csv(tmp_path / "train.csv", index=False)
    test = visits(5, 6, seed=1, first=30)
    test.to_csv(tmp_path / "test.csv", index=False)
    values = {"path": str(tmp_path / "train.csv"), "target": "price", "group": "patient"}
    options = TableOptions(**values, test_path=str(tmp_path / "test.csv"))
    data = load(options, None)
    assert data.evidence is not None and data.evidence.unit == "group"
    found = data.evidence.together.tolist()
    assert len(set(found)) == 5 and data.warnings == ()
    assert len(set(zip(found, test["patient"], strict=True))) == 5  # the same grouping
    few = load(TableOptions(**values, test_path=str(tmp_path / "test.csv"), test_size=7), None)
    assert few.evidence is not None and few.evidence.together.tolist() == found[:7]


def test_one_group_to_test_on_is_no_error(tmp_path: Path) -> None:
    visits(30, 2).to_csv(tmp_path / "train.csv", index=False)
    visits(1, 9, seed=1, first=30).to_csv(tmp_path / "test.csv", index=False)
    values = {"path": str(tmp_path / "train.csv"), "target": "price", "group": "patient"}
    data = load(TableOptions(**values, test_path=str(tmp_path / "test.csv")), None)
    assert data.test_together is not None and data.test_together.tolist() == [0] * 9


def test_a_test_file_that_does_not_know_its_groups_is_warned_of(tmp_path: Path) -> None:
    visits(30, 2).to_csv(tmp_path / "train.csv", index=False)
    visits(9, 2, seed=1).drop(columns="patient").to_csv(tmp_path / "test.csv", index=False)
    values = {"path": str(tmp_path / "train.csv"), "target": "price", "group": "patient"}
    data = load(TableOptions(**values, test_path=str(tmp_path / "test.csv")), None)
    assert data.evidence is None
    (warning,) = data.warnings
    assert "test.csv has no column 'patient' (group): its rows are taken for evidence" in warning


def test_without_groups_each_row_is_its_own_evidence(tmp_path: Path) -> None:
    visits(30, 2).to_csv(tmp_path / "t.csv", index=False)
    assert load(TableOptions(path=str(tmp_path / "t.csv"), target="price"), None).evidence is None


def test_copied_rows_are_one_piece_of_evidence(tmp_path: Path) -> None:
    """Each row five times: nobody has said so, and the file shows it. Numbered rows are their own."""
    generator = np.random.default_rng(0)
    for place, name in enumerate(("train", "test")):
        frame = pd.DataFrame(generator.normal(size=(60, 3)), columns=["a", "b", "price"])
        many = pd.concat([frame] * 5, ignore_index=True)
        many = many.assign(patient=range(300 * place, 300 * place + 300))
        many.to_csv(tmp_path / f"{name}.csv", index=False)
        many.drop(columns="patient").to_csv(tmp_path / f"{name}_copies.csv", index=False)

    def opened(ending: str, **more: str) -> Run:
        files = {"path": f"train{ending}.csv", "test_path": f"test{ending}.csv"}
        settings = TINY | {name: tmp_path / file for name, file in files.items()} | more
        given = {name: str(value) for name, value in settings.items()}
        return Run.create("table", tmp_path / f"run{ending}", settings=given)

    found = opened("_copies", group="none")
    assert found.groups is not None and len(found.groups.unique()) == 60
    assert found.data.evidence is not None and len(found.data.evidence.together.unique()) == 60
    told = [note for note in read_json(found.root / "config.json")["data_notes"] if "copies" in note]
    assert [note.split(" are ")[0] for note in told] == [
        "examples: 300 of 300", "test examples: 300 of 300"
    ]  # fmt: skip
    own = opened("")
    assert own.groups is not None and len(own.groups.unique()) == 300
    assert own.data.evidence is not None and len(own.data.evidence.together.unique()) == 300
    assert not any("copies" in note for note in own.data.notes)


def test_a_command_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    """Other data: what the folder says of itself stays as it was, and its report is made as before."""
    visits(60, 2).to_csv(tmp_path / "train.csv", index=False)
    visits(20, 2, seed=1, first=60).to_csv(tmp_path / "test.csv", index=False)
    values = TINY | {"path": tmp_path / "train.csv", "test_path": tmp_path / "test.csv"}
    settings = {name: str(value) for name, value in values.items()}
    Run.create("table", tmp_path / "run", settings=settings)
    before = (tmp_path / "run/config.json").read_text()
    visits(14, 2, seed=1, first=60).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(OCDError, match="is of a run with other data"):
        Run.create("table", tmp_path / "run", seeds=(0, 1), settings=settings)
    assert (tmp_path / "run/config.json").read_text() == before
