"""MNIST with LeNet5 (Sec. 4.1), layer names and shapes as in the authors' checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from ocd.data import Examples
from ocd.evaluation import CLASSIFIER_METRICS
from ocd.lessons import Transform
from ocd.tasks.catalog import CATALOG
from ocd.tasks.hub_files import hub_file
from ocd.tasks.images.augmentation import check_augmentation, image_transform
from ocd.tasks.images.classification import (
    cross_entropy_per_example,
    log_mean_softmax,
    train_classifier,
)
from ocd.tasks.images.corruption import DIGITS_C, HELP, check_corruption, corrupted, corruption_notes
from ocd.tasks.images.encoder import ImageEncoder
from ocd.tasks.images.hub_images import read_images
from ocd.tasks.images.own import MODULE_HELP, own_classifier
from ocd.tasks.images.reader import DIGITS, ImageReader
from ocd.tasks.published import Published
from ocd.tasks.task import Progress, Task, TaskData, check_count, check_least, unless_loaded

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
    module: str | None = field(default=None, metadata={"help": MODULE_HELP})
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
    distort: float = field(
        default=1.0,
        metadata={"help": "strength of turning, stretching and shearing before it is overfitted"},
    )
    corruption: str = field(default="none", metadata={"help": HELP.format(which="test")})
    train_corruption: str = field(
        default="none",
        metadata={
            "help": HELP.format(which="training") + "; with `base`, which was trained on clean ones, a "
            "shift that OCD and its baselines may learn"
        },
    )

    def __post_init__(self) -> None:
        check_least(self, base_epochs=1)
        for option in ("corruption", "train_corruption"):
            check_corruption(getattr(self, option), option)
        check_augmentation(self.shift, self.distort)


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
        train=_split("train", options.train_size, options.train_corruption, data_dir),
        test=_split("test", options.test_size, options.corruption, data_dir),
        reader=ImageReader((1, 28, 28), DIGITS),
        notes=tuple(corruption_notes(options)),
    )


def _split(split: str, count: int | None, corruption: str, data_dir: Path | None) -> Examples:
    """The images of a split, corrupted where that is asked for."""
    path = hub_file(REPO, FILES[split], data_dir)
    images, labels = read_images(path, image="image", label="label", shape=(1, 28, 28), limit=count)
    check_count(count, len(images), f"{split}_size")
    # Another noise for each split; the same in every run.
    return Examples(corrupted(images, corruption, "corruption", DIGITS_C, seed=len(split)), labels)


def make_base(options: Options, data: TaskData) -> nn.Module:
    """A LeNet5, or the user's own network, not trained."""
    return LeNet5() if options.module is None else own_classifier(options.module, data, 10)


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains for `options.base_epochs`."""
    # Measured, seeds 0 to 2: 98.8 to 99.0 %, cross-entropy 0.032 to 0.036; the authors' checkpoint
    # has 98.75 % and 0.041. Three epochs leave some seeds below 98.5 %.
    train_classifier(
        base,
        data.train,
        epochs=options.base_epochs,
        seed=seed,
        progress=progress,
        learning_rate=2e-3,
        channels_last=True,
    )


def make_encoder(options: Options, data: TaskData) -> nn.Module:
    """The encoder of x: images (B, 1, 28, 28) -> (B, features)."""
    return ImageEncoder(channels=1, size=28, unshuffle=2, widths=(24, 48, 64))


def make_transform(options: Options) -> Transform | None:
    """Shifts of up to `options.shift` pixels, and distortion where it is asked for."""
    return image_transform(options.shift, options.distort)


PUBLISHED = Published(
    source="MNIST with LeNet5: Tab. 2 of the conference submission, mean ± SD over three runs",
    methods={
        "base": {"cross_entropy": (0.080, 0.009), "accuracy": (99.2, 0.1)},
        "ocd": {"cross_entropy": (0.010, 0.006), "accuracy": (99.7, 0.1)},
        "no_scale": {"cross_entropy": (0.069, None), "accuracy": (99.3, None)},
        "alternative_layer": {"cross_entropy": (0.078, None), "accuracy": (99.2, None)},
        "nearest_neighbor": {"cross_entropy": (0.073, None), "accuracy": (99.3, None)},
        "overfit_test": {"cross_entropy": (0.002, None), "accuracy": (100.0, None)},
        "overfit_test_all_layers": {"cross_entropy": (0.002, None), "accuracy": (100.0, None)},
    },
    remarks=(
        "The published base (99.2 %, cross entropy 0.080) is another network than the checkpoint that "
        "the authors released (98.75 %, 0.0406, measured by us), so the gains over each one's own base "
        "are compared, not the figures.",
        "The best classifier that we found of I(x) alone, an MLP on the 120 features that `fc1` sees "
        "in that checkpoint, reaches 98.84 % and 0.0406. No generator that sees only I(x) can "
        "therefore promise the published 99.7 %.",
        "What OCD gains here beyond that comes from extensions of the paper, named as such, which can "
        "be switched off: x itself in the condition (`encode_x`) and the base's own loss in training "
        "(`training.task_loss_weight`) with the correction that learns from it. The rows without the "
        "correction and with it alone say how much each has.",
    ),
    options={
        "train_size": None,
        "test_size": None,
        "corruption": "none",
        "train_corruption": "none",
    },
)

TASK = Task(
    **asdict(CATALOG["mnist"]),
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
    published=PUBLISHED,
    layer="fc1",  # the paper's; docs/selection.md says what Eq. 3 finds
    settings={
        # Measured: the base's pass takes two thirds of the time that it takes otherwise.
        "channels_last": True,
        # Measured: 1.5 forward passes. Named, so that every seed is trained alike.
        "collection.storage": "on_the_fly",
        # Chosen on held-out training examples (docs/experiments.md).
        "scale.kind": "joint",
        # Codes have 85 elements. A width of 256 is no better, and its draws take twice as long.
        "denoiser.width": 128,
        "denoiser.embedding": 256,
        "training.num_noise_levels": 1,
        "training.num_steps": 2000,
        "training.max_epochs": 0,  # images are augmented anew in every batch
        "training.validate_every": 200,
        # Beyond the paper (docs/deviations.md): 0 in the presets `paper` and `released`.
        "training.task_loss_weight": 1.0,
    },
)


def specialise(options: Options) -> Task:
    """Of a user's network the layer is not known: Eq. 3 chooses."""
    return TASK if options.module is None else replace(TASK, layer="auto")


TASK = replace(TASK, specialise=specialise)

TASKS = {TASK.name: TASK}
