"""A tiny scene in Blender's layout: a coloured ball seen from around it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch

from ocd.data import Examples
from ocd.tasks.views.blender import circle_of_poses
from ocd.tasks.views.options import SceneData

ANGLE = 0.69
NUM_VIEWS = {"train": 6, "test": 3, "val": 2}


def some_poses(count: int, start: float = 0.0) -> np.ndarray:
    """Cameras on a circle, `start` of a turn further on: (count, 4, 4)."""
    like = torch.eye(4)[None].clone()
    like[0, :3, 3] = torch.tensor([3.0, 0.0, 2.0])
    many = circle_of_poses(like, 120)
    places = [(round(120 * start) + i * 120 // count) % 120 for i in range(count)]
    return many[places].numpy()


def ball(size: int, turn: int) -> np.ndarray:
    """(size, size, 4) RGBA: a disc whose colour goes with the view, transparent around it."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    inside = rows**2 + columns**2 < (0.35 * size) ** 2
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[inside] = (60 + 30 * turn, 200 - 25 * turn, 120, 255)
    pixels[~inside, :3] = 250  # a colour that must not be seen
    return pixels


def write_scene(folder: Path, size: int = 12, name: str = "lego") -> Path:
    from PIL import Image

    scene = folder / name
    for number, (split, count) in enumerate(NUM_VIEWS.items()):
        (scene / split).mkdir(parents=True)
        frames = []
        for index, pose in enumerate(some_poses(count, start=0.1 * number)):
            Image.fromarray(ball(size, index)).save(scene / split / f"r_{index}.png")
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        meta = {"camera_angle_x": ANGLE, "frames": frames}
        (scene / f"transforms_{split}.json").write_text(json.dumps(meta))
    return folder


def scene_data(size: int = 8) -> SceneData:
    """Views without files."""
    poses = torch.from_numpy(some_poses(4))
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert math.isfinite(ANGLE)
    return SceneData(Examples(poses, images), Examples(poses[:2], images[:2]), ANGLE)
