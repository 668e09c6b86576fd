"""Networks that normalise their images themselves, so that every task has pixels from 0 to 1."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Normalised(nn.Module):
    """A network with the mean and deviation of its pixels, by channel; no part of its state dict."""

    MEAN: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    DEVIATION: ClassVar[tuple[float, ...]] = IMAGENET_DEVIATION

    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("pixel_mean", self.MEAN), ("pixel_deviation", self.DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) with pixels from 0 to 1, as the network was trained on them."""
        return (images - self.pixel_mean) / self.pixel_deviation
