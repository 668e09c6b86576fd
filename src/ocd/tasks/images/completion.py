"""Completing images: the upper half is given, the base answers with the lower one, OCD draws it.

The blur of a base that was trained by the squared error is the mean of many completions. What is drawn
are completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import Examples
from ocd.errors import OCDError
from ocd.evaluation import REGRESSION_METRICS
from ocd.prediction import join_by_mean
from ocd.tasks.catalog import CATALOG
from ocd.tasks.hub_files import hub_file
from ocd.tasks.images import cifar10, mnist
from ocd.tasks.images.hub_images import read_images
from ocd.tasks.point_training import (
    LEFT_OUT,
    RUN_SETTINGS,
    SETTINGS,
    Encoder,
    squared_error,
    train_point,
)
from ocd.tasks.task import Progress, Task, TaskData, check_count, check_least, unless_loaded

SETS = ("mnist", "cifar10")
SIDES = {"mnist": 28, "cifar10": 32}


@dataclass(frozen=True)
class Options:
    """What `--set` can change in this task."""

    base: str | None = field(
        default=None, metadata={"help": "a file with the base's weights, not to train one"}
    )
    dataset: str = field(default="mnist", metadata={"help": f"the images: {', '.join(SETS)}"})
    shrink: int = field(
        default=2, metadata={"help": "pixels a side that are averaged to one: 2 makes 28x28 14x14"}
    )
    train_size: int = field(
        default=40_000, metadata={"help": "training images, of which `held_out` is OCD's share"}
    )
    test_size: int = field(default=1_000, metadata={"help": "test images to use"})
    width: int = field(default=256, metadata={"help": "hidden width of the base, an MLP"})
    base_steps: int = field(default=1500, metadata={"help": "steps of the base's training"})

    def __post_init__(self) -> None:
        if self.dataset not in SETS:
            raise OCDError(f"dataset is {self.dataset!r}: use one of {', '.join(SETS)}")
        if self.shrink not in (1, 2, 4) or self.side % 2:
            raise OCDError(f"shrink is {self.shrink}: use 1 or 2 (or 4 of cifar10)")
        check_least(self, width=1, base_steps=1)

    @property
    def side(self) -> int:
        """Pixels a side of the images that are worked on."""
        whole, rest = divmod(SIDES[self.dataset], self.shrink)
        return whole if not rest else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a whole image."""
        return (1 if self.dataset == "mnist" else 3, self.side, self.side)

    @property
    def size(self) -> int:
        """Numbers of half an image."""
        channels, height, width = self.shape
        return channels * height * width // 2


def load(options: Options, data_dir: Path | None) -> TaskData:
    """Upper halves (N, size) and lower halves (N, size), pixels from 0 to 1."""
    return TaskData(
        train=_split("train", options.train_size, options, data_dir),
        test=_split("test", options.test_size, options, data_dir),
        notes=(
            f"{options.dataset}, {options.side}x{options.side} pixels: the upper half is given, the "
            "lower one is to be drawn",
        ),
    )


def _split(split: str, count: int, options: Options, data_dir: Path | None) -> Examples:
    home = mnist if options.dataset == "mnist" else cifar10
    path = hub_file(home.REPO, home.FILES[split], data_dir)
    channels, side = options.shape[0], SIDES[options.dataset]
    images, _ = read_images(
        path, image="image" if channels == 1 else "img", label="label",
        shape=(channels, side, side), limit=count,
    )  # fmt: skip
    check_count(count, len(images), f"{split}_size")
    upper, lower = F.avg_pool2d(images, options.shrink).chunk(2, dim=2)
    return Examples(upper.flatten(1).contiguous(), lower.flatten(1).contiguous())


def compose(shape: tuple[int, int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """What puts the halves (B, size) together: images (B, C, H, W)."""
    channels, height, width = shape

    def whole(inputs: Tensor, outputs: Tensor) -> Tensor:
        halves = [half.view(-1, channels, height // 2, width) for half in (inputs, outputs)]
        return torch.cat(halves, dim=2)

    return whole


class Completer(nn.Module):
    """An MLP from one half to the other: (B, size) -> (B, size)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, size)

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.head(self.body(inputs))
        return answer


def make_base(options: Options, data: TaskData) -> nn.Module:
    """An untrained MLP."""
    return Completer(options.size, options.width)


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains by the squared error of the pixels."""
    train_point(base, data, options.base_steps, 2e-3, seed, progress)


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    """The encoder of x: the given half (B, size) -> (B, 256)."""
    return Encoder(options.size)


LARGER = SETTINGS | {"denoiser.width": 512, "training.num_steps": 3000}
"""Twice the width and the steps of the others: half an image has more to say than a day."""


def specialise(options: Options) -> Task:
    """How halves are put together follows from the images' form."""
    return replace(TASK, compose=compose(options.shape))


TASK = Task(
    **asdict(CATALOG["completion"]),
    options=Options,
    load=load,
    make_base=make_base,
    train_base=train_base,
    loss=squared_error,
    metrics=REGRESSION_METRICS,
    join_draws=join_by_mean,
    make_encoder=make_encoder,
    make_transform=lambda options: None,
    compose=compose((1, 14, 14)),
    specialise=specialise,
    layer="head",
    settings=LARGER,
    run_settings=RUN_SETTINGS,
    left_out=LEFT_OUT,
)

TASKS = {TASK.name: TASK}
