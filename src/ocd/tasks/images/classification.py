"""What the image classifiers share: loss, ensembles, base training, shifts, encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import (
    Examples,
    GlobalRandom,
    Inputs,
    ResumableLoop,
    call,
    copied,
    map_tensors,
    to_device,
)
from ocd.errors import OCDError
from ocd.lessons import Transform
from ocd.tasks.task import Progress


def cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Logits (B, C) and classes (B,) -> cross-entropy (B,) in nats, the loss."""
    return F.cross_entropy(outputs, targets, reduction="none")


def log_mean_softmax(outputs: Tensor) -> Tensor:
    """Logits of K draws (K, B, C) -> log of their mean probabilities (B, C), itself logits."""
    return outputs.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(outputs))


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


CORRUPTIONS = ("none", "noise", "blur", "contrast")


def corrupt(images: Tensor, kind: str, seed: int) -> Tensor:
    """Images (N, 1, H, W) in 0 to 1 as a worse camera would give them, always alike for a seed.

    noise: Gaussian of deviation 0.4, cut to 0 to 1. blur: Gaussian of 1.5 pixels. contrast: a
    third of the range, around the middle.
    """
    if kind == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
        return (images + 0.4 * noise).clamp(0, 1)
    if kind == "blur":
        places = torch.arange(-4, 5)
        weights = torch.exp(-0.5 * (places / 1.5) ** 2)
        kernel = torch.outer(weights, weights)[None, None] / weights.sum() ** 2
        return F.conv2d(images, kernel, padding=4)
    if kind == "contrast":
        return 0.5 + (images - 0.5) / 3
    return images


def check_augmentation(pixels: int, strength: float) -> None:
    """Raises OCDError where `shift` or `distort` cannot be had."""
    if pixels < 0 or not 0 <= strength <= 5:
        raise OCDError(f"shift is {pixels} and distort {strength:g}: from 0 on, distort to 5")


def image_transform(pixels: int, strength: float) -> Transform | None:
    """`shift` and `distort` as a task's transform; None where there is nothing to do."""
    if pixels == 0 and strength == 0:
        return None

    def transform(inputs: Inputs, generator: torch.Generator) -> Inputs:
        def moved(images: Tensor) -> Tensor:
            return distort(shift(images, pixels, generator), strength, generator)

        return map_tensors(moved, inputs)

    return transform


def train_classifier(
    base: nn.Module,
    examples: Examples,
    *,
    epochs: int,
    seed: int,
    progress: Progress,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    channels_last: bool = False,
) -> None:
    """Trains a classifier from new weights with Adam, the rate falling linearly to zero.

    The base is changed in place and left in eval mode. The result depends on the seed alone,
    not on the weights that the base came with, and the global random state is left as it was.
    """
    device = next(base.parameters()).device
    order = torch.Generator().manual_seed(seed)
    num_batches = math.ceil(len(examples) / batch_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _reset(base)
        base.train()
        optimizer = torch.optim.Adam(base.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, total_iters=max(1, epochs * num_batches)
        )
        random = GlobalRandom(device)
        loop = ResumableLoop(
            "classifier", base=base, optimizer=optimizer, schedule=schedule, order=order, random=random
        )
        epoch = loop.values
        for step in loop.steps(epochs * num_batches):
            number, batch = divmod(step, num_batches)
            if batch == 0:
                epoch["rows"] = torch.randperm(len(examples), generator=order)
                epoch["total"] = torch.zeros((), device=device)
            rows = epoch["rows"][batch * batch_size :][:batch_size]
            loss = _classifier_loss(base, examples, rows, channels_last)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch["total"] = epoch["total"].to(device) + loss.detach()
            if batch == num_batches - 1:
                mean = epoch["total"].item() / num_batches
                progress(f"base: epoch {number + 1} of {epochs}, loss {mean:.4f}")
    base.eval()


def _classifier_loss(base: nn.Module, examples: Examples, rows: Tensor, channels_last: bool) -> Tensor:
    """The mean cross-entropy of some examples."""
    device = next(base.parameters()).device
    inputs, targets = examples.rows(rows)
    inputs = to_device(inputs, device)
    if channels_last:
        inputs = copied(inputs, channels_last)
    return F.cross_entropy(call(base, inputs), targets.to(device))


def _reset(network: nn.Module) -> None:
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


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
