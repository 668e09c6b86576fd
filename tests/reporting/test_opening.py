"""What is said first of a run: that it was quick, whether intervals are right, then the verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocd.reporting import left_out_titles, opening_lines, write_report
from run_folders import change_json, make_run


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])


def test_order_of_what_is_said() -> None:
    verdict = {"sentence": "Gain.", "distribution": {"sentence": "Right."}, "quick": {"sentence": "Q."}}
    assert opening_lines(verdict) == ["Q.", "Right.", "Gain."]
    assert opening_lines({"sentence": "Gain."}) == ["Gain."]


def test_a_quick_run_says_so_at_its_head(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(3,))
    left_out = ["alternative_layer", "alternative_layer_ensemble_5", "tent_1", "tent_10", "label_head"]
    changes = {"run_options": {"quick": True}, "left_out": left_out}
    change_json(tmp_path / "config.json", lambda config: config.update(changes))
    verdict = write_report(tmp_path)["verdict"]
    assert verdict["quick"]["left_out"] == left_out
    first, second, *_ = (tmp_path / "report.md").read_text().split("\n\n")
    assert (first, second) == (verdict["quick"]["sentence"], verdict["sentence"])
    assert first == (
        "Quick run: one seed. Left out: the second-best layer of Eq. 3; Tent; head trained on labels, "
        "added to base. So it cannot say how much another seed would change, or whether one of what "
        "was left out does better than OCD. OCD itself was fitted as in a full run."
    )


def test_a_quick_run_with_more_seeds_and_nothing_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, seeds=(0, 1))
    changes = {"run_options": {"quick": True}}
    change_json(tmp_path / "config.json", lambda config: config.update(changes))
    assert write_report(tmp_path)["verdict"]["quick"]["sentence"] == (
        "Quick run: 2 seeds. So it cannot say how much seeds differ beyond these few. OCD itself was "
        "fitted as in a full run."
    )


def test_any_other_run_has_no_such_sentence(tmp_path: Path) -> None:
    assert "quick" not in write_report(make_run(tmp_path))["verdict"]


def test_rows_of_one_kind_are_named_once() -> None:
    assert left_out_titles(["tent_1", "tent_30", "deep_ensemble_5"]) == [
        "Tent",
        "deep ensemble of 5 bases",
    ]
