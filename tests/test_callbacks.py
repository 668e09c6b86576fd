"""Who listens to a fit: events, notes, TensorBoard, trackio, progress in a notebook."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers import LOSS, config, digits, digits_base
from ocd import OCD, OCDError
from ocd.callbacks import TensorBoard, Trackio
from ocd.data import hide_progress, is_watched
from ocd.data import progress as shown


def fit(**options: Any) -> OCD:
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    return ocd.fit(digits(), progress=False, **options)


def test_a_callback_hears_what_the_log_says(tmp_path: Path) -> None:
    heard: list[tuple[str, dict]] = []
    ocd = fit(workdir=tmp_path, callbacks=[lambda event, values: heard.append((event, values))])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    import json

    logged = [json.loads(line) for line in lines]
    assert [event for event, _ in heard] == [line.pop("event") for line in logged]
    assert [values for _, values in heard] == logged
    steps = [values["step"] for event, values in heard if event == "train"]
    assert steps == [5, 10, 15, 20]
    assert {"loss", "lr"} <= next(values for event, values in heard if event == "train").keys()
    assert [values["text"] for event, values in heard if event == "note"] == ocd.notes


def test_a_callback_needs_no_workdir_and_changes_nothing() -> None:
    heard = []
    one = fit(callbacks=[lambda event, values: heard.append(values.clear())])
    two = fit()
    assert heard
    for a, b in zip(
        one.hypernetwork.state_dict().values(), two.hypernetwork.state_dict().values(), strict=True
    ):
        assert a.equal(b)


def test_a_callback_that_raises_stops_a_fit_that_goes_on(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(event: str, values: dict) -> None:
        if event == "train" and values["step"] == 10:
            raise Enough

    with pytest.raises(Enough):
        fit(workdir=tmp_path / "stopped", callbacks=[stop])
    again, whole = fit(workdir=tmp_path / "stopped"), fit(workdir=tmp_path / "whole")
    for a, b in zip(
        again.hypernetwork.state_dict().values(), whole.hypernetwork.state_dict().values(), strict=True
    ):
        assert a.equal(b)


def test_notes_are_printed_and_logged(
    capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ocd"):
        ocd = fit(verbose=True)
    assert capsys.readouterr().err.splitlines() == [
        line for note in ocd.notes for line in note.splitlines()
    ]
    assert [record.message for record in caplog.records if record.name == "ocd"] == ocd.notes
    fit()
    assert capsys.readouterr().err == ""


def test_tensorboard_reads_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoard(tmp_path, "one") as board:
        ocd = fit(callbacks=[board])
    found = EventAccumulator(str(tmp_path / "one")).Reload()
    assert {"train/loss", "train/lr", "validate/loss"} <= set(found.Tags()["scalars"])
    assert [point.step for point in found.Scalars("train/loss")] == [5, 10, 15, 20]
    assert "notes/text_summary" in found.Tags()["tensors"]
    assert len(found.Tensors("notes/text_summary")) == len(ocd.notes)


def test_trackio_keeps_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = []

    class Run:
        def __init__(self, **options: Any) -> None:
            self.options, self.logged, self.ended = options, [], False
            run.append(self)

        def log(self, metrics: dict, step: int | None = None) -> None:
            self.logged.append((step, metrics))

        def finish(self) -> None:
            self.ended = True

    fake = ModuleType("trackio")
    fake.init = Run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    with Trackio("mine", "one", group="few") as track:
        fit(callbacks=[track])
    (kept,) = run
    assert kept.options == {"project": "mine", "name": "one", "group": "few"} and kept.ended
    assert [step for step, found in kept.logged if "train/loss" in found] == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("made", "missing"), [(TensorBoard, "torch.utils.tensorboard"), (Trackio, "trackio")]
)
def test_a_missing_package_is_named(made: Any, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OCDError, match=r"is not installed .* pip install 'ocd-torch\["):
        made("here")


def test_bars_are_shown_in_a_terminal_and_a_notebook_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        pass

    assert not is_watched()
    notebook = ModuleType("IPython")
    notebook.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert is_watched()
    monkeypatch.setattr(shown, "_quiet", False)
    hide_progress()
    assert not is_watched()
