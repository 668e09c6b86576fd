"""A run with everything that OCD is compared with, killed again and again, ends as one left alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import sys
from pathlib import Path

import pytest
import torch

from ocd.cli import main
from ocd.data import read_json, read_tensors
from ocd.runs import Run
from small_run import SMALL, shrink

SETTINGS = SMALL | {
    "alternative": True,
    "baselines": "all",
    "base_epochs": 10,
    "training.num_steps": 20,
}
SMALLER = {
    # Saved as often in a run of seconds as else in one of minutes.
    "ocd.data.resuming.SAVE_EVERY": 0.05,
    "ocd.data.resuming.WORTH": 0.01,
}


def ocd_run(root: Path) -> None:
    """What a process of its own does: `ocd run digits --out root ...`."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    shrink(patch)
    for name, value in SMALLER.items():
        patch.setattr(name, value)
    pairs = [part for item in SETTINGS.items() for part in ("--set", f"{item[0]}={item[1]}")]
    sys.argv = ["ocd", "run", "digits", "--out", str(root), "--stop-after", "predict", *pairs]
    with (root.parent / "stderr.txt").open("a") as errors, contextlib.redirect_stderr(errors):
        main()


def run_for(root: Path, seconds: float | None) -> bool:
    """Whether the run ended within these seconds; else it is killed."""
    process = multiprocessing.get_context("fork").Process(target=ocd_run, args=(root,))
    process.start()
    process.join(seconds if seconds is not None else 300)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    assert process.exitcode == 0, (root.parent / "stderr.txt").read_text()
    return True


def tensors_of(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Everything that was trained in a run folder, and what it predicts."""
    patterns = ("base/*.safetensors", "checkpoint/*/model.safetensors", "predictions/*.safetensors")
    paths = [path for pattern in patterns for path in root.glob(pattern)]
    return {str(path.relative_to(root)): read_tensors(path) for path in sorted(paths)}


# Fifty are too close for a run to come far between two of them: it is hit in its very first steps, too.
@pytest.mark.parametrize(
    ("most", "shortest", "longest"),
    [(8, 0.3, 1.2), pytest.param(50, 0.02, 0.8, marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_at_random_ends_with_the_same_bits(tmp_path, most, shortest, longest):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_for(whole, None)
    chance, kills = random.Random(0), 0
    while not run_for(killed, chance.uniform(shortest, longest) if kills < most else None):
        kills += 1
    assert kills > 3
    expected, found = tensors_of(whole), tensors_of(killed)
    assert expected.keys() == found.keys() and len(found) > 8
    for name, tensors in expected.items():
        assert tensors.keys() == found[name].keys()
        for key, value in tensors.items():
            assert torch.equal(value.nan_to_num(), found[name][key].nan_to_num()), f"{name}: {key}"
    first, second = (read_json(root / "predictions/seed-0.json") for root in (whole, killed))
    for name in ("methods", "parameters", "skipped", "uses_label", "num_test"):
        assert first[name] == second[name], name
    assert first["costs"].keys() == second["costs"].keys()
    assert not (killed / "unfinished/seed-0").exists()
    # Killed between a phase's result and its line in the log, the seconds of that phase are lost.
    assert Run.open(killed).phase_seconds(0).keys() <= Run.open(whole).phase_seconds(0).keys()
