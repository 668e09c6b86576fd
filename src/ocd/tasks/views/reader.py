"""New views of a scene: cameras in a file of Blender's layout, or poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ocd.data import Inputs, write_json
from ocd.errors import OCDError
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.views.blender import read_poses


@dataclass(frozen=True)
class ViewReader:
    """Cameras (4, 4), camera to world, with the field of view of the scene that was learnt."""

    angle: float
    answer: Answer = field(default=Answer("view", ()), init=False)

    kind: ClassVar[str] = "views"
    takes: ClassVar[str] = (
        "a transforms.json of Blender's layout, a folder with one, or poses (B, 4, 4)"
    )

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The cameras of a transforms file; its images, if there are any, are not looked at."""
        path = source / "transforms_test.json" if source.is_dir() else source
        poses, names = read_poses(path, self.angle)
        for first in range(start, len(poses), size):
            yield NewRows(names[first : first + size], poses[first : first + size])

    def take(self, data: Any) -> NewRows:
        """Poses (B, 4, 4)."""
        try:
            poses = torch.as_tensor(data, dtype=torch.float32)
        except (TypeError, ValueError) as error:
            raise OCDError(f"poses must be numbers (B, 4, 4) ({error})") from error
        if poses.dim() != 3 or poses.shape[1:] != (4, 4) or not len(poses):
            raise OCDError(f"poses have shape {tuple(poses.shape)}, where (B, 4, 4) is needed")
        if not poses.isfinite().all():
            raise OCDError("a pose is not finite")
        return NewRows([str(number + 1) for number in range(len(poses))], poses)

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """A transforms file with the cameras."""
        assert isinstance(inputs, Tensor)
        frames = [
            {"file_path": f"view-{number}", "transform_matrix": pose.tolist()}
            for number, pose in enumerate(inputs, 1)
        ]
        write_json(folder / "transforms.json", {"camera_angle_x": self.angle, "frames": frames})
        return True

    def state(self) -> State:
        return {"angle": self.angle}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> ViewReader:
        """As `state` gave it."""
        return cls(float(facts["angle"]))
