"""Ten million examples through one machine: time, memory and disk of each phase.

    python -m benchmarks.scale [--examples 10000000] [--work FOLDER] [--out results/benchmarks]
    python -m benchmarks.scale --processes             # two processes against one, on fewer examples

A small MLP (16-32-2) whose last layer moves, examples in a file that is mapped into memory, every delta
kept in a store, 200 steps of training, and the expected move of every example predicted into a folder.
Goes on where it was stopped, with the same command: seconds are then those of all processes, but for
what the killed ones had not finished. Writes scale.json, or processes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.growth import PeakMemory
from ocd import OCD, Examples, OCDConfig, predict_to
from ocd.data import Shard
from ocd.lessons import Workdir

FEATURES, HIDDEN, OUTPUTS = 16, 32, 2
SETTINGS = {
    "collection.storage": "store", "collection.max_examples": 0, "common_move": "never",
    "overfit.lr": 0.1, "training.num_steps": 200, "training.validate_every": 200,
    "sampling.scale_factor": 1.0, "sampling.spread": 1.0,
}  # fmt: skip
BLOCK = 2**20


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss, (B,)."""
    return (outputs - targets).square().sum(dim=1)


def base() -> nn.Module:
    """The network, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUTPUTS)).eval()


def examples(folder: Path, count: int) -> Examples:
    """Examples in a file, made a block at a time where it is not there."""
    path, width = folder / f"examples-{count}.bin", FEATURES + OUTPUTS
    is_new = not path.exists()
    size = count * width
    rows = torch.from_file(str(path), shared=True, size=size, dtype=torch.float32).view(count, width)
    if is_new:
        chance = torch.Generator().manual_seed(0)
        for start in range(0, count, BLOCK):
            few = rows[start : start + BLOCK]
            few.copy_(torch.randn(few.shape, generator=chance))
    return Examples(rows[:, :FEATURES], rows[:, FEATURES:])


def phases(ocd: OCD, data: Examples, folder: Path, shard: Shard) -> dict[str, Callable[[], object]]:
    """What is measured, in its order."""
    work = Workdir(folder / "fit", share=shard)

    def predict() -> None:
        fitted = OCD.from_pretrained(work.checkpoint, ocd.base)
        predict_to(folder / "predictions", fitted, data, mode="mean", shard=shard, progress=False)

    return {
        "overfit": lambda: ocd.overfit(data, work, progress=False),
        "train": lambda: ocd.train(data, work, progress=False),
        "predict": predict,
    }


def size_gb(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Every phase, going on where an earlier call was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "measured.json"
    found = json.loads(path.read_text()) if path.exists() else {"seconds": {}, "done": []}
    found |= {"examples": count, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    data = examples(folder, count)
    ocd = OCD(base(), loss=squared, config=OCDConfig(layer="2").replace(SETTINGS))
    with PeakMemory() as memory:
        for name, phase in phases(ocd, data, folder, Shard()).items():
            if name in found["done"]:
                continue
            start = time.perf_counter()
            try:
                phase()
                found["done"].append(name)
            finally:
                seconds = time.perf_counter() - start
                found["seconds"][name] = round(found["seconds"].get(name, 0) + seconds, 1)
                found.setdefault("peak_memory_gb", {})[name] = round(memory.peak, 2)
                path.write_text(json.dumps(found))
            print(json.dumps(found), flush=True)
    found["data_gb"] = round((folder / f"examples-{count}.bin").stat().st_size / 1e9, 2)
    found["store_gb"] = round(size_gb(folder / "fit" / "deltas"), 2)
    found["predictions_gb"] = round(size_gb(folder / "predictions"), 2)
    found["load"] = [round(value, 1) for value in os.getloadavg()]
    return found


def by_processes(count: int, numbers: tuple[int, ...] = (1, 2, 4, 8)) -> dict[str, Any]:
    """Seconds of overfitting and predicting by several processes of one thread each, start-up included.
    Each number of processes has a folder of its own, in which only the plan is there."""
    found: dict[str, Any] = {"examples": count, "cores": os.cpu_count(), "seconds": {}}
    with tempfile.TemporaryDirectory() as name:
        for number in numbers:
            folder = Path(name) / str(number)
            folder.mkdir()
            examples(folder, count)
            seconds = {}
            for what in ("overfit", "train", "predict"):
                start = time.perf_counter()
                each = 1 if what == "train" else number
                command = [sys.executable, "-m", "benchmarks.scale", "--examples", str(count)]
                command += ["--work", str(folder), "--phase", what]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                started = [
                    subprocess.Popen([*command, "--shard", f"{one}/{each}"], env=environment)
                    for one in range(each)
                ]
                if any(process.wait() for process in started):
                    raise SystemExit(f"{what} by {each} processes failed")
                seconds[what] = round(time.perf_counter() - start, 1)
            found["seconds"][str(number)] = {what: seconds[what] for what in ("overfit", "predict")}
            print(json.dumps(found), flush=True)
    found["load"] = [round(value, 1) for value in os.getloadavg()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--examples", type=int)
    parser.add_argument("--work", type=Path, help="where an interrupted measurement goes on")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--phase", help="one phase, in one of several processes")
    parser.add_argument("--shard", type=Shard.parse, default=Shard())
    asked = parser.parse_args()
    if asked.phase:
        data = examples(asked.work, asked.examples)
        ocd = OCD(base(), loss=squared, config=OCDConfig(layer="2").replace(SETTINGS))
        work = Workdir(asked.work / "fit")
        while not (asked.shard.leads or work.is_planned):
            time.sleep(0.05)
        phases(ocd, data, asked.work, asked.shard)[asked.phase]()
        return
    name = "processes" if asked.processes else "scale"
    if asked.processes:
        found = by_processes(asked.examples or 400_000)
    elif asked.work:
        found = measure(asked.examples or 10_000_000, asked.work)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(asked.examples or 10_000_000, Path(folder))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
