"""A codec turns deltas into the code that is diffused, and generated codes back into deltas.

    codes = codec.encode(delta)              # (B, K, *code_shape)
    delta = codec.decode(codes, positions)   # positions (B, P, G, I): what the layer sees

Codes are in single precision, as the generator is. The norm of a code equals that of its delta, so that
the scale of Eq. 8 means the same for every codec. To add one, write a class with `name`,
`code_shape`, `encode` and `decode`, and add a line to `make_codec` (docs/architecture.md has an
example).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import ComponentDelta, Delta, DenseDelta, RankOneDelta, num_weights
from ocd.errors import OCDError

CODES = ("auto", "dense", "rank_one", "pca")
MAX_COMPONENTS = 256
"""Of pca: the most components that a share of the energy may ask for."""


@dataclass(frozen=True)
class CodecConfig:
    """How a delta is written before it is diffused."""

    kind: str = "auto"
    """auto, dense (the weight matrix, as the paper), rank_one, or pca."""
    components: float = 0.99
    """Of pca: below 1 the share of the deltas' energy to keep, else the number of components."""

    def __post_init__(self) -> None:
        if self.kind not in CODES:
            raise OCDError(f"codec.kind is {self.kind!r}: use one of {CODES}")
        if self.components <= 0:
            raise OCDError(f"codec.components is {self.components:g}: it must be positive")


class Codec(nn.Module):
    """Turns deltas into codes and back, for B examples and K draws. Abstract."""

    name: str
    weight_shape: tuple[int, ...]
    code_shape: tuple[int, ...]

    def encode(self, delta: Delta) -> Tensor:
        """(B, K, *weight) -> (B, K, *code_shape)."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def decode(self, code: Tensor, positions: Tensor | None) -> Delta:
        """(B, K, *code_shape) -> deltas. `positions` (B, P, G, I): what the layer sees (Capture); None
        only for a codec that does not need them."""
        raise TypeError(f"{type(self).__name__} does not decode")


class DenseCodec(Codec):
    """The weight itself, as the matrix (O, everything else). The U-Net pads it to a square."""

    name = "dense"

    def __init__(self, weight_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight_shape = weight_shape
        self.code_shape = (weight_shape[0], num_weights(weight_shape) // weight_shape[0])

    def encode(self, delta: Delta) -> Tensor:
        dense = delta.dense().float()
        return dense.reshape(*dense.shape[:2], *self.code_shape)

    def decode(self, code: Tensor, positions: Tensor | None) -> DenseDelta:
        return DenseDelta(code.reshape(*code.shape[:2], *self.weight_shape))


class RankOneCodec(Codec):
    """u·‖a‖ of a delta u·aᵀ: O numbers instead of O·I. a is known from I(x), so nothing is lost."""

    name = "rank_one"

    def __init__(self, weight_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight_shape = weight_shape
        self.code_shape = (weight_shape[0],)

    def encode(self, delta: Delta) -> Tensor:
        if not isinstance(delta, RankOneDelta):
            raise OCDError("the rank-one code needs rank-one deltas: set codec.kind to 'pca'")
        return delta.left.float() * delta.right.float().norm(dim=1)[:, None, None]

    def decode(self, code: Tensor, positions: Tensor | None) -> RankOneDelta:
        if positions is None:
            raise OCDError("the rank-one code needs what the layer sees: set codec.kind to 'pca'")
        right = positions[:, 0, 0].to(code.dtype)
        norm = right.norm(dim=1)[:, None, None].clamp_min(1e-12)
        return RankOneDelta(code / norm, right, self.weight_shape)


class PCACodec(Codec):
    """Coordinates along the main directions of the training deltas.

    Not centred: a delta of zero keeps the code zero, and a code's norm is its delta's. `fit` learns
    the directions by a randomised SVD (Halko et al. 2011, torch.svd_lowrank).
    """

    name = "pca"
    components: Tensor

    def __init__(self, weight_shape: tuple[int, ...], num_components: int) -> None:
        super().__init__()
        self.weight_shape = weight_shape
        self.code_shape = (num_components,)
        self.register_buffer("components", torch.zeros(num_weights(weight_shape), num_components))

    @classmethod
    def fit(cls, deltas: Tensor, config: CodecConfig, seed: int = 0) -> tuple[PCACodec, str]:
        """Directions of deltas (N, *weight), and a line on what the truncation loses."""
        flat = deltas.flatten(1).float()
        norms = flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
        # Large deltas would otherwise choose all directions: what is diffused is delta / ‖delta‖.
        flat = flat / norms
        most = min(flat.shape)
        wanted = MAX_COMPONENTS if config.components < 1 else int(config.components)
        rank = max(1, min(most, wanted))
        # Forks the generators of every device, since manual_seed sets them all.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            _, values, directions = torch.svd_lowrank(flat, q=min(most, rank + 10), niter=4)
        kept = values.square().cumsum(0) / flat.square().sum().clamp_min(1e-12)
        if config.components < 1:
            rank = min(rank, 1 + int((kept < config.components).sum()))
        codec = cls(tuple(deltas.shape[1:]), rank)
        codec.components.copy_(directions[:, :rank])
        share = float(kept[rank - 1])
        return codec, (
            f"pca code of {rank} components keeps {100 * share:.2f} % of the energy of "
            f"{len(flat)} normalised deltas and loses {100 * (1 - share):.2f} %"
        )

    def encode(self, delta: Delta) -> Tensor:
        return delta.dense().flatten(2).to(self.components.dtype) @ self.components

    def decode(self, code: Tensor, positions: Tensor | None) -> ComponentDelta:
        return ComponentDelta(code.to(self.components.dtype), self.components, self.weight_shape)


def choose_code(kind: str, rank_one_reason: str | None) -> tuple[str, str]:
    """The code that `kind` means and a line why. `rank_one_reason`: None where rank one is exact."""
    if kind == "rank_one" and rank_one_reason:
        raise OCDError(f"codec.kind is 'rank_one', but {rank_one_reason}: use 'pca' or 'auto'")
    if kind != "auto":
        return kind, f"code {kind}: as configured"
    if rank_one_reason is None:
        return "rank_one", "code rank_one: each example's layer sees one vector, so it is exact"
    return "pca", f"code pca: rank one is not exact, since {rank_one_reason}"


def make_codec(kind: str, weight_shape: tuple[int, ...], num_components: int = 0) -> Codec:
    """An unfitted codec, as it is rebuilt for a saved generator."""
    if kind == "rank_one":
        return RankOneCodec(weight_shape)
    if kind == "dense":
        return DenseCodec(weight_shape)
    if kind == "pca":
        return PCACodec(weight_shape, num_components)
    raise ValueError(f"no class for the code {kind!r}")
