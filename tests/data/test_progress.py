"""The log survives a run that was killed in the middle of a line."""

from __future__ import annotations

import json

import pytest

from ocd.data import Log, progress_bar

WHOLE = '{"event": "train", "step": 1}\n'


@pytest.mark.parametrize("left", ["", WHOLE, WHOLE + '{"event": "tra', '{"ev', WHOLE + "{"])
def test_half_a_line_is_dropped_and_whole_ones_stay(tmp_path, left):
    path = tmp_path / "new" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text(left)
    log = Log(path, {"seed": 3})
    log.write("train", step=2, loss=0.5)
    log.write("phase", phase="train")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[-2:] == [
        {"event": "train", "seed": 3, "step": 2, "loss": 0.5},
        {"event": "phase", "seed": 3, "phase": "train"},
    ]
    assert len(lines) == 2 + left.count("\n")


def test_no_path_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Log(None, {}).write("train", step=1)
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_where_there_is_no_terminal(capsys):
    with progress_bar("train", 10) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
