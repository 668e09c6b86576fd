"""Images moved, turned and mirrored by chance, as they are before they are overfitted."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.data import Inputs, map_tensors
from ocd.errors import OCDError
from ocd.lessons import Transform


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each moved by its own -pixels to pixels both ways, filled with zeros."""
    if pixels == 0:
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, [pixels] * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, 2p+1, 2p+1, H, W)
    size = (2, len(images))
    offsets = torch.randint(2 * pixels + 1, size, generator=generator, device=generator.device)
    down, right = offsets.to(images.device)
    rows = torch.arange(len(images), device=images.device)
    return windows[rows, :, down, right]


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), every other one by chance with left and right exchanged."""
    chosen = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(-1), images)


def distort(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each turned, stretched and sheared by its own random amounts.

    At strength 1 up to 10 degrees, a tenth of the size and a shear of 0.15 (either way).
    """
    if strength == 0:
        return images
    amounts = torch.rand(3, len(images), generator=generator, device=generator.device)
    turn, stretch, shear = (strength * (2 * amounts - 1)).to(images.device)
    angle, size = turn * math.radians(10), 1 + 0.1 * stretch
    across = _from_middle(images.shape[-1], images.device)  # (W,)
    down = _from_middle(images.shape[-2], images.device)[:, None]  # (H, 1)
    cos, sin, skew = (v[:, None, None] for v in (size * angle.cos(), angle.sin(), 0.15 * shear))
    # What F.affine_grid does by a matrix product of three columns, in a quarter of the time.
    grid = torch.stack([cos * across + (skew - sin) * down, sin * across + cos * down], dim=-1)
    return F.grid_sample(images, grid, align_corners=False)


def _from_middle(size: int, device: torch.device) -> Tensor:
    """Places of pixels from -1 to 1, which are the edges of the first and the last."""
    return (2 * torch.arange(size, device=device) + 1 - size) / size


def check_augmentation(pixels: int, strength: float) -> None:
    """Raises OCDError where `shift` or `distort` cannot be had."""
    if pixels < 0 or not 0 <= strength <= 5:
        raise OCDError(f"shift is {pixels} and distort {strength:g}: from 0 on, distort to 5")


def image_transform(pixels: int, strength: float, flips: bool = False) -> Transform | None:
    """`shift`, `distort` and `flip` as a task's transform; None where there is nothing to do."""
    if pixels == 0 and strength == 0 and not flips:
        return None

    def transform(inputs: Inputs, generator: torch.Generator) -> Inputs:
        """What a batch goes through before it is overfitted. Targets stay as they are, since none of
        these changes makes another class of an image.
        """

        def moved(images: Tensor) -> Tensor:
            """One tensor of images (B, C, H, W), by the batch's own chance."""
            images = distort(shift(images, pixels, generator), strength, generator)
            return flip(images, generator) if flips else images

        return map_tensors(moved, inputs)

    return transform
