"""TinyImageNet with the distilled DeiT-B/16 of the paper (Sec. 4.1): the 200-class head moves."""

from __future__ import annotations

from pathlib import Path

from ocd.errors import OCDError
from ocd.tasks.hub_files import hub_file
from ocd.tasks.images.files import ImageFiles, parquet_files
from ocd.tasks.images.frozen import DEIT, FrozenOptions, ImageSets, frozen_task
from ocd.tasks.published import Published

REPO = "zh-plus/tiny-imagenet"
TRAIN = ("data/train-00000-of-00001-1359597a978bc4fa.parquet", "data/train-100-per-class.parquet")
"""All 500 images a class as they lie on the hub, or 100 of them."""
TEST = ("data/valid-00000-of-00001-70d52db3c749a935.parquet", "data/valid-00000-of-00001.parquet")
NUM_CLASSES = 200

PUBLISHED = Published(
    source="TinyImageNet with DeiT-B/16 (distilled): validation accuracy, text of the submission",
    methods={
        "base": {"accuracy": (87.29, None)},
        "ocd": {"accuracy": (90.8, None)},
        "ocd_ensemble_5": {"accuracy": (92.0, None)},
    },
    remarks=(
        "The paper trains the whole network on TinyImageNet's 100,000 images; here the body is as it "
        "came from ImageNet, and only the head is trained.",
    ),
    options={"model": DEIT, "train_size": None, "test_size": None},
)


def image_sets(options: FrozenOptions, data_dir: Path | None) -> ImageSets:
    """The training images and the whole validation set, which is the test set: 10,000 images."""
    train = _files(TRAIN, data_dir, options.train_size)
    test = _files(TEST, data_dir, options.test_size)
    for name, files in (("training", train), ("validation", test)):
        smallest, largest = int(files.labels.min()), int(files.labels.max())
        if smallest < 0 or largest >= NUM_CLASSES:
            raise OCDError(
                f"the {name} images of {REPO} have classes {smallest} to {largest}, where 0 to 199 are"
            )
    return ImageSets(train, test, tuple(map(str, range(NUM_CLASSES))))


def _files(names: tuple[str, ...], data_dir: Path | None, count: int | None) -> ImageFiles:
    """The first of the files that is in `data_dir`, else the first one of the hub.

    The hub's own names have a hash in them; the shorter ones are of a part of the set.
    """
    here = [data_dir / REPO / name for name in names if data_dir is not None]
    path = next((path for path in here if path.is_file()), None)
    path = path or hub_file(REPO, names[0], data_dir)
    return parquet_files(path, "image", "label", count)


TASK = frozen_task(
    "tiny-imagenet",
    FrozenOptions,
    image_sets,
    published=PUBLISHED,
)
TASKS = {TASK.name: TASK}
