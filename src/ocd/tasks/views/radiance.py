"""TinyNeRF (Murthy 2020, after Mildenhall et al. 2020): a view as a function of the camera's pose.

B poses, R rays of a view, D depths of a ray, H x W pixels. All rays of all depths are positions of the
linear layers, which therefore see R·D of them an example. They are worked through in chunks of rays:
memory is bounded whatever the resolution, and a chunk stays in the processor's cache, which more than
halves the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = 8192
"""Positions of a chunk of rays: 8,192 times 128 numbers are 4 MB. Measured on two cores: 0.14 s a
view in chunks of 4,096 to 8,192 positions, 0.32 s in one piece."""


def positional_encoding(points: Tensor, num_frequencies: int) -> Tensor:
    """x, sin x, cos x, sin 2x, cos 2x, ... : (..., 3) -> (..., 3 + 6·num_frequencies).

    The order is that of the authors' checkpoint.
    """
    parts = [points]
    for power in range(num_frequencies):
        angle = points * 2.0**power
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)


def ray_directions(poses: Tensor, pixels: Tensor, size: int, angle: float) -> Tensor:
    """Directions of the rays through pixels, in the world, one unit deep: (B, R, 3).

    `poses`: camera to world, (B, 4, 4), the camera looks along -z. `pixels`: row · size + column, (R,)
    or (B, R). `angle`: the horizontal field of view in radians, `camera_angle_x`.
    """
    focal = 0.5 * size / math.tan(0.5 * angle)
    columns, rows = pixels % size, pixels.div(size, rounding_mode="floor")
    right = (columns.to(poses.dtype) - 0.5 * size) / focal
    down = (rows.to(poses.dtype) - 0.5 * size) / focal
    camera = torch.stack([right, -down, -torch.ones_like(right)], dim=-1)
    return camera.expand(len(poses), *camera.shape[-2:]) @ poses[:, :3, :3].transpose(1, 2)


class Compositing(nn.Module):
    """Volume rendering: what the depths of a ray answer -> its colour, on a background.

    (B, R, D, 4), three colours and a density each -> colours (B, R, 3) and weights (B, R, D), how much
    of a ray's light comes from each depth: Eq. 3 of Mildenhall et al. (2020).
    """

    def __init__(self, background: float) -> None:
        super().__init__()
        self.background = background

    def forward(self, answers: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        """`depths`: in rising order, (D,) or (B, R, D). The last one reaches infinitely far."""
        steps = depths.diff(dim=-1)
        steps = torch.cat([steps, steps.new_full((*steps.shape[:-1], 1), 1e10)], dim=-1)
        kept = torch.exp(-answers[..., 3].relu() * steps)  # the light that passes a depth
        passed = torch.cat([torch.ones_like(kept[..., :1]), kept[..., :-1] + 1e-10], dim=-1)
        weights = (1 - kept) * passed.cumprod(dim=-1)
        colours = (weights[..., None] * answers[..., :3].sigmoid()).sum(dim=-2)
        if self.background:
            colours = colours + self.background * (1 - weights.sum(dim=-1, keepdim=True))
        return colours, weights


@dataclass(frozen=True)
class Camera:
    """What all views of a scene share. `angle`: the field of view in radians; `near`, `far`: where the
    depths of a ray begin and end, in the scene's unit."""

    size: int
    angle: float
    near: float = 2.0
    far: float = 6.0
    num_depths: int = 32


class TinyNeRF(nn.Module):
    """Three linear layers between the encoding of a point and its colour and density.

    Camera poses (B, 4, 4) -> views (B, 3, H, W) of pixels from 0 to 1. With `pixels` (B, R), numbers
    row · W + column, only these: (B, 3, R). In training the depths are stratified: each at random
    within its own stretch of the ray.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        num_frequencies: int = 10,
        width: int = 128,
        background: float = 0.0,
        positions: int = POSITIONS,
    ) -> None:
        super().__init__()
        self.camera = camera
        self.num_frequencies = num_frequencies
        self.positions = positions
        self.layer1 = nn.Linear(3 + 6 * num_frequencies, width)
        self.layer2 = nn.Linear(width, width)
        self.layer3 = nn.Linear(width, 4)
        self.compositing = Compositing(background)

    def forward(self, poses: Tensor, pixels: Tensor | None = None) -> Tensor:
        size = self.camera.size
        wanted = torch.arange(size**2, device=poses.device) if pixels is None else pixels
        origins = poses[:, None, :3, 3]
        rays = ray_directions(poses, wanted, size, self.camera.angle)
        num_rays = max(1, self.positions // (len(poses) * self.camera.num_depths))
        colours = torch.cat(
            [self._colours(origins, part) for part in rays.split(num_rays, dim=1)], dim=1
        )
        channels_first = colours.transpose(1, 2)  # (B, 3, R)
        return channels_first if pixels is not None else channels_first.unflatten(2, (size, size))

    def _colours(self, origins: Tensor, directions: Tensor) -> Tensor:
        """The rays' colours: origins (B, 1, 3), directions (B, R, 3) -> (B, R, 3)."""
        depths = self._depths(directions)  # (D,) or (B, R, D)
        points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
        encoded = positional_encoding(points, self.num_frequencies)  # (B, R, D, 63)
        hidden = F.relu_(self.layer2(F.relu_(self.layer1(encoded))))
        colours: Tensor = self.compositing(self.layer3(hidden), depths)[0]
        return colours

    def _depths(self, directions: Tensor) -> Tensor:
        camera = self.camera
        like: dict[str, Any] = {"device": directions.device, "dtype": directions.dtype}
        depths = torch.linspace(camera.near, camera.far, camera.num_depths, **like)
        if not self.training:
            return depths  # the same for all rays: a delta's draws may widen the batch behind a layer
        stretch = (camera.far - camera.near) / camera.num_depths
        jitter = torch.rand(*directions.shape[:2], camera.num_depths, **like)
        return depths + stretch * jitter


@dataclass(frozen=True)
class ViewSummary:
    """A coarse rendering of views, with what a layer saw on the way, summed up by the light.

    `layer_input` (B, I), `layer_output` (B, O): means over all positions, weighted by how much of the
    rays' light comes from each. `image`: (B, 3, g, g).
    """

    layer_input: Tensor
    layer_output: Tensor
    image: Tensor


@torch.no_grad()
def summarise_views(base: TinyNeRF, layer: nn.Module, poses: Tensor, grid: int) -> ViewSummary:
    """Render every (size / grid)-th pixel both ways and sum up the layer along the rays."""
    size = base.camera.size
    lines = (torch.arange(grid, device=poses.device) * size + size // 2) // grid
    pixels = (lines[:, None] * size + lines).flatten().expand(len(poses), -1)
    seen: list[tuple[Tensor, Tensor]] = []
    sums: list[tuple[Tensor, Tensor, Tensor]] = []

    def record(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.append((given[0].clone(), answer.clone()))  # what follows works in place

    def weigh(module: nn.Module, given: object, answer: tuple[Tensor, Tensor]) -> None:
        weights, (inputs, outputs) = answer[1], seen.pop()
        sums.append(
            (
                torch.einsum("brd,brdf->bf", weights, inputs),
                torch.einsum("brd,brdf->bf", weights, outputs),
                weights.sum(dim=(1, 2)),
            )
        )

    was = base.training
    handles = [layer.register_forward_hook(record), base.compositing.register_forward_hook(weigh)]
    try:
        base.eval()
        image = base(poses, pixels).unflatten(2, (grid, grid))
    finally:
        base.train(was)
        for handle in handles:
            handle.remove()
    inputs, outputs, weights = (torch.stack(parts).sum(dim=0) for parts in zip(*sums, strict=True))
    light = weights.clamp_min(1e-6)[:, None]
    return ViewSummary(inputs / light, outputs / light, image)


class PoseEncoder(nn.Module):
    """Where a camera looks from, as smooth features: poses (B, 4, 4) -> (B, num_features).

    Random Fourier features of the viewing axis (Rahimi and Recht 2007), fixed by a seed: their inner
    products are a Gaussian kernel of `width` (of the unit sphere), so that what is linear in them
    varies as smoothly from view to view.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, num_features: int = 128, width: float = 0.5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        frequencies = torch.randn(3, num_features, generator=generator) / width
        phases = 2 * math.pi * torch.rand(num_features, generator=generator)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", phases)

    def forward(self, poses: Tensor) -> Tensor:
        axis = F.normalize(poses[:, :3, 2], dim=1)
        return math.sqrt(2) * (axis @ self.frequencies + self.phases).cos()
