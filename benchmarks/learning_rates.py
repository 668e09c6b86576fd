"""How far the learning rate of Eq. 1 depends on which examples it is chosen on.

    make bench        (or: python -m benchmarks.learning_rates)

Small networks of several kinds are trained, and for each the rate is chosen twenty times, on examples
that are drawn anew from all that there are: a quarter of a thousand, and a thousand, or half of them
where there are no two thousand. Writes results/benchmarks/learning_rates.json and .png.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import cross_entropy
from ocd.base import FrozenBase, Loss, probe
from ocd.lessons import OverfitConfig
from ocd.lessons.learning_rate import choose_lr

OUT = Path("results/benchmarks")
SAMPLES = 20
SIZES = (256, 1024)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.flatten(1) - targets.view(len(targets), -1)).square().mean(dim=1)


class Tokens(nn.Module):
    """A transformer on the eight rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.embed(images)).mean(dim=1))
        return logits


class Series(nn.Module):
    """An LSTM on a series of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, series: Tensor) -> Tensor:
        following: Tensor = self.head(self.lstm(series)[0][:, -1])
        return following


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


Data = tuple[Tensor, Tensor]


def digits() -> Data:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.images, dtype=torch.float32) / 16, torch.tensor(found.target)


def friedman() -> Data:
    from sklearn.datasets import make_friedman1

    inputs, targets = make_friedman1(6000, noise=1.0, random_state=0)
    standard = torch.tensor((targets - targets.mean()) / targets.std(), dtype=torch.float32)
    return torch.tensor(inputs, dtype=torch.float32), standard


def waves() -> Data:
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(1))
    windows = (torch.sin(torch.linspace(0, 300, 8000)) + 0.3 * noise).unfold(0, 25, 1)
    return windows[:, :-1, None], windows[:, -1]


@dataclass(frozen=True)
class Setting:
    """A network, trained for some steps on the first examples, and the layers that are tried."""

    name: str
    make: Callable[[], nn.Module]
    data: Callable[[], Data]
    loss: Loss
    seen: int
    steps: int
    layers: dict[str, str]


CONVOLUTIONAL = {"conv2": "3", "fc1": "7", "fc2": "9"}
SETTINGS = (
    Setting("CNN, trained little", convolutional, digits, cross_entropy, 900, 60, CONVOLUTIONAL),
    Setting("CNN, fitted", convolutional, digits, cross_entropy, 900, 600, CONVOLUTIONAL),
    Setting("MLP", perceptron, friedman, squared_error, 1000, 800, {"hidden": "2", "last": "4"}),
    Setting("transformer", Tokens, digits, cross_entropy, 900, 500,
            {"feed-forward": "blocks.layers.1.linear1", "head": "head"}),
    Setting("LSTM", Series, waves, squared_error, 3000, 300, {"head": "head"}),
)  # fmt: skip


def trained(setting: Setting, data: Data) -> nn.Module:
    torch.manual_seed(0)
    network = setting.make()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(setting.steps):
        index = torch.randint(setting.seen, (128,))
        loss = setting.loss(network(data[0][index]), data[1][index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def chosen(setting: Setting) -> Iterator[dict[str, Any]]:
    """The rates at each of a network's layers."""
    inputs, targets = setting.data()
    base = trained(setting, (inputs, targets))
    for layer, name in setting.layers.items():
        frozen = FrozenBase(base, name)
        probe(frozen, inputs[:3])
        rates: dict[str, list[float]] = {}
        for size in SIZES:
            count = min(size, len(inputs) // 2)
            for seed in range(SAMPLES):
                generator = torch.Generator().manual_seed(seed)
                index = torch.randperm(len(inputs), generator=generator)[:count]
                capture = frozen.capture(inputs[index])
                lr, _ = choose_lr(frozen, capture, setting.loss, targets[index], OverfitConfig())
                rates.setdefault(str(size), []).append(lr)
        yield {"network": setting.name, "layer": layer, "rates": rates}


def draw(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(found) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, of in enumerate(found):
        for size, colour, offset in zip(SIZES, ("#b0b0b0", "#1f77b4"), (0.15, -0.15), strict=True):
            rates = of["rates"][str(size)]
            label = f"chosen on up to {size:,} examples" if row == 0 else None
            axes.plot(rates, [row + offset] * len(rates), "o", ms=4, alpha=0.6, c=colour, label=label)
    axes.set_yticks(range(len(found)), [f"{of['network']}: {of['layer']}" for of in found])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("learning rate of overfitting, one dot a sample of examples")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=120)


def main() -> None:
    found = []
    for setting in SETTINGS:
        for of in chosen(setting):
            found.append(of)
            spread = {size: max(rates) / min(rates) for size, rates in of["rates"].items()}
            words = ", ".join(f"{size}: x {ratio:.2f}" for size, ratio in spread.items())
            print(f"{of['network']:20} {of['layer']:14} {words}", flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "learning_rates.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, OUT / "learning_rates.png")


if __name__ == "__main__":
    main()
