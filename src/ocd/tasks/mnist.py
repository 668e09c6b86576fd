"""MNIST with LeNet5 (Sec. 4.1), layer names and shapes as in the authors' checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ocd.collection import Transform
from ocd.inputs import Examples
from ocd.tasks.base import Progress, Task, TaskData, check_count, load_base
from ocd.tasks.catalog import CATALOG
from ocd.tasks.classification import (
    CLASSIFIER_METRICS,
    ImageEncoder,
    cross_entropy_per_example,
    log_mean_softmax,
    shift_transform,
    train_classifier,
)
from ocd.tasks.hub import hub_file, read_images

REPO = "ylecun/mnist"
FILES = {
    "train": "mnist/train-00000-of-00001.parquet",
    "test": "mnist/test-00000-of-00001.parquet",
}


@dataclass(frozen=True)
class Options:
    """What `--set` can change in this task."""

    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the base's weights, not to train one"}
    )
    base_epochs: int = field(default=4, metadata={"help": "epochs in which the base is trained"})
    train_size: int | None = field(
        default=None, metadata={"help": "training examples to use, of 60,000; all if not set"}
    )
    test_size: int | None = field(
        default=None, metadata={"help": "test examples to use, of 10,000; all if not set"}
    )
    shift: int = field(
        default=2, metadata={"help": "pixels by which an image is moved before it is overfitted"}
    )


class LeNet5(nn.Module):
    """The paper's LeNet5 over images (B, 1, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.relu3 = nn.ReLU()
        self.fc1 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc2 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(images)))  # (B, 6, 14, 14)
        x = self.pool2(self.relu2(self.conv2(x)))  # (B, 16, 5, 5)
        x = self.relu3(self.conv3(x)).flatten(1)  # (B, 120)
        logits: Tensor = self.fc2(self.relu4(self.fc1(x)))
        return logits


def load(options: Options, data_dir: Path | None) -> TaskData:
    """Pixels in 0 to 1, not normalised, as the authors' base expects them."""
    return TaskData(
        train=_split("train", options.train_size, data_dir),
        test=_split("test", options.test_size, data_dir),
    )


def _split(split: str, count: int | None, data_dir: Path | None) -> Examples:
    path = hub_file(REPO, FILES[split], data_dir)
    images, labels = read_images(path, image="image", label="label", shape=(28, 28), limit=count)
    check_count(count, len(images), f"{split}_size")
    return Examples(images, labels)


def make_base(options: Options, data: TaskData) -> nn.Module:
    return LeNet5()


def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains for `options.base_epochs`."""
    if options.base is not None:
        load_base(base, options.base)
        return
    # Measured, seeds 0 to 2: 98.8 to 99.0 %, cross-entropy 0.032 to 0.036; the authors' checkpoint
    # has 98.75 % and 0.041. Three epochs leave some seeds below 98.5 %.
    train_classifier(
        base,
        data.train,
        epochs=options.base_epochs,
        seed=seed,
        progress=progress,
        learning_rate=2e-3,
    )


def make_encoder(options: Options) -> nn.Module:
    return ImageEncoder(channels=1, size=28, unshuffle=2, widths=(24, 48, 64))


def make_transform(options: Options) -> Transform | None:
    return shift_transform(options.shift)


TASK = Task(
    **asdict(CATALOG["mnist"]),
    options=Options,
    load=load,
    make_base=make_base,
    train_base=train_base,
    loss=cross_entropy_per_example,
    metrics=CLASSIFIER_METRICS,
    join_draws=log_mean_softmax,
    make_encoder=make_encoder,
    make_transform=make_transform,
    layer="fc1",  # the paper's; docs/selection.md says what Eq. 3 finds
    settings={
        # Measured: 1.5 forward passes. Named, so that every seed is trained alike.
        "collection.storage": "on_the_fly",
        "training.num_steps": 3600,
        "training.validate_every": 250,
        # Beyond the paper (docs/deviations.md): 0 in the presets `paper` and `released`.
        "training.task_loss_weight": 1.0,
    },
)
