"""Scenes in Blender's layout: transforms_{train,val,test}.json beside folders of PNG images."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import OCDError, install


@dataclass(frozen=True)
class Views:
    """N views of a scene. `poses`: camera to world, (N, 4, 4). `images`: (N, 3, size, size) in 0 to 1.
    `angle`: the horizontal field of view in radians."""

    poses: Tensor
    images: Tensor
    angle: float


def read_views(
    scene: Path, split: str, size: int, background: float, limit: int | None = None
) -> Views:
    """The (first `limit`) views of one split, scaled down to `size` pixels a side.

    Where images are transparent they are laid on a background of that grey, 0 to 1. Raises OCDError,
    naming the file, for a folder of another layout, an entry that is missing or of the wrong form, an
    image that cannot be read, is not square or is smaller than `size`.
    """
    path = scene / f"transforms_{split}.json"
    meta = _read_meta(path)
    angle = meta.get("camera_angle_x")
    if not isinstance(angle, int | float) or not 0 < angle < math.pi:
        raise OCDError(f"{path}: camera_angle_x is {angle!r}: it must be an angle in radians, 0 to π")
    frames = meta.get("frames")
    if not isinstance(frames, list) or not frames:
        raise OCDError(f"{path}: there is no list of frames")
    poses, images = [], []
    for number, frame in enumerate(frames[:limit]):
        where = f"{path}, frame {number}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise OCDError(f"{where}: there is no file_path")
        poses.append(_pose(frame.get("transform_matrix"), where))
        images.append(_image(_image_path(scene, frame["file_path"]), size, background))
    return Views(torch.stack(poses), torch.stack(images), float(angle))


def read_poses(path: Path, angle: float) -> tuple[Tensor, list[str]]:
    """Cameras (N, 4, 4) of a transforms file, and their names. Raises OCDError for another field of
    view than `angle`, and for an entry that is missing or of the wrong form."""
    meta = _read_meta(path)
    found = meta.get("camera_angle_x", angle)
    if not isinstance(found, int | float) or not math.isclose(found, angle, rel_tol=1e-4):
        raise OCDError(f"{path}: camera_angle_x is {found!r}, and the scene was learnt with {angle:g}")
    frames = meta.get("frames")
    if not isinstance(frames, list) or not frames:
        raise OCDError(f"{path}: there is no list of frames")
    poses, names = [], []
    for number, frame in enumerate(frames):
        where = f"{path}, frame {number}"
        if not isinstance(frame, dict):
            raise OCDError(f"{where}: there is no transform_matrix")
        poses.append(_pose(frame.get("transform_matrix"), where))
        names.append(str(frame.get("file_path", number + 1)))
    return torch.stack(poses), names


def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise OCDError(
            f"no file {path}: --data-dir must be a folder of scenes in Blender's layout, each with "
            "transforms_train.json and transforms_test.json (the NeRF authors' nerf_synthetic)"
        )
    try:
        meta = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OCDError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(meta, dict):
        raise OCDError(f"{path}: it must hold camera_angle_x and frames")
    return meta


def _pose(matrix: Any, where: str) -> Tensor:
    try:
        pose = torch.tensor(matrix, dtype=torch.float32)
    except (TypeError, ValueError):
        pose = torch.empty(0)
    if pose.shape != (4, 4) or not pose.isfinite().all():
        raise OCDError(f"{where}: transform_matrix must be 4 rows of 4 finite numbers")
    return pose


def _image_path(scene: Path, name: str) -> Path:
    """Blender's own files leave the ending out."""
    path = scene / name
    return (
        path if path.suffix.lower() in (".png", ".jpg", ".jpeg") else path.with_name(path.name + ".png")
    )


def _image(path: Path, size: int, background: float) -> Tensor:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise OCDError(f"reading images needs Pillow: {install('nerf')}") from error
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGBA"), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError) as error:
        raise OCDError(f"{path}: not a readable image ({error})") from error
    height, width = pixels.shape[:2]
    if height != width:
        raise OCDError(f"{path}: the image is {width}x{height}: views must be square")
    if size > width:
        raise OCDError(f"{path}: the image is {width}x{width}, smaller than size = {size}")
    # Laid on the background before scaling down: transparent pixels have no colour of their own.
    alpha = pixels[..., 3:]
    image = torch.from_numpy(pixels[..., :3] * alpha + background * (1 - alpha)).permute(2, 0, 1)
    if size == width:
        return image
    return torch.nn.functional.interpolate(image[None], size=(size, size), mode="area")[0]


def pose_around(azimuth: float, height: float, radius: float) -> Tensor:
    """A camera (4, 4) that looks at the middle of the scene from `radius` away. `azimuth`, `height`: in
    radians, around the axis z and above the plane of x and y."""
    level = math.cos(height)
    back = torch.tensor([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(height)])
    right = torch.tensor([-math.sin(azimuth), math.cos(azimuth), 0.0])
    pose = torch.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, torch.linalg.cross(back, right), back
    pose[:3, 3] = radius * back
    return pose


def circle_of_poses(poses: Tensor, count: int) -> Tensor:
    """`count` poses around the scene, looking at its middle, for a film: (count, 4, 4).

    As far away and as high as the given cameras are on average; z points up.
    """
    radius = float(poses[:, :3, 3].norm(dim=1).mean())
    height = float((poses[:, 2, 3] / poses[:, :3, 3].norm(dim=1)).clamp(-1, 1).asin().mean())
    turn = torch.arange(count) * (2 * math.pi / count)
    level = torch.full_like(turn, math.cos(height))
    back = torch.stack([level * turn.cos(), level * turn.sin(), math.sin(height) + 0 * turn], dim=1)
    right = torch.stack([-turn.sin(), turn.cos(), 0 * turn], dim=1)
    circle = torch.eye(4).repeat(count, 1, 1)
    circle[:, :3, 0], circle[:, :3, 2], circle[:, :3, 3] = right, back, radius * back
    circle[:, :3, 1] = torch.linalg.cross(back, right)
    return circle
