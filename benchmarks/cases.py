"""The networks that are measured: a base, the layer that moves, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ocd.base import FrozenBase, probe
from ocd.data import Examples
from ocd.tasks import TaskData
from ocd.tasks.images.classification import cross_entropy_per_example
from ocd.tasks.images.mnist import TASK, LeNet5, Options, make_encoder

cross_entropy = cross_entropy_per_example


@dataclass(frozen=True)
class Case:
    """`size`: the layer's weight in words. `make`: (), a base in eval mode. `shape`: of one input.
    `num_examples`: overfitted at once by our way; `batch`: predicted and trained on at once. `encoder`,
    `settings`: of the generator, where a task has such."""

    name: str
    size: str
    layer: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    num_examples: int
    batch: int
    num_classes: int = 10
    encoder: Callable[[], nn.Module] | None = None
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def channels_last(self) -> bool:
        return bool(self.settings.get("channels_last", False))

    def base(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make().eval()

    def examples(self, count: int) -> Examples:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(count, *self.shape, generator=generator)
        return Examples(inputs, torch.randint(self.num_classes, (count,), generator=generator))


class Tokens(nn.Module):
    """Blocks of a transformer's feed-forward part on tokens (B, T, 768), then a linear head."""

    def __init__(self, num_blocks: int, num_classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(768), nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))
            for _ in range(num_blocks)
        )
        self.head = nn.Linear(768, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = tokens + block(tokens)
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


def _convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def _encoder() -> nn.Module:
    nothing = Examples(torch.empty(0, 1, 28, 28), torch.empty(0, dtype=torch.long))
    return make_encoder(Options(), TaskData(nothing, nothing))


def square(side: int) -> Case:
    """A linear layer of side x side between two others."""

    def make() -> nn.Module:
        layers = (nn.Linear(side, side), nn.ReLU(), nn.Linear(side, side), nn.ReLU())
        return nn.Sequential(*layers, nn.Linear(side, 10))

    return Case(f"square-{side}", f"{side} x {side}", "2", make, (side,), 4096, 256)


CASES = (
    Case(
        "lenet5",
        "84 x 120, with mnist's encoder of x and correction",
        "fc1",
        LeNet5,
        (1, 28, 28),
        16384,
        256,
        encoder=_encoder,
        settings=TASK.settings,
    ),
    replace(square(512), name="linear", num_examples=16384),
    Case("convolution", "64 x 64 x 3 x 3, 256 positions", "2", _convolution, (3, 16, 16), 64, 32),
    Case(
        "positions", "3072 x 768, 64 positions", "blocks.0.1", lambda: Tokens(1, 10), (64, 768), 32, 8
    ),
    Case("head", "1000 x 768", "head", lambda: Tokens(2, 1000), (64, 768), 64, 32, 1000),
)


def frozen(case: Case, base: nn.Module) -> FrozenBase:
    """The base at the case's layer, probed."""
    made = FrozenBase(base, case.layer, channels_last=case.channels_last)
    probe(made, case.examples(4).inputs)
    return made
