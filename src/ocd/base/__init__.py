"""The user's frozen network: find a layer, see what passes through it, run it with a delta per example."""

from ocd.base.capture import Capture
from ocd.base.deltas import Delta, DenseDelta, RankOneDelta, num_weights
from ocd.base.frozen_base import OpenBase, find_layer, list_layers, usable_layers
from ocd.base.passes import frozen, run_without_delta

__all__ = [
    "Capture",
    "Delta",
    "DenseDelta",
    "OpenBase",
    "RankOneDelta",
    "find_layer",
    "frozen",
    "list_layers",
    "num_weights",
    "run_without_delta",
    "usable_layers",
]
