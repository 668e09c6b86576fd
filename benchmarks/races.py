"""Layers that race (Eq. 3) against the full count: the same winner, from how many losses?

    python -m benchmarks.races [--cases digits,vit]
    python -m benchmarks.races --cases mnist,lego --data-dir DIR --checkpoints DIR

MNIST and lego need their data and the authors' checkpoints (README, "Data"). Writes
results/benchmarks/races.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.cases import cross_entropy
from benchmarks.large import Logits
from benchmarks.learning_rates import digits
from ocd import OCD, Examples, OCDConfig
from ocd.lessons import LayerScores

OUT = Path("results/benchmarks")
Found = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Where the data and the authors' checkpoints lie."""

    data: str | None
    checkpoints: str | None


Select = Callable[[bool, Places], list[Found]]


def of_run(task: str, checkpoint: str | None = None, seeds: int = 1) -> Select:
    """The selections of a run of the command line, with `race` or without."""

    def select(race: bool, places: Places) -> list[Found]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "ocd", "run", task, "--stop-after", "select"]
            command += ["--out", folder, "--seeds", ",".join(map(str, range(seeds)))]
            command += ["--set", f"selection.race={str(race).lower()}", "--set", "layer=auto"]
            if checkpoint:
                if not places.data or not places.checkpoints:
                    raise SystemExit(f"{task} needs --data-dir and --checkpoints")
                command += ["--data-dir", places.data]
                command += ["--set", f"base={Path(places.checkpoints, checkpoint).resolve()}"]
            subprocess.run(command, check=True)
            paths = sorted(Path(folder).glob("selection/*.json"))
            return [json.loads(path.read_text()) for path in paths]

    return select


def of_vit(race: bool, places: Places) -> list[Found]:
    """A vision transformer of 0.8 million weights, trained on scikit-learn's digits."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 512, "image_size": 8}
    config = ViTConfig(num_attention_heads=4, patch_size=2, num_channels=1, num_labels=10, **sizes)
    images, labels = digits()
    base, images = Logits(ViTForImageClassification(config)), images[:, None]
    optimizer = torch.optim.Adam(base.parameters(), lr=5e-4)
    for _ in range(400):
        index = torch.randint(1200, (64,))
        loss = cross_entropy(base(images[index]), labels[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [_selected(base.eval(), Examples(images, labels), race).as_dict()]


def _selected(base: nn.Module, examples: Examples, race: bool) -> LayerScores:
    # 250 draws in place of 1,000: the full count of its 26 layers would take half an hour.
    config = OCDConfig().replace({"selection.race": race, "selection.num_draws": 250})
    return OCD(base, loss=cross_entropy, config=config).scores(examples)


CASES: dict[str, tuple[str, Select]] = {
    "digits": ("digits, each of three seeds of `make demo`", of_run("digits", seeds=3)),
    "vit": ("a vision transformer of 0.8 million weights, digits, 250 draws", of_vit),
    "mnist": ("the authors' LeNet5, MNIST", of_run("mnist", "lenet5_mnist.safetensors")),
    "lego": ("the authors' TinyNeRF, lego", of_run("nerf-lego", "tinynerf_lego.safetensors")),
}


def compare(name: str, places: Places) -> Found:
    """Winner and losses of the race and of the full count."""
    what, select = CASES[name]
    found: Found = {"what": what}
    for race in (True, False):
        start = time.perf_counter()
        selections = select(race, places)
        scores = [
            LayerScores(**{k: one[k] for k in ("names", "scores", "standard_errors", "draws")})
            for one in selections
        ]
        found["race" if race else "full"] = {
            "winners": [of.layer() for of in scores],
            "losses": [one["num_losses"] for one in selections],
            "undecided": [one["undecided"] for one in selections],
            "over_budget": [one["over_budget"] for one in selections],
            "seconds": time.perf_counter() - start,
        }
        found["layers"] = len(scores[0].names)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", help="where the data and the checkpoints lie")
    parser.add_argument("--checkpoints", help="where the authors' checkpoints lie")
    parser.add_argument("--cases", default=",".join(CASES))
    arguments = parser.parse_args()
    path = OUT / "races.json"
    results: Found = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.cases.split(","):
        places = Places(arguments.data_dir, arguments.checkpoints)
        results[name] = compare(name, places)
        print(name, json.dumps(results[name]), flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
