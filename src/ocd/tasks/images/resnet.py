"""The ResNets of He et al. (2016) for CIFAR10: 6n + 2 layers, shortcuts without parameters (option A).

Names and shapes are those of published weights, which load as they are: conv1, bn1, layer1 to layer3
with conv1, bn1, conv2, bn2 in each block, linear. ResNet-20 has 0.27 million parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.errors import OCDError
from ocd.tasks.images.normalised import Normalised


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        moved = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        # Option A: every second pixel, and zeros for the channels that are new.
        kept = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.more:
            kept = F.pad(kept, (0, 0, 0, 0, self.more // 2, self.more // 2))
        return torch.relu(moved + kept)


class ResNet(Normalised):
    """Images (B, 3, 32, 32) with pixels from 0 to 1 -> logits (B, classes). `depth`: 6n + 2."""

    def __init__(self, depth: int = 20, num_classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise OCDError(f"a ResNet for CIFAR has 6n + 2 layers (20, 32, 44, 56, 110): got {depth}")
        count = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, count, 1)
        self.layer2 = _stage(16, 32, count, 2)
        self.layer3 = _stage(32, 64, count, 2)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(self.normalised(images))))  # (B, 16, 32, 32)
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, 8, 8)
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first one brings the width, and halves the size where `stride` is 2."""
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(count - 1)))
