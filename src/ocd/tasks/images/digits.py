"""scikit-learn's 8x8 digits with a LeNet of that size: no download, seconds to train."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ocd.data import Examples
from ocd.errors import OCDError, install
from ocd.evaluation import CLASSIFIER_METRICS
from ocd.lessons import Transform
from ocd.tasks.catalog import CATALOG
from ocd.tasks.images.augmentation import check_augmentation, image_transform
from ocd.tasks.images.classification import (
    cross_entropy_per_example,
    log_mean_softmax,
    train_classifier,
)
from ocd.tasks.images.encoder import ImageEncoder
from ocd.tasks.images.own import MODULE_HELP, own_classifier
from ocd.tasks.images.reader import DIGITS, ImageReader
from ocd.tasks.task import Progress, Task, TaskData, check_least, first_examples, unless_loaded

NUM_TEST = 600
SPLIT_SEED = 0  # one split for all seeds, so that seeds differ in training alone


@dataclass(frozen=True)
class Options:
    """What `--set` can change in this task."""

    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the base's weights, not to train one"}
    )
    module: str | None = field(default=None, metadata={"help": MODULE_HELP})
    base_epochs: int = field(default=20, metadata={"help": "epochs in which the base is trained"})
    train_size: int | None = field(
        default=None, metadata={"help": "training examples to use, of 1,197; all if not set"}
    )
    test_size: int | None = field(
        default=None, metadata={"help": "test examples to use, of 600; all if not set"}
    )
    shift: int = field(
        default=1, metadata={"help": "pixels by which an image is moved before it is overfitted"}
    )
    distort: float = field(
        default=0.0,
        metadata={"help": "strength of turning, stretching and shearing before it is overfitted"},
    )

    def __post_init__(self) -> None:
        check_least(self, base_epochs=1)
        check_augmentation(self.shift, self.distort)


class LeNet8(nn.Module):
    """LeNet5 cut to 8x8 images (B, 1, 8, 8), with LeNet5's layer names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(16, 64, 4)
        self.relu3 = nn.ReLU()
        self.fc1 = nn.Linear(64, 48)
        self.relu4 = nn.ReLU()
        self.fc2 = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(images)))  # (B, 8, 4, 4)
        x = self.relu2(self.conv2(x))  # (B, 16, 4, 4)
        x = self.relu3(self.conv3(x)).flatten(1)  # (B, 64)
        logits: Tensor = self.fc2(self.relu4(self.fc1(x)))
        return logits


def load(options: Options, data_dir: Path | None) -> TaskData:
    """Pixels in 0 to 1, a fixed stratified split. The data come with scikit-learn."""
    pixels, classes = _read()
    images, labels = torch.from_numpy(pixels).float().div(16), torch.from_numpy(classes)
    train, test = (
        Examples(images[part].reshape(-1, 1, 8, 8), labels[part])
        for part in stratified_split(classes, NUM_TEST, SPLIT_SEED)
    )
    return TaskData(
        train=first_examples(train, options.train_size, "train_size"),
        test=first_examples(test, options.test_size, "test_size"),
        reader=ImageReader((1, 8, 8), DIGITS, largest=16),
    )


def _read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images (N, 64) and classes (N,) as scikit-learn's load_digits has them.

    scikit-learn itself, with all that it imports, takes as long to import as torch.
    """
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise OCDError(f"the task digits needs scikit-learn: {install('digits')}")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
    except OSError as error:
        raise OCDError(f"scikit-learn's digits cannot be read: {error}") from error
    return table[:, :-1], table[:, -1].astype(np.int64)


def stratified_split(
    labels: NDArray[np.int64], num_test: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which examples train and which test, as scikit-learn's train_test_split has them for digits: of
    each class as large a share, in an order by chance."""
    random = np.random.RandomState(seed)
    counts = np.bincount(labels)
    taken = _shares(counts, len(labels) - num_test, random)
    left = _shares(counts - taken, num_test, random)
    train: list[int] = []
    test: list[int] = []
    for number, count in enumerate(counts):
        of_class = (labels == number).nonzero()[0][random.permutation(count)]
        train += of_class[: taken[number]].tolist()
        test += of_class[taken[number] : taken[number] + left[number]].tolist()
    return random.permutation(train), random.permutation(test)


def _shares(counts: NDArray[np.int64], total: int, random: np.random.RandomState) -> NDArray[np.int64]:
    """`total` examples by class, as near to the classes' shares as whole numbers are.

    The classes that lose most by rounding down get one more. Where several lose as much, chance
    decides.
    """
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    rest = exact - shares
    missing = int(total - shares.sum())
    for value in np.sort(np.unique(rest))[::-1]:
        if missing == 0:
            break
        (equal,) = np.where(rest == value)
        more = min(len(equal), missing)
        shares[random.choice(equal, size=more, replace=False)] += 1
        missing -= more
    return shares.astype(np.int64)


def make_base(options: Options, data: TaskData) -> nn.Module:
    """A LeNet8, or the user's own network, not trained."""
    return LeNet8() if options.module is None else own_classifier(options.module, data, 10)


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains for `options.base_epochs`."""
    train_classifier(
        base,
        data.train,
        epochs=options.base_epochs,
        seed=seed,
        progress=progress,
        batch_size=32,
        learning_rate=3e-3,
    )


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    """The encoder of x: images (B, 1, 8, 8) -> (B, 64)."""
    return ImageEncoder(channels=1, size=8, widths=(16, 32, 32), num_features=64)


def make_transform(options: Options) -> Transform | None:
    """Shifts of up to `options.shift` pixels, and distortion where it is asked for."""
    return image_transform(options.shift, options.distort)


TASK = Task(
    **asdict(CATALOG["digits"]),
    options=Options,
    load=load,
    make_base=make_base,
    train_base=train_base,
    loss=cross_entropy_per_example,
    metrics=CLASSIFIER_METRICS,
    classifies=True,
    join_draws=log_mean_softmax,
    make_encoder=make_encoder,
    make_transform=make_transform,
    settings={
        "collection.storage": "on_the_fly",  # cheap for every layer; named, so that seeds are alike
        # Chosen on training examples kept apart (docs/experiments.md).
        "scale.kind": "joint",
        "training.num_steps": 350,
        "training.validation_share": 0.1,
        # Beyond the paper (docs/deviations.md): 0 in the presets `paper` and `released`.
        "training.task_loss_weight": 1.0,
    },
)


def specialise(options: Options) -> Task:
    """Of a user's network the layer is not known: Eq. 3 chooses."""
    return TASK if options.module is None else replace(TASK, layer="auto")


TASK = replace(TASK, specialise=specialise)

TASKS = {TASK.name: TASK}
