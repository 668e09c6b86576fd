"""A user's own network as the base of an image task."""

from __future__ import annotations

from torch import Tensor, nn

from ocd.errors import OCDError
from ocd.tasks.own_network import make_own_network
from ocd.tasks.task import TaskData

MODULE_HELP = (
    "your own network, FILE.py:function or package.module:function, which is executed; "
    "function(num_classes) gives a module that takes these images, (B, C, H, W) with pixels from 0 to "
    "1. With `base` it is loaded, without it is trained"
)


def own_classifier(module: str, data: TaskData, num_classes: int) -> nn.Module:
    """What the user's function gives, tried on two images."""
    images = data.train.inputs
    if not isinstance(images, Tensor):
        raise OCDError("module is for tasks whose inputs are images")
    return make_own_network(module, images[:2], num_classes, num_classes)
