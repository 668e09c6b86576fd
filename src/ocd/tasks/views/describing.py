"""I(x) of a view, from a coarse rendering."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor
from torch.nn import functional as F

from ocd.base import FrozenBase
from ocd.data import Inputs
from ocd.generator import Features
from ocd.tasks.views.options import SMALL_SIDE, Options
from ocd.tasks.views.radiance import TinyNeRF, summarise_views
from ocd.tasks.views.vgg import VGG11, load_vgg11


@dataclass(frozen=True)
class DescribeViews:
    """I(x) of a view in a coarse rendering: the layer along the rays, by the light, and the image."""

    options: Options

    def __call__(self, frozen: FrozenBase, poses: Inputs) -> Features:
        view = frozen.view
        assert isinstance(view, TinyNeRF) and isinstance(poses, Tensor)
        seen = summarise_views(view, frozen.module, poses, self.options.grid)
        if self.options.image_encoder == "vgg11":
            output = _vgg11(self.options.vgg).to(poses.device)(seen.image)
        else:
            output = F.adaptive_avg_pool2d(seen.image, SMALL_SIDE).flatten(1)
        return {
            "layer_input": seen.layer_input,
            "layer_output": seen.layer_output,
            "output": output,
        }


@lru_cache(maxsize=1)
def _vgg11(path: str | None) -> VGG11:
    return load_vgg11(path)
