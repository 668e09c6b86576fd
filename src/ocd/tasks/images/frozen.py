"""Tasks on the features of a frozen body: a user's folders of images, TinyImageNet.

The base is what is left of the network, its heads; a task says where its images are, all else is here.

    TASK = frozen_task("images", FolderOptions, image_sets)   # (options, data_dir) -> ImageSets

An image goes through the body once, whatever the number of seeds, layers, steps and draws. It is not
augmented, so lessons of a probe that was fitted on it have hardly any errors left: such tasks are
cross-fitted by default, which is cheap where a base is a linear layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ocd.errors import OCDError
from ocd.evaluation import CLASSIFIER_METRICS
from ocd.tasks.catalog import CATALOG
from ocd.tasks.images.body import COMPUTE, STAND_IN, Body, load_body
from ocd.tasks.images.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.images.feature_reader import FeatureReader
from ocd.tasks.images.features import PRECISIONS, kept_features
from ocd.tasks.images.files import ImageFiles
from ocd.tasks.images.heads import Heads, train_probe
from ocd.tasks.task import Progress, Task, TaskData, check_least, unless_loaded

DEIT = "facebook/deit-base-distilled-patch16-224"


SETTINGS: dict[str, object] = {
    # As for the other classifiers of images.
    "scale.kind": "joint",
    "denoiser.width": 256,
    "denoiser.embedding": 256,
    "training.num_noise_levels": 1,
    "training.num_steps": 1000,
    "training.max_epochs": 0,
    "training.validate_every": 100,
    # Beyond the paper (docs/deviations.md): 0 in the presets `paper` and `released`.
    "training.task_loss_weight": 1.0,
}


@dataclass(frozen=True)
class FrozenOptions:
    """What `--set` can change in a task with a frozen body."""

    model: str = field(
        default=DEIT,
        metadata={
            "help": "the network: a name on the hub or a local folder, of any that transformers' "
            f"AutoModelForImageClassification knows; {STAND_IN} is in a package"
        },
    )
    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the heads' weights, not to train them"}
    )
    base_epochs: int = field(
        default=12, metadata={"help": "epochs in which the heads are trained (a linear probe)"}
    )
    compute: str = field(
        default="float32",
        metadata={
            "help": "in what the body computes: float32, or bfloat16 (two to three times as fast where "
            "the processor has it)"
        },
    )
    precision: str = field(
        default="float32", metadata={"help": "in which features are kept: float32 or float16"}
    )
    train_size: int | None = field(
        default=None, metadata={"help": "training images to use; all if not set"}
    )
    test_size: int | None = field(default=None, metadata={"help": "test images to use; all if not set"})

    def __post_init__(self) -> None:
        check_least(self, base_epochs=1)
        if self.compute not in COMPUTE:
            raise OCDError(f"compute is {self.compute!r}: use one of {', '.join(COMPUTE)}")
        if self.precision not in PRECISIONS:
            raise OCDError(f"precision is {self.precision!r}: use one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class ImageSets:
    """The images of a task, and the names of their classes."""

    train: ImageFiles
    test: ImageFiles
    classes: tuple[str, ...]


def frozen_task(
    name: str, options: type[FrozenOptions], sets: Callable[[Any, Path | None], ImageSets], **more: Any
) -> Task:
    """The task of a catalogued name. `sets`: (options, data_dir) -> its images."""

    def load_kept(options: FrozenOptions, data_dir: Path | None, folder: Path | None) -> TaskData:
        """The task's data, whose features are kept in `folder`; None keeps nothing."""
        return _load(options, sets(options, data_dir), folder)

    return Task(
        **asdict(CATALOG[name]),
        options=options,
        load=lambda options, data_dir: load_kept(options, data_dir, None),
        load_kept=load_kept,
        make_base=make_base,
        train_base=train_base,
        loss=cross_entropy_per_example,
        metrics=CLASSIFIER_METRICS,
        classifies=True,
        join_draws=log_mean_softmax,
        make_encoder=lambda options, data: None,  # the features are in the condition already
        make_transform=lambda options: None,  # they are computed once, of images as they are
        settings=SETTINGS,
        run_settings={"cross_fit": True, "num_bases": 1},
        **more,
    )


def _load(options: FrozenOptions, sets: ImageSets, folder: Path | None) -> TaskData:
    """Features of both sets, computed where they are not kept yet, and the reader of new images.

    The notes say which network they are of.
    """
    body, notes = _body(options, folder)
    stand_in = f"{STAND_IN} stands in for the paper's network" if notes else ""
    train, test = (
        kept_features(body, files, folder and folder / f"{split}.safetensors", options.precision)
        for split, files in (("train", sets.train), ("test", sets.test))
    )
    notes.append(
        f"the base is a linear probe on features of {body.name} (weights {body.digest}, in "
        f"{body.compute}), which were computed once for each of {len(train) + len(test):,} images; "
        "they are the base's inputs, so that no time of a method has the body's pass in it"
    )
    reader = FeatureReader(
        model=body.name,
        digest=body.digest,
        heads=body.heads,
        width=body.width,
        compute=body.compute,
        precision=options.precision,
        classes=sets.classes,
    )
    notes += [*sets.train.notes, *sets.test.notes]
    return TaskData(train, test, reader=reader, notes=tuple(notes), stand_in=stand_in)


def _body(options: FrozenOptions, folder: Path | None) -> tuple[Body, list[str]]:
    """The body that is asked for; in place of the paper's the stand-in, where that cannot be fetched.

    What was taken is remembered, so that a run goes on with it.
    """
    if options.model != DEIT:
        local = Path(options.model)  # new images are read from elsewhere
        name = str(local.resolve()) if local.is_dir() else options.model
        return load_body(name, options.compute), []
    if folder is not None and (folder / "stand-in").exists():
        return load_body(STAND_IN, options.compute), [(folder / "stand-in").read_text()]
    try:
        return load_body(DEIT, options.compute), []
    except OCDError as error:
        try:
            body = load_body(STAND_IN, options.compute)
        except OCDError:
            raise error from None
        note = f"{STAND_IN} with its ImageNet weights stands in for the paper's network: {error}"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "stand-in").write_text(note)
        return body, [note]


def make_base(options: FrozenOptions, data: TaskData) -> nn.Module:
    """The heads of the network, not trained."""
    reader = data.reader
    assert isinstance(reader, FeatureReader) and isinstance(data.train.inputs, Tensor)
    names = tuple(name.replace(".", "_").strip("_") for name in reader.heads)
    return Heads(names, reader.width, len(reader.classes))


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: FrozenOptions, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else fits linear probes."""
    assert isinstance(base, Heads)
    train_probe(base, data.train, options.base_epochs, seed, progress)
