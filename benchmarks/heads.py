"""OCD on the head of a frozen body, from features that were computed once.

    python -m benchmarks.heads [--examples 50000] [--out results/benchmarks]

Features as a body of DeiT's size gives them (768 numbers, 200 classes; made by chance around a mean for
each class, so the figures are of time alone): seconds of a whole fit with the settings of the task
`images`, of a prediction of 10,000 images with five draws, and of the head's own pass. Beside them the
time of one image through the network that stands in for DeiT, and through a DeiT-B of random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ocd import OCD, Examples, OCDConfig
from ocd.tasks.images.body import STAND_IN, load_body
from ocd.tasks.images.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.images.heads import Heads, train_probe
from ocd.tasks.images.own_images import TASK

WIDTH, CLASSES, TEST = 768, 200, 10_000


def make_examples(count: int, seed: int) -> Examples:
    """Features around a mean for each class."""
    means = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0)) / 8
    chance = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (count,), generator=chance)
    return Examples(means[classes] + torch.randn(count, WIDTH, generator=chance), classes)


def seconds_of(work: Any, repeats: int = 3) -> float:
    """The least of some tries."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def image_ms(network: nn.Module, images: int = 16) -> float:
    """Milliseconds of an image of 224 x 224."""
    pixels = torch.randn(images, 3, 224, 224)
    with torch.inference_mode():
        return 1e3 * seconds_of(lambda: network(pixels)) / images


def deit_of_random_weights() -> nn.Module:
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    return DeiTForImageClassificationWithTeacher(DeiTConfig(num_labels=CLASSES)).eval()


def measure(count: int) -> dict[str, Any]:
    """The figures, in one process."""
    train, test = make_examples(count, 1), make_examples(TEST, 2)
    head = Heads(("classifier",), WIDTH, CLASSES)
    probe = seconds_of(lambda: train_probe(head, train, 12, 0, lambda line: None), 1)
    # Moves in any case: where OCD answers as its base does, drawing costs nothing.
    settings = TASK.settings | {"sampling.confidence": 0.0}
    config = OCDConfig(layer="classifier").replace(settings)
    ocd = OCD(head, loss=cross_entropy_per_example, config=config, join=log_mean_softmax)
    fit = seconds_of(lambda: ocd.fit(train, progress=False), 1)
    predict = seconds_of(lambda: ocd.predict(test.inputs, draws=5))
    mean = seconds_of(lambda: ocd.predict(test.inputs, mode="mean"))
    with torch.inference_mode():
        own = seconds_of(lambda: head(test.inputs))
    bodies = {STAND_IN: load_body(STAND_IN).network, "DeiT-B": deit_of_random_weights()}
    each = {name: image_ms(network) for name, network in bodies.items()}
    return {
        "examples": count,
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "seconds": {
            "linear probe": probe, "OCD's fit": fit, "five draws of 10,000": predict,
            "mean of 10,000": mean, "the head alone, 10,000": own,
        },
        "milliseconds an image": each,
        "five draws / the body's pass": {
            name: predict / TEST * 1e3 / value for name, value in each.items()
        },
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    found = measure(arguments.examples)
    print(json.dumps(found, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "heads.json").write_text(json.dumps(found, indent=1) + "\n")
