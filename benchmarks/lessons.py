"""What OCD gains with the number of lessons, on a table, a series and images; and that it never loses.

    python -m benchmarks.lessons --data-dir ../shared [--kinds table,series,images] [--seeds 0,1,2]

A base of each kind is trained on its first 3,000 examples. Lessons are other examples, 16 to 30,000 of
them; the test examples are seen by neither. California housing (an MLP), the oil temperature of an
electricity transformer six hours ahead (ETTh1, an LSTM; months in their order), and MNIST (LeNet5).
Beside the base: its layer fine-tuned once, all of its layers, OCD as version 0.1 had it (no common
move, moves in any case), and OCD with the defaults. The data folder holds hub/, data/sklearn/ and
data/series/. Writes lessons.json after each fit, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.learning_rates import squared_error
from ocd import OCD, Examples, OCDConfig
from ocd.base import DenseDelta, FrozenBase, Loss
from ocd.baselines import UnchangedBase, fine_tune
from ocd.lessons import Problem, find_common_move, groups_of
from ocd.prediction import Prediction, apply_deltas, join_by_mean
from ocd.tasks.images import mnist
from ocd.tasks.images.classification import (
    cross_entropy_per_example,
    log_mean_softmax,
    train_classifier,
)

SIZES = (16, 300, 3_000, 30_000)
BASE_EXAMPLES = 3_000
NUM_STEPS = 500
PLAIN = {"common_move": "never", "sampling.confidence": 0.0, "training.keep_best": False}
UNBOUNDED = 2**62


@dataclass(frozen=True)
class Kind:
    """Examples and a network of one kind. `base`: what it is trained on. `layer`: that moves."""

    network: Callable[[], nn.Module]
    layer: str
    loss: Loss
    join: Callable[[Tensor], Tensor]
    base: Examples
    lessons: Examples
    test: Examples


class Load(nn.Module):
    """An LSTM over two days of hours (B, 48, 7) -> the target some hours later, standardised (B, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(7, 48, batch_first=True), nn.Linear(48, 1)

    def forward(self, hours: Tensor) -> Tensor:
        following: Tensor = self.head(self.lstm(hours)[0][:, -1])
        return following


def table(data: Path) -> Kind:
    """California housing: rows in random order."""
    from sklearn.datasets import fetch_california_housing

    found = fetch_california_housing(data_home=data / "data/sklearn", download_if_missing=False)
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    features = torch.from_numpy(found.data).float()[order]
    targets = torch.from_numpy(found.target).float()[order][:, None]
    ranks = features.argsort(dim=0).argsort(dim=0).float() / len(features) * 2 - 1
    whole, base, test = Examples(ranks, targets), BASE_EXAMPLES, len(targets) - 4000

    def network() -> nn.Module:
        sizes = (8, 64, 64)
        layers = [part for pair in pairwise(sizes) for part in _layer(*pair)]
        return nn.Sequential(*layers, nn.Linear(64, 1))

    return Kind(network, "4", squared_error, join_by_mean, *_parts(whole, base, test))


def series(data: Path) -> Kind:
    """ETTh1: two days of seven loads and temperatures, and the oil temperature six hours later. The
    base has the first months, lessons the next, the test the last."""
    with (data / "data/series/ETTh1.csv").open() as file:
        rows = [[float(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    values = torch.tensor(rows)
    seen = values[:BASE_EXAMPLES]
    values = (values - seen.mean(dim=0)) / seen.std(dim=0)
    windows = values.unfold(0, 48, 1).transpose(1, 2)  # (N, 48, 7)
    ahead = 6
    whole = Examples(windows[:-ahead].contiguous(), values[48 + ahead - 1 :, -1:])
    return Kind(
        Load, "head", squared_error, join_by_mean, *_parts(whole, BASE_EXAMPLES, len(whole) - 2880)
    )


def images(data: Path) -> Kind:
    """MNIST."""
    options = mnist.Options()
    found = mnist.load(options, data / "hub")
    order = torch.randperm(len(found.train), generator=torch.Generator().manual_seed(0))
    base, lessons = (
        Examples(*found.train.rows(part)) for part in (order[:BASE_EXAMPLES], order[BASE_EXAMPLES:])
    )
    return Kind(
        lambda: mnist.TASK.make_base(options, found), "fc2", cross_entropy_per_example,
        log_mean_softmax, base, lessons, found.test,
    )  # fmt: skip


KINDS = {"table": table, "series": series, "images": images}


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU()]


def _parts(whole: Examples, base: int, test: int) -> list[Examples]:
    places = (slice(0, base), slice(base, test), slice(test, None))
    return [Examples(*whole.rows(place)) for place in places]


def trained_base(kind: Kind, seed: int) -> nn.Module:
    """A network, trained on the base's examples."""
    torch.manual_seed(seed)
    network = kind.network()
    if kind.loss is cross_entropy_per_example:
        train_classifier(network, kind.base, epochs=8, seed=seed, progress=lambda line: None)
        return network.eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(40):
        for index in torch.randperm(len(kind.base)).split(128):
            inputs, targets = kind.base.rows(index)
            optimizer.zero_grad()
            kind.loss(network(inputs), targets).mean().backward()
            optimizer.step()
    return network.eval()


def measure(kind: Kind, base: nn.Module, count: int, seed: int) -> dict[str, Any]:
    """Test losses of every method with `count` lessons, with the standard error of each one's
    difference from the base."""
    order = torch.randperm(len(kind.lessons), generator=torch.Generator().manual_seed(seed))
    lessons = Examples(*kind.lessons.rows(order[:count]))
    losses: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}

    def judge(name: str, predict: Callable[[], Prediction], start: float) -> None:
        seconds[name] = time.perf_counter() - start
        with torch.no_grad():
            losses[name] = kind.loss(kind.join(predict().outputs), kind.test.targets)

    start = time.perf_counter()
    judge("base", lambda: UnchangedBase(base).predict(kind.test.inputs), start)
    notes: dict[str, str] = {}
    for name, settings in (("ocd_plain", PLAIN), ("ocd", {})):
        config = OCDConfig(layer=kind.layer, seed=seed).replace(
            {"training.num_steps": NUM_STEPS, **settings}
        )
        ocd = OCD(base, loss=kind.loss, config=config, join=kind.join)
        start = time.perf_counter()
        ocd.fit(lessons, progress=False)
        judge(name, lambda ocd=ocd: ocd.predict(kind.test.inputs), start)
        notes[name] = next(note for note in ocd.notes if note.startswith("sampling"))
    start = time.perf_counter()
    layer = tuned_layer(kind, base, lessons, seed)
    judge("layer", lambda: layer(kind.test.inputs), start)
    start = time.perf_counter()
    tuned = fine_tune(base, kind.loss, count, lambda i, _: lessons.rows(i), seed, progress=False)
    judge("all_layers", lambda: UnchangedBase(tuned).predict(kind.test.inputs), start)
    return {
        "lessons": count,
        "seed": seed,
        "losses": {name: float(found.mean()) for name, found in losses.items()},
        "errors": {
            name: float((found - losses["base"]).std() / len(found) ** 0.5)
            for name, found in losses.items()
        },
        "seconds": seconds,
        "notes": notes,
    }


def tuned_layer(
    kind: Kind, base: nn.Module, lessons: Examples, seed: int
) -> Callable[[Tensor], Prediction]:
    """The layer fine-tuned once, as the baseline of the tasks is."""
    from ocd.base import probe

    problem = Problem(base, kind.loss, lessons)
    frozen: FrozenBase = problem.frozen_at(kind.layer)
    probe(frozen, lessons.inputs)
    move = find_common_move(
        groups_of(problem, frozen, 3, seed), "auto", 0, seed, UNBOUNDED, progress=False
    )
    delta = frozen.zeros() if move.delta is None else move.delta

    def predict(inputs: Tensor) -> Prediction:
        return apply_deltas(frozen, frozen.capture(inputs), DenseDelta(delta[None, None]))

    return predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    path = arguments.out / "lessons.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    done = {(of["kind"], of["lessons"], of["seed"]) for of in found}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.kinds.split(","):
        kind = KINDS[name](arguments.data_dir)
        for seed in map(int, arguments.seeds.split(",")):
            base = trained_base(kind, seed)
            for size in sorted(
                {min(int(size), len(kind.lessons)) for size in arguments.sizes.split(",")}
            ):
                if (name, size, seed) in done:
                    continue
                found.append({"kind": name, **measure(kind, base, size, seed)})
                path.write_text(json.dumps(found, indent=1) + "\n")
                print(json.dumps(found[-1]), flush=True)


if __name__ == "__main__":
    main()
