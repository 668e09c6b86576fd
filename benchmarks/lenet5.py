"""What OCD costs on the authors' LeNet5, beside the base's own forward pass and the released way.

    python benchmarks/lenet5.py --data-dir ../shared/hub \
        --base ../shared/data/official_checkpoints/lenet5_mnist.safetensors

Everything is measured in one run, in turns, and medians are compared, so that the ratios mean
something on a noisy machine. Prediction costs do not depend on the generator's weights, so it is
trained for one step only.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig, overfit
from ocd.layers import run_without_delta
from ocd.tasks.base import TaskData, load_base
from ocd.tasks.classification import cross_entropy_per_example
from ocd.tasks.mnist import LeNet5, Options, load, make_encoder

BATCH = 256


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def released_loop(base: nn.Module, examples: Examples, count: int) -> None:
    """The authors' way: copy the module, three Adam steps on the one layer, example by example."""
    for i in range(count):
        inputs, targets = examples.rows(slice(i, i + 1))
        model = copy.deepcopy(base)
        optimizer = torch.optim.Adam([model.fc1.weight], lr=5e-4)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()


def forward_all(base: nn.Module, inputs: Tensor, chunk: int) -> None:
    for part in inputs.split(chunk):
        run_without_delta(base, part)


def measure_overfitting(base: nn.Module, train: Examples, repeats: int) -> dict[str, float]:
    inputs, targets = train.inputs, train.targets
    assert isinstance(inputs, Tensor)
    few = 200
    times: dict[str, list[float]] = {"base_forward": [], "overfit": [], "released_overfit": []}

    def batched() -> object:
        return overfit(
            base, "fc1", cross_entropy_per_example, inputs, targets, steps=3, lr=5e-3
        )  # fmt: skip

    for _ in range(repeats):
        times["base_forward"].append(seconds(lambda: forward_all(base, inputs, 1024)) / len(train))
        times["overfit"].append(seconds(batched) / len(train))
        times["released_overfit"].append(seconds(lambda: released_loop(base, train, few)) / few)
    return {name: 1e6 * median(values) for name, values in times.items()}


def measure_prediction(base: nn.Module, train: Examples, repeats: int) -> dict[str, float]:
    changes = {"training.num_steps": 1, "collection.storage": "on_the_fly", "overfit.lr": 5e-3}
    ocd = OCD(
        base,
        loss=cross_entropy_per_example,
        config=OCDConfig(layer="fc1").replace(changes),
        encoder=make_encoder(Options(), TaskData(train, train)),
    )
    ocd.fit(train)
    batch, _ = train.rows(slice(0, BATCH))
    works: dict[str, Callable[[], object]] = {
        "base_forward": lambda: run_without_delta(base, batch),
        "predict_5_draws": lambda: ocd.predict(batch, draws=5),
        "predict_mean": lambda: ocd.predict(batch, mode="mean"),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 2):
        for name, work in works.items():
            spent = seconds(work) / BATCH
            if turn >= 2:  # the first turns import and warm up
                times[name].append(spent)
    return {name: 1e6 * median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/lenet5.json"))
    arguments = parser.parse_args()
    train = load(Options(test_size=1), arguments.data_dir).train
    base = LeNet5().eval()
    load_base(base, arguments.base)
    over = measure_overfitting(base, train, arguments.repeats)
    pred = measure_prediction(base, train, 5 * arguments.repeats)
    forward = over["base_forward"]
    result = {
        "threads": torch.get_num_threads(),
        "overfit_examples": len(train),
        "microseconds_per_example": {"overfitting": over, "prediction_batch_256": pred},
        "ratios": {
            "overfit to base forward": over["overfit"] / forward,
            "released overfit to ours": over["released_overfit"] / over["overfit"],
            "predict 5 draws x 10 steps to base forward": pred["predict_5_draws"]
            / pred["base_forward"],
            "predict mean to base forward": pred["predict_mean"] / pred["base_forward"],
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
