"""How time and memory grow with the number of examples: straight lines, or not.

    python -m benchmarks.growth [--sizes 1000,10000,100000,1000000] [--out results/benchmarks]

A layer of 84 x 120 with one position, synthetic examples, deltas kept in a store on disk. Each size has
a process of its own, so that its peak of memory is its own: of what the process holds itself, without
pages of mapped files, which the system takes back when it needs them (Linux only: /proc). Writes
growth.json and growth.png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ocd import OCD, Examples, OCDConfig
from ocd.lessons import Workdir
from ocd.tasks.images.classification import cross_entropy_per_example

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TRAIN_STEPS = 200
PREDICTED = 4096


def measure(size: int) -> dict[str, Any]:
    """Seconds of each phase, and the process's peak of memory so far at its end, in GB."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)).eval()
    examples = Examples(torch.randn(size, 120), torch.randint(0, 10, (size,)))
    config = OCDConfig(layer="0").replace(
        {
            "collection.storage": "store",
            "common_move": "never",
            "overfit.lr": 0.1,
            "training.num_steps": TRAIN_STEPS,
            "training.validate_every": TRAIN_STEPS,
        }
    )
    ocd = OCD(base, loss=cross_entropy_per_example, config=config)
    found: dict[str, Any] = {"examples": size, "seconds": {}, "peak_memory_gb": {}}
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        work = Workdir(Path(folder))
        ocd.select(examples, work)
        few = examples.rows(slice(0, min(size, PREDICTED)))[0]
        phases = {
            "overfit": lambda: ocd.overfit(examples, work, progress=False),
            "train": lambda: ocd.train(examples, work, progress=False),
            "predict": lambda: ocd.predict(few, draws=5),
        }
        found["peak_memory_gb"]["data"] = memory.peak
        for name, phase in phases.items():
            start = time.perf_counter()
            phase()
            found["seconds"][name] = time.perf_counter() - start
            found["peak_memory_gb"][name] = memory.peak
        shards = (work.deltas).rglob("*.safetensors")
        found["store_gb"] = sum(path.stat().st_size for path in shards) / 1e9
    return found


class PeakMemory:
    """The largest memory of this process's own, in GB, since it was entered; looked at every 5 ms."""

    def __enter__(self) -> PeakMemory:
        self.peak, self._ended = self._now(), threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) / 1e6


def draw(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    sizes = [of["examples"] for of in found]
    for name in found[0]["seconds"]:
        seconds.plot(sizes, [of["seconds"][name] for of in found], marker="o", label=name)
    seconds.set(xscale="log", yscale="log", xlabel="examples", ylabel="seconds")
    seconds.legend(frameon=False)
    for name in ("data", "overfit", "train"):
        memory.plot(sizes, [of["peak_memory_gb"][name] for of in found], marker="o", label=name)
    memory.plot(sizes, [of["store_gb"] for of in found], marker="s", ls="--", label="store on disk")
    memory.set(xscale="log", xlabel="examples", ylabel="peak memory so far [GB]")
    memory.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--one", type=int, help="measure one size, in this process, and print it")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    found = []
    for size in map(int, arguments.sizes.split(",")):
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(size)]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(ended.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, arguments.out / "growth.png")


if __name__ == "__main__":
    main()
