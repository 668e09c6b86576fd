"""VGG-11 (Simonyan and Zisserman 2015), its convolutions alone, with torchvision's weight names."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.errors import OCDError

LAYERS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")
REPO = "timm/vgg11.tv_in1k"
"""torchvision's ImageNet weights on the Hugging Face hub, under the names that torchvision has."""
SMALLEST = 32
"""Pixels a side that the five poolings need."""


class VGG11(nn.Module):
    """Images (B, 3, H, W) of pixels from 0 to 1 -> (B, 512), the mean over places of the last layer.

    Frozen: eighty views are too few to train nine million weights.
    """

    num_features = 512

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for layer in LAYERS:
            if isinstance(layer, int):
                parts += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
                channels = layer
            else:
                parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        mean = images.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        deviation = images.new_tensor([0.229, 0.224, 0.225])[:, None, None]
        if min(images.shape[2:]) < SMALLEST:
            images = F.interpolate(images, size=(SMALLEST, SMALLEST), mode="bilinear")
        answer: Tensor = self.features((images - mean) / deviation)
        return answer.mean(dim=(2, 3))


def load_vgg11(path: str | Path | None = None) -> VGG11:
    """VGG-11 with the weights in a file (.safetensors or .pth, torchvision's names), or from the hub.

    Of the file only `features.*` are taken. Raises OCDError where they cannot be had or do not fit.
    """
    weights = _read(Path(path) if path is not None else _from_hub())
    network = VGG11()
    wanted = network.state_dict()
    found = {name: tensor for name, tensor in weights.items() if name.startswith("features.")}
    for name in sorted(wanted.keys() | found.keys()):
        ours, theirs = wanted.get(name), found.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shape = "missing" if theirs is None else tuple(theirs.shape)
            needed = "not there" if ours is None else tuple(ours.shape)
            raise OCDError(
                f"VGG-11 weights {path or REPO}: {name} is {shape}, in VGG-11 it is {needed}"
            )
    network.load_state_dict(found)
    return network.eval().requires_grad_(False)


def _from_hub() -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id=REPO, filename="model.safetensors"))
    except Exception as error:  # of several libraries; to the user they are one: it is not here
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise OCDError(
            f"the hub did not give {REPO} ({first}): give the weights by --set vgg=FILE, or use "
            "--set image_encoder=small"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise OCDError(f"VGG-11 weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise OCDError(f"VGG-11 weights {path}: not readable ({first})") from error
    if not isinstance(weights, dict):
        raise OCDError(f"VGG-11 weights {path}: not a dictionary of tensors")
    return {name: value for name, value in weights.items() if isinstance(value, Tensor)}
