"""Networks over x that widen the condition: an extension of the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ImageEncoder(nn.Module):
    """A small convolutional network over x, which widens the condition I(x) of Eq. 4.

    An extension of the paper: I(x) sees only what the base kept of x, and that is what bounds
    the prediction. Three 3x3 convolutions with batch norm, two poolings, one linear layer.
    Images (B, channels, size, size) -> (B, num_features).
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        widths: tuple[int, int, int] = (32, 64, 64),
        num_features: int = 256,
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        first, second, third = widths
        self.unshuffle = nn.PixelUnshuffle(unshuffle)
        self.trunk = nn.Sequential(
            _ConvolutionBlock(channels * unshuffle**2, first),
            nn.MaxPool2d(2),
            _ConvolutionBlock(first, second),
            _ConvolutionBlock(second, third),
            nn.MaxPool2d(2),
        )
        side = size // unshuffle // 2 // 2
        self.head = nn.Sequential(nn.Linear(third * side * side, num_features), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        # Only the activations are channels_last, which is what makes the convolutions fast on a
        # CPU. The weights stay contiguous, as safetensors demands.
        pixels = self.unshuffle(images).contiguous(memory_format=torch.channels_last)
        # Flattened as they lie in memory, so that gradients come back channels_last too.
        features: Tensor = self.head(self.trunk(pixels).permute(0, 2, 3, 1).flatten(1))
        return features


class _ConvolutionBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU. In eval mode the norm is folded into the convolution,
    which saves a pass over the activations.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # No bias: the batch norm behind it has one.
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            normed: Tensor = self.norm(self.convolution(images))
            return F.relu(normed)
        norm = self.norm
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = self.convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        return F.relu_(
            F.conv2d(images, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)
        )


class TrunkEncoder(nn.Module):
    """A network without its head as the encoder of x: its features, standardised by a batch norm.

    `trunk`: inputs -> (B, num_features); it is trained with the generator, from the weights it has.
    `compute`: float32 or bfloat16, in which its convolutions are computed.
    """

    def __init__(self, trunk: nn.Module, num_features: int, compute: str = "float32") -> None:
        super().__init__()
        self.trunk, self.compute = trunk, compute
        self.num_features = num_features
        self.norm = nn.BatchNorm1d(num_features)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, torch.bfloat16, self.compute == "bfloat16"):
            seen = self.trunk(pixels)
        features: Tensor = self.norm(seen.float())
        return features
