"""Seeds of a run in several processes: the same files as by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocd.cli.processes import without_options
from ocd.data import read_tensors
from small_run import SMALL


def ocd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ocd", *arguments], capture_output=True, text=True, check=False,
        # As many threads in each: the last bits of a training depend on them.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_seeds_in_processes_are_those_of_one_process(tmp_path: Path) -> None:
    pairs = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    shared = ["run", "digits", "--seeds", "0,1", *pairs]
    one = ocd(*shared, "--out", str(tmp_path / "one"))
    two = ocd(*shared, "--out", str(tmp_path / "two"), "--num-processes", "2")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert "OCD, one draw" in two.stdout
    for seed in range(2):
        for name in (f"base/seed-{seed}", f"predictions/seed-{seed}"):
            a, b = (
                read_tensors(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two")
            )
            assert a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert config["seeds"] == [0, 1] and "--num-processes 2" in config["command"]


def test_what_fails_in_a_process_is_said(tmp_path: Path) -> None:
    wrong = ["overfit.lr=1e30", "training.num_steps=10", "baselines=none"]
    pairs = [part for pair in wrong for part in ("--set", pair)]
    shared = ["run", "digits", "--seeds", "0,1", "--out", str(tmp_path / "run"), *pairs]
    found = ocd(*shared, "--num-processes", "2")
    assert found.returncode == 2
    assert "process 0 of 2 ended with exit code 2" in found.stderr
    assert found.stderr.count("not finite") == 3  # each of the two, and the one that tried again


@pytest.mark.parametrize("value", ["0", "-1"])
def test_at_least_one_process_works(value: str) -> None:
    assert ocd("run", "digits", "--num-processes", value).returncode == 2


def test_a_suite_is_one_process() -> None:
    found = ocd("run", "setfit", "--num-processes", "2")
    assert found.returncode == 2 and "one by one" in found.stderr


def test_options_are_left_out_in_both_ways_of_writing() -> None:
    line = ["run", "digits", "--seeds", "0,1", "--seeds=2", "--set", "a=--seeds", "--out", "x"]
    assert without_options(line, ["--seeds"]) == ["run", "digits", "--set", "a=--seeds", "--out", "x"]
