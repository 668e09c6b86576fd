"""Images as a worse camera would give them: four corruptions of the CIFAR10-C family.

Hendrycks and Dietterich 2019: noise, blur, contrast and JPEG in five severities, computed on pixels
from 0 to 1. CIFAR10 has the published strengths; digits, which are easier to read, stronger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.errors import OCDError

KINDS = ("noise", "blur", "contrast", "jpeg")
Strengths = dict[str, tuple[float, float, float, float, float]]
CIFAR10_C: Strengths = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "jpeg": (80, 65, 58, 50, 40),
}
"""By severity 1 to 5: the deviation of the noise, that of the blur in pixels, the share of the contrast
that is left, the quality of the JPEG."""
DIGITS_C: Strengths = {
    "noise": (0.08, 0.16, 0.24, 0.32, 0.40),
    "blur": (0.5, 0.75, 1.0, 1.25, 1.5),
    "contrast": (0.8, 0.65, 0.55, 0.45, 1 / 3),
    "jpeg": (40, 25, 15, 10, 5),
}
HELP = (
    "NAME,SEVERITY: noise, blur, contrast or jpeg, 1 to 5, of the {which} images; mixed: one of these "
    "by chance for four of five images; none leaves them as they are"
)
MIXED = "mixed"


@dataclass(frozen=True)
class Corruption:
    """A kind of `KINDS`, and its severity from 1 to 5."""

    kind: str
    severity: int

    @classmethod
    def parse(cls, text: str, option: str) -> Corruption | None:
        """Of "NAME,SEVERITY"; None for "none". Raises OCDError, naming the option, for other texts."""
        if text == "none":
            return None
        kind, _, severity = text.replace(" ", "").partition(",")
        if kind not in KINDS or severity not in ("1", "2", "3", "4", "5"):
            raise OCDError(
                f"{option} is {text!r}: use none, mixed, or NAME,SEVERITY with {', '.join(KINDS)} and "
                "1 to 5, such as noise,3"
            )
        return cls(kind, int(severity))

    def apply(self, images: Tensor, strengths: Strengths, seed: int) -> Tensor:
        """Images (N, C, H, W) with pixels from 0 to 1, corrupted; always alike for a seed."""
        return WAYS[self.kind](images, strengths[self.kind][self.severity - 1], seed)


def check_corruption(text: str, option: str) -> None:
    """Raises OCDError, naming the option, for a text that `corrupted` does not know."""
    if text != MIXED:
        Corruption.parse(text, option)


def corrupted(images: Tensor, text: str, option: str, strengths: Strengths, seed: int) -> Tensor:
    """The same from an option's text: "NAME,SEVERITY", "mixed" or "none"."""
    if text == MIXED:
        return _mixed(images, strengths, seed)
    corruption = Corruption.parse(text, option)
    return images if corruption is None else corruption.apply(images, strengths, seed)


def corruption_notes(options: Any) -> list[str]:
    """What a report says of a task's options `corruption` and `train_corruption`."""
    which = {"train_corruption": "training", "corruption": "test"}
    return [
        f"{name} images are corrupted on purpose: {getattr(options, option)}"
        for option, name in which.items()
        if getattr(options, option) != "none"
    ]


def _mixed(images: Tensor, strengths: Strengths, seed: int) -> Tensor:
    """Each image with a kind and a severity by chance, or, one of five, as it is."""
    chance = torch.Generator().manual_seed(seed)
    kinds = torch.randint(len(KINDS) + 1, (len(images),), generator=chance)
    severities = torch.randint(1, 6, (len(images),), generator=chance)
    made = images.clone()
    for number, kind in enumerate(KINDS):
        for severity in range(1, 6):
            rows = ((kinds == number) & (severities == severity)).nonzero()[:, 0]
            if len(rows):
                made[rows] = Corruption(kind, severity).apply(images[rows], strengths, seed + severity)
    return made


def _noise(images: Tensor, deviation: float, seed: int) -> Tensor:
    """Gaussian, cut to 0 to 1."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + deviation * noise).clamp(0, 1)


def _blur(images: Tensor, pixels: float, seed: int) -> Tensor:
    """A Gaussian kernel in both ways; the edges are repeated."""
    reach = max(1, round(3 * pixels))
    places = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (places / pixels) ** 2)
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    channels = images.shape[1]
    padded = F.pad(images, [reach] * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def _contrast(images: Tensor, share: float, seed: int) -> Tensor:
    """Pixels nearer to each image's mean of each channel."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (mean + share * (images - mean)).clamp(0, 1)


def _jpeg(images: Tensor, quality: float, seed: int) -> Tensor:
    """Saved as JPEG of a quality, and read again."""
    from PIL import Image

    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    grey = images.shape[1] == 1
    saved = np.empty_like(pixels)
    for number, one in enumerate(pixels):
        file = BytesIO()
        Image.fromarray(one[..., 0] if grey else one).save(file, "JPEG", quality=int(quality))
        read = np.asarray(Image.open(file))
        saved[number] = read[..., None] if grey else read
    return torch.from_numpy(saved).permute(0, 3, 1, 2).float() / 255


WAYS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "jpeg": _jpeg,
}
