"""Alg. 2 for a batch: from I(x) and noise to codes, to deltas, to predictions.

    capture = fitted.capture(inputs)                  # one pass of the base
    embedding = fitted.embed(inputs, capture)         # of the condition I(x)
    codes = fitted.draw(inputs, embedding, request)   # K draws an example, or the mean
    delta = fitted.decode(codes, capture)             # deltas of the layer's weight
    prediction = apply_deltas(fitted.frozen, capture, delta)

The noise of a draw belongs to its example, not to its place in a batch (`ocd.generator.noise`), so
that a prediction does not depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.base import Capture, Delta, FrozenBase, num_weights
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.generator import Condition, Embedding, HyperNetwork, example_keys, example_noise

MODES = ("draws", "mean")


def check_count(name: str, value: Any) -> None:
    """Raises OCDError where an argument is not a whole number from 1 on."""
    if type(value) is not int or value < 1:
        raise OCDError(f"{name} is {value!r}: it must be a whole number, at least 1")


@dataclass(frozen=True)
class DrawRequest:
    """What is asked of the generator: `num_draws` draws with the noise of `seed`, or with mode "mean"
    the expected delta. `use_mean_scale` is the paper's ablation "no scale"."""

    num_draws: int = 5
    mode: str = "draws"
    seed: int = 0
    use_mean_scale: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OCDError(f"mode is {self.mode!r}: use one of {MODES}")
        check_count("draws", self.num_draws)
        if type(self.seed) is not int or not -(2**63) <= self.seed < 2**63:
            raise OCDError(f"seed is {self.seed!r}: it must be a whole number of 64 bits")


@dataclass(frozen=True)
class FittedGenerator:
    """A trained generator on its base. `condition`: how I(x) becomes vectors. `mixed_precision`:
    whether the generator's matrix products are made in bfloat16; the base always runs as it is."""

    network: HyperNetwork
    frozen: FrozenBase
    condition: Condition
    mixed_precision: bool = False

    def capture(self, inputs: Inputs) -> Capture:
        """One pass of the base over inputs (B, ...) on its device."""
        rank_one = self.network.shapes.code == "rank_one"
        return self.frozen.capture(inputs, keep_positions=rank_one or self.condition.needs_positions)

    def embed(self, inputs: Inputs, capture: Capture) -> Embedding:
        """The embedding of I(x), and of x where there is an encoder: once, whatever the draws."""
        features = self.condition.features(self.frozen, inputs, capture)
        with self._precision():
            return self.network.embed(features, inputs)

    def draw(self, inputs: Inputs, embedding: Embedding, request: DrawRequest) -> Tensor:
        """Codes (B, K, *code_shape); K is 1 for the mean."""
        with self._precision():
            if request.mode == "mean":
                return self.network.mean_codes(embedding, request.use_mean_scale)
            noise = self.noise(inputs, request.seed, request.num_draws)
            return self.network.draw_codes(embedding, noise, request.use_mean_scale)

    def balances(self, request: DrawRequest) -> bool:
        """Whether the draws of `draw` are balanced (ocd.generator.placement)."""
        return request.mode == "draws" and self.network.placement.balances(request.num_draws)

    def decode(self, codes: Tensor, capture: Capture) -> Delta:
        """Deltas of the layer's weight, (B, K, ...)."""
        return self.network.decode(codes, capture.positions)

    def noise(self, inputs: Inputs, seed: int, num_draws: int) -> Tensor:
        """Ω_T of each example and draw, (B, K, *diffused_shape)."""
        return example_noise(example_keys(inputs), seed, num_draws, self.network.diffused_shape)

    def chunk_size(self, num_draws: int, one: Callable[[], Inputs]) -> int:
        """Examples predicted at once: activations and written deltas of all draws stay under some
        hundred megabytes. `one()`: an example, asked for where nothing was captured yet."""
        elements = self.network.denoiser.elements_per_code
        if not self.frozen.is_shifted or self.network.shapes.code == "dense":
            elements = max(elements, num_weights(self.network.shapes.weight_shape))
        elif self.network.shapes.code != "rank_one":
            if self.frozen.layer_size is None:
                self.capture(one())
            # What the layer answers, is moved to, and becomes in the modules behind it.
            elements = max(elements, 4 * (self.frozen.layer_size or 0))
        return max(1, min(256, 2**26 // (num_draws * elements)))

    def _precision(self) -> AbstractContextManager[None]:
        device, wanted = self.frozen.device.type, self.mixed_precision
        if not wanted and not torch.is_autocast_enabled(device):
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16, enabled=wanted)
