"""Images that are kept for the report's figures, of a task whose outputs are views."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.model import OCD

SHOWN_METHODS = ("base", "ocd", "overfit_test")
"""The methods whose views are kept."""
NUM_VIEWS = 8
"""Test views that are kept of each."""


def pick_views(outputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
    """Some views of each method, and the true ones: (`NUM_VIEWS`, 3, H, W), whole numbers to 255.

    `outputs`: by method, (N, 3, H, W), pixels from 0 to 1. The views are evenly spaced in the test set.
    """
    images = {name: outputs[name] for name in SHOWN_METHODS if name in outputs} | {"truth": targets}
    num_test = len(targets)
    indices = torch.linspace(0, num_test - 1, min(NUM_VIEWS, num_test)).round().long()
    return {name: to_pixels(values[indices]) for name, values in images.items()}


def film_frames(ocd: OCD, inputs: Inputs) -> dict[str, Tensor]:
    """Frames of the base and of OCD (its mean if it has one, else one draw), (B, 3, H, W) in 0..255.

    `inputs`: one a frame, from no data set.
    """
    mode = "mean" if ocd.config.diffusion.prediction == "x0" else "draws"
    prediction = ocd.predict(inputs, draws=1, mode=mode)
    assert prediction.base is not None
    return {"film/base": to_pixels(prediction.base), "film/ocd": to_pixels(prediction.outputs[0])}


def to_pixels(images: Tensor) -> Tensor:
    """Images with pixels from 0 to 1 -> whole numbers from 0 to 255."""
    return (255 * images.detach().cpu().clamp(0, 1)).round().to(torch.uint8)
