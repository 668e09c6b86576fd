"""One image file -> pixels, turned as its camera says, in grey or colour whatever its format has."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import OCDError, install

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"
)  # fmt: skip
"""Names of image files."""


def decoded(data: bytes, channels: int, where: str) -> Tensor:
    """Pixels from 0 to 1 (channels, H, W) of a file's bytes; `channels`: 1 grey, 3 RGB. Raises OCDError
    naming `where` for what is no single image, or of which white is not known."""
    image = opened(data, where)
    try:
        return pillow_pixels(image, channels, where)
    except OCDError:
        raise
    except Exception as error:  # of what the file says beside its pixels, such as a broken EXIF
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"{where}: not a readable image ({reason})") from error


def opened(data: bytes, where: str) -> Any:
    """A Pillow image with all its pixels. Raises OCDError naming `where` where they cannot be read."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise OCDError(f"reading images needs Pillow: {install('images')}") from error
    if not data:
        raise OCDError(f"{where}: the file is empty")
    try:
        image: Any = Image.open(BytesIO(data))
        _check_single(image, where)
        image.load()
    except OCDError:
        raise
    except UnidentifiedImageError as error:
        raise OCDError(f"{where}: not a readable image") from error
    except Exception as error:  # what many decoders raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"{where}: not a readable image ({reason})") from error
    return image


def pillow_pixels(image: Any, channels: int, where: str) -> Tensor:
    """Pixels from 0 to 1 (channels, H, W) of a Pillow image, laid on black where it is transparent."""
    from PIL import ImageOps

    _check_single(image, where)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535 or (image.mode == "I" and values.max() <= 255):
            raise OCDError(
                f"{where}: pixels of 32 bits from {values.min()} to {values.max()}, of which white "
                "is not known: save it with 8 or 16 bits"
            )
        grey = torch.from_numpy(values / 65535).float()[None]
        return grey.expand(channels, -1, -1)
    if image.mode == "F":
        raise OCDError(f"{where}: pixels are floating point, of which white is not known")
    pixels = np.asarray(in_mode(image, "L" if channels == 1 else "RGB", where), np.float32) / 255
    made = torch.from_numpy(pixels.copy())
    return made[None] if made.dim() == 2 else made.permute(2, 0, 1)


def _check_single(image: Any, where: str) -> None:
    """Raises OCDError for an animation. Cameras' MPO files have their picture first."""
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise OCDError(f"{where}: an animation of {image.n_frames} pictures: give one")


def in_mode(image: Any, mode: str, where: str) -> Any:
    """A Pillow image of 8 bits in another mode, on black where it is transparent. Raises OCDError
    naming `where` for what is black on a transparent ground: nothing of it could be seen."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        clear, _ = image.getchannel("A").getextrema()
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
        if clear < 255 and not image.getbbox():
            raise OCDError(
                f"{where}: black on a transparent ground, which is taken as black: save it with the "
                "ground that it should have"
            )
    return image.convert(mode)


def as_rgb(data: bytes, where: str) -> Any:
    """A Pillow image RGB of 8 bits of a file's bytes, for image processors that take such."""
    from PIL import Image

    pixels = decoded(data, 3, where)
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
