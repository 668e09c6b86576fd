"""GoogLeNet for images of 32 x 32, the paper's base on CIFAR10 (Sec. 4.1).

Szegedy et al. 2015 with batch norm, as the collection PyTorch_CIFAR10 has it, whose weights load as
they are: one convolution of 3 x 3 in place of all that comes before the first Inception block, 3 x 3
where the publication has 5 x 5, no auxiliary heads. 5.49 million parameters at ten classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ocd.tasks.images.normalised import Normalised


class Widths(NamedTuple):
    """Channels of an Inception block: its input, and those of the four branches."""

    inputs: int
    one: int
    three_reduced: int
    three: int
    five_reduced: int
    five: int
    pool: int


STAGES: dict[str, tuple[Widths, ...]] = {
    "3": (Widths(192, 64, 96, 128, 16, 32, 32), Widths(256, 128, 128, 192, 32, 96, 64)),
    "4": (
        Widths(480, 192, 96, 208, 16, 48, 64),
        Widths(512, 160, 112, 224, 24, 64, 64),
        Widths(512, 128, 128, 256, 24, 64, 64),
        Widths(512, 112, 144, 288, 32, 64, 64),
        Widths(528, 256, 160, 320, 32, 128, 128),
    ),
    "5": (Widths(832, 256, 160, 320, 32, 128, 128), Widths(832, 384, 192, 384, 48, 128, 128)),
}
"""Table 1 of the publication; a pooling stands in front of stages 4 and 5."""


class ConvolutionNorm(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches over the same input, joined by their channels."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        inputs = widths.inputs
        self.branch1 = ConvolutionNorm(inputs, widths.one, 1)
        self.branch2 = nn.Sequential(
            ConvolutionNorm(inputs, widths.three_reduced, 1),
            ConvolutionNorm(widths.three_reduced, widths.three, 3),
        )
        self.branch3 = nn.Sequential(
            ConvolutionNorm(inputs, widths.five_reduced, 1),
            ConvolutionNorm(widths.five_reduced, widths.five, 3),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvolutionNorm(inputs, widths.pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class GoogLeNet(Normalised):
    """Images (B, 3, 32, 32) with pixels from 0 to 1 -> logits (B, classes)."""

    MEAN = (0.4914, 0.4822, 0.4465)
    DEVIATION = (0.2471, 0.2435, 0.2616)

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = ConvolutionNorm(3, 192, 3)
        for stage, blocks in STAGES.items():
            for letter, widths in zip("abcde", blocks, strict=False):
                setattr(self, f"inception{stage}{letter}", Inception(widths))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(self.normalised(images))  # (B, 192, 32, 32)
        for stage, blocks in STAGES.items():
            if stage != "3":
                x = self.pool(x)  # (B, 480, 16, 16), then (B, 832, 8, 8)
            for letter, _ in zip("abcde", blocks, strict=False):
                x = getattr(self, f"inception{stage}{letter}")(x)
        logits: Tensor = self.fc(self.dropout(x.mean(dim=(2, 3))))
        return logits
