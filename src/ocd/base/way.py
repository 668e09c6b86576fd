"""How a base is moved at a layer: the fast ways that were proven right, or the plain one.

    Way("shift", widen=True)   # of most linear layers and convolutions: the output is shifted
    Way("vectorized")          # the parameter is replaced, for all examples at once (torch.func.vmap)
    Way("plain")               # the parameter is replaced, one example at a time

`ocd.base.probe` chooses it, a fit writes it into its plan and its checkpoint, and the report names it
(docs/models.md has what each costs).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ocd.errors import OCDError

WAYS = ("shift", "vectorized", "plain")
"""From fast to slow."""
SHIFTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""The exact types whose output a shift moves."""


@dataclass(frozen=True)
class Way:
    """How a base is moved at a layer, as `probe` found it.

    `kind`: one of `WAYS`. `widen`: whether K deltas share one pass up to the layer (of "shift").
    `fresh_views`: whether each pass needs a view of its own, since the base runs modules again in the
    backward pass (activation checkpointing). `copies`: whether what the layer is given must be copied,
    since the base changes it in place behind the layer.
    """

    kind: str
    widen: bool = False
    fresh_views: bool = False
    copies: bool = False

    def __post_init__(self) -> None:
        if self.kind not in WAYS:
            raise OCDError(f"the way is {self.kind!r}: use one of {WAYS}")
