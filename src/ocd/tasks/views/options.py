"""What `--set` can change for views, and a scene's data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ocd.errors import OCDError
from ocd.tasks.task import TaskData, check_least

BACKGROUNDS = {"black": 0.0, "white": 1.0}


IMAGE_ENCODERS = ("small", "vgg11")


SMALL_SIDE = 8


@dataclass(frozen=True)
class Options:
    """What `--set` can change in this task."""

    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the base's weights, not to train one"}
    )
    base_steps: int = field(default=4000, metadata={"help": "steps in which the base is trained"})
    base_rays: int = field(default=512, metadata={"help": "rays of one of these steps"})
    scene: str | None = field(
        default=None,
        metadata={"help": "a folder of --data-dir in Blender's layout, in place of the task's scene"},
    )
    size: int = field(default=100, metadata={"help": "pixels a side; images are scaled down to it"})
    background: str = field(
        default="black", metadata={"help": "black or white, behind what is transparent"}
    )
    test_split: str = field(
        default="test", metadata={"help": "test, or val to choose settings without the test views"}
    )
    train_size: int | None = field(
        default=None, metadata={"help": "training views to use; all if not set"}
    )
    test_size: int | None = field(default=None, metadata={"help": "test views to use; all if not set"})
    depths: int = field(default=32, metadata={"help": "points along a ray"})
    near: float = field(default=2.0, metadata={"help": "where they begin, in the scene's unit"})
    far: float = field(default=6.0, metadata={"help": "where they end"})
    encodings: int = field(default=10, metadata={"help": "frequencies of the positional encoding"})
    width: int = field(default=128, metadata={"help": "width of the base's hidden layers"})
    grid: int = field(
        default=50, metadata={"help": "pixels a side of the coarse rendering that I(x) is seen in"}
    )
    image_encoder: str = field(
        default="small",
        metadata={
            "help": "how the condition sees f(x): small (8x8 mean colours) or vgg11 (the paper's, "
            "frozen, with ImageNet weights)"
        },
    )
    vgg: str | None = field(
        default=None,
        metadata={"help": "a file with VGG-11's weights, torchvision's names; else from the hub"},
    )
    film_frames: int = field(
        default=40, metadata={"help": "frames of the film around the scene; 0 makes none"}
    )

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise OCDError(f"background is {self.background!r}: use black or white")
        if self.image_encoder not in IMAGE_ENCODERS:
            raise OCDError(f"image_encoder is {self.image_encoder!r}: use small or vgg11")
        if self.test_split not in ("test", "val"):
            raise OCDError(f"test_split is {self.test_split!r}: use test or val")
        check_least(self, size=6, depths=2, encodings=0, width=1, grid=SMALL_SIDE)
        check_least(self, base_steps=1, base_rays=1, film_frames=0)
        if not 0 <= self.near < self.far:
            raise OCDError(f"near is {self.near:g} and far {self.far:g}: 0 <= near < far is needed")


@dataclass(frozen=True)
class SceneData(TaskData):
    """Views with the field of view that they share, in radians."""

    angle: float = math.nan
