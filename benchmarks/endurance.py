"""A run that is killed every few seconds: does it end, how much later, and with the same bits?

    python -m benchmarks.endurance [--task digits] [--every 5] [--within 3] [--clock wall]

`ocd run digits`, or a table of 400 rows made by chance, with all baselines, once left alone and once
killed (SIGKILL) `every` ± `within` seconds after each start, uniformly, until it ends; each in
processes of one thread. With `--clock cpu` all seconds are those of the processes' own processor time,
about what an idle machine would take; for one that is shared. Compared are all weights and the
predictions' tensors. Writes endurance.json, or endurance-table.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ocd.data import read_tensors

SETTINGS = {"digits": ("training.num_steps=100",), "table": ("training.num_steps=100",)}
"""What makes a run of the defaults, of about two minutes, one of about 40 s."""
FINISHED = ("base/*.safetensors", "checkpoint/*/model.safetensors", "predictions/*.safetensors")


@dataclass
class Life:
    """One process of the run: how long it lived, in both clocks, and whether it was killed."""

    wall: float
    cpu: float
    killed: bool

    def seconds(self, clock: str) -> float:
        return self.wall if clock == "wall" else self.cpu


def settings_of(task: str, folder: Path) -> list[str]:
    """The settings of a task's run; of a table with its file, which is written."""
    if task == "digits":
        return list(SETTINGS[task])
    path = folder / "table.csv"
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("a,b,kind,y\n")
        for _ in range(400):
            a, b, kind = chance.gauss(0, 1), chance.gauss(0, 1), chance.choice("xyz")
            y = 2 * a + math.sin(3 * b) + (kind == "x") + chance.gauss(0, 0.1)
            file.write(f"{a:.5f},{b:.5f},{kind},{y:.5f}\n")
    return [*SETTINGS[task], f"path={path}", "target=y"]


def live(root: Path, most: float | None, clock: str, command: list[str]) -> Life:
    """Start a run, or go on with it, for `most` seconds, or to its end. Raises where it fails."""
    command = [*command, "--out", str(root)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while True:
        ended, _, usage = os.wait4(process.pid, os.WNOHANG)
        life = Life(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, killed=False)
        if ended:
            break
        life.cpu = _processor_time(process.pid)
        if most is not None and life.seconds(clock) >= most:
            process.kill()
            _, status, usage = os.wait4(process.pid, 0)
            life.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            return life
        time.sleep(0.01)
    errors = process.stderr.read() if process.stderr is not None else ""
    if "report.md" not in {path.name for path in root.iterdir()}:
        raise SystemExit(f"the run failed: {errors}")
    return life


def _processor_time(pid: int) -> float:
    """Seconds of processor time of a process (Linux: /proc)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def differing(one: Path, other: Path) -> list[str]:
    """The files of two finished runs that are missing in one, or whose tensors are not the same."""
    names = {
        str(path.relative_to(root))
        for root in (one, other)
        for pattern in FINISHED
        for path in root.glob(pattern)
    }
    return [name for name in sorted(names) if not _same(one / name, other / name)]


def _same(one: Path, other: Path) -> bool:
    if not one.exists() or not other.exists():
        return False
    first, second = read_tensors(one), read_tensors(other)
    return first.keys() == second.keys() and all(
        torch.equal(first[name].nan_to_num(), second[name].nan_to_num()) for name in first
    )


def measure(task: str, every: float, within: float, clock: str, seed: int = 0) -> dict[str, Any]:
    """Both runs, and what they have in common."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        command = [sys.executable, "-m", "ocd", "run", task]
        for setting in settings_of(task, Path(folder)):
            command += ["--set", setting]
        undisturbed = live(alone, None, clock, command).seconds(clock)
        lives: list[Life] = []
        while not lives or lives[-1].killed:
            lives.append(live(killed, chance.uniform(every - within, every + within), clock, command))
            print(f"{len(lives)} processes, {sum(one.seconds(clock) for one in lives):.0f} s")
        disturbed = sum(one.seconds(clock) for one in lives)
        start_up = live(alone, None, clock, [*command, "--stop-after", "predict"]).seconds(clock)
        return {
            "task": task,
            "settings": list(SETTINGS[task]),
            "clock": clock,
            "killed_after_seconds": [every - within, every + within],
            "undisturbed_seconds": round(undisturbed, 1),
            "disturbed_seconds": round(disturbed, 1),
            "ratio": round(disturbed / undisturbed, 2),
            "kills": sum(one.killed for one in lives),
            "start_up_seconds": round(start_up, 2),
            "differing_files": differing(alone, killed),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=tuple(SETTINGS), default="digits")
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--within", type=float, default=3.0)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    result = measure(arguments.task, arguments.every, arguments.within, arguments.clock)
    result["load"] = [round(value, 1) for value in os.getloadavg()]
    result["cores"] = os.cpu_count()
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "endurance" if arguments.task == "digits" else f"endurance-{arguments.task}"
    (arguments.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
