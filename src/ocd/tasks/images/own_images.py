"""Your own images in folders, a folder a class, with any network of transformers as a frozen body."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ocd.errors import OCDError
from ocd.tasks.images.files import class_folders, folder_files
from ocd.tasks.images.frozen import FrozenOptions, ImageSets, frozen_task


@dataclass(frozen=True)
class FolderOptions(FrozenOptions):
    """What `--set` can change: also where the images are."""

    train: str | None = field(
        default=None, metadata={"help": "the folder of training images, with a folder for each class"}
    )
    test: str | None = field(default=None, metadata={"help": "the same for the images to test on"})


def image_sets(options: FolderOptions, data_dir: Path | None) -> ImageSets:
    """The images of both folders. `train` and `test` are below `data_dir` where they are not found as
    they are. Raises OCDError for folders that are missing or do not fit together."""
    folders = []
    for name in ("train", "test"):
        given = getattr(options, name)
        if given is None:
            raise OCDError(f"{name} is not set: --set train=FOLDER --set test=FOLDER, a folder a class")
        path = Path(given)
        if not path.is_dir() and data_dir is not None:
            path = data_dir / given
        folders.append(path)
    classes = class_folders(folders[0])
    train = folder_files(folders[0], classes, options.train_size)
    test = folder_files(folders[1], classes, options.test_size)
    return ImageSets(train, test, tuple(classes))


TASK = frozen_task("images", FolderOptions, image_sets)
TASKS = {TASK.name: TASK}
