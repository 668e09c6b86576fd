"""The denoiser ε_Ω(Ω_t, I(x), t): the paper's U-Net and a residual MLP on the coded delta.

    answer = denoiser(noisy, t, condition)

It takes noisy codes (B, K, *code_shape), noise levels t (a long tensor of shape (B, K) or (1, 1)) and
the condition (B, C), and returns the shape of the codes. It adds its own encoding of t.
`elements_per_code` is the size of its largest activation for one code, from which chunks are sized to
fit into memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd.errors import OCDError

DENOISERS = ("mlp", "unet")
NUM_BLOCKS = 2
"""Residual blocks of the MLP."""
LEVELS = (1, 1, 2, 2, 4, 4)
"""Channels of the U-Net's levels, over those of the first; six levels are five downsamplings."""
ATTENTION_SIDE = 16
"""Side of the U-Net's level that has attention."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Which network denoises, and its size."""

    kind: str = "mlp"
    """mlp, or unet (the paper's, on the weight matrix)."""
    width: int = 256
    """Hidden width of the MLP; the cost of a draw grows with it, since every step passes it."""
    embedding: int | None = None
    """Size of the embedding of t and I(x) that modulates the MLP, computed once for all of an
    input's draws; None: its width."""
    channels: int = 128
    """Channels of the U-Net's first level; the paper has 128, and 64 for text."""
    num_bottleneck_attentions: int = 1
    """Attention layers in the U-Net's bottleneck; the paper has two."""
    dropout: float = 0.0
    """Dropout of the residual blocks; the released code has 0.4 in its U-Net."""

    def __post_init__(self) -> None:
        if self.kind not in DENOISERS:
            raise OCDError(f"denoiser.kind is {self.kind!r}: use one of {DENOISERS}")
        for name, value in (("width", self.width), ("embedding", self.embedding)):
            if value is not None and value < 1:
                raise OCDError(f"denoiser.{name} is {value}: it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise OCDError(f"denoiser.dropout is {self.dropout}: it must be at least 0 and below 1")

    @property
    def embedding_size(self) -> int:
        """Size of the embedding of t and I(x)."""
        return self.embedding or self.width


def sinusoidal_frequencies(size: int) -> Tensor:
    """The frequencies of an encoding of t in `size` numbers: (size // 2,)."""
    half = size // 2
    powers = torch.arange(half, dtype=torch.float32) / (half - 1)
    return torch.exp(-math.log(10_000.0) * powers)


def sinusoidal_encoding(t: Tensor, frequencies: Tensor) -> Tensor:
    """PE(t) of Vaswani et al. (2017) as DDPM has it: (...,) -> (..., 2 · frequencies)."""
    angles = t.float()[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _ResidualBlock(nn.Module):
    """h + MLP(norm(h)), scaled and shifted by the condition (adaptive layer norm)."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=-1)
        inner = self.first(self.norm(hidden) * (1 + scale) + shift)
        return hidden + self.second(self.dropout(F.silu(inner)))


class MLPDenoiser(nn.Module):
    """A residual MLP. The condition is (B, embedding); it modulates all K draws of an input alike."""

    time_features = 128
    frequencies: Tensor

    def __init__(self, code_shape: tuple[int, ...], config: DenoiserConfig) -> None:
        super().__init__()
        self.code_shape = code_shape
        embedding = config.embedding_size
        self.condition_size = embedding
        self.elements_per_code = config.width
        size = math.prod(code_shape)
        frequencies = sinusoidal_frequencies(self.time_features)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.time = nn.Sequential(
            nn.Linear(self.time_features, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
        )
        self.enter = nn.Linear(size, config.width)
        self.blocks = nn.ModuleList(
            _ResidualBlock(config.width, embedding, config.dropout) for _ in range(NUM_BLOCKS)
        )
        self.leave = nn.Linear(config.width, size)

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        encoded = self.time(sinusoidal_encoding(t, self.frequencies))  # (B, K, E) or (1, 1, E)
        embedding = F.silu(condition[:, None] + encoded)
        hidden = self.enter(noisy.flatten(2))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(F.silu(hidden)).view(noisy.shape)


class UNetDenoiser(nn.Module):
    """DDPM's U-Net (diffusers) on the weight matrix, Sec. 3.3.

    The matrix is padded with zeros to a square whose side its levels divide, and cropped after. The
    condition, (B, 4·channels), is added to the encoding of t.
    """

    def __init__(self, code_shape: tuple[int, ...], config: DenoiserConfig) -> None:
        super().__init__()
        if len(code_shape) != 2:
            raise OCDError(
                f"denoiser.kind 'unet' works on a weight matrix, not on a code of shape {code_shape}: "
                "set codec.kind to 'dense'"
            )
        from diffusers import UNet2DModel
        from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2D

        self.code_shape = code_shape
        self.condition_size = 4 * config.channels
        multiple = 2 ** (len(LEVELS) - 1)
        self.side = -(-max(code_shape) // multiple) * multiple
        self.elements_per_code = config.channels * self.side**2
        widths = tuple(config.channels * multiplier for multiplier in LEVELS)
        attends = [self.side // 2**level == ATTENTION_SIDE for level in range(len(widths))]
        groups = math.gcd(32, config.channels)
        self.unet = UNet2DModel(
            sample_size=self.side,
            in_channels=1,
            out_channels=1,
            block_out_channels=widths,
            layers_per_block=2,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            attention_head_dim=None,
            dropout=config.dropout,
            norm_num_groups=groups,
            norm_eps=1e-6,
            class_embed_type="identity",
        )
        if config.num_bottleneck_attentions != 1:
            self.unet.mid_block = UNetMidBlock2D(
                in_channels=widths[-1],
                temb_channels=4 * config.channels,
                dropout=config.dropout,
                num_layers=config.num_bottleneck_attentions,
                resnet_eps=1e-6,
                attention_head_dim=widths[-1],
                resnet_groups=groups,
            )

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        batch, draws, height, width = noisy.shape
        if condition.shape != (batch, self.condition_size):
            # diffusers would broadcast other shapes silently.
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}, not {(batch, self.condition_size)}"
            )
        padded = F.pad(noisy.flatten(0, 1), (0, self.side - width, 0, self.side - height))
        levels = t.expand(batch, draws).flatten()
        labels = condition.repeat_interleave(draws, dim=0)
        answer: Tensor = self.unet(padded[:, None], levels, class_labels=labels).sample
        return answer[:, 0, :height, :width].reshape(noisy.shape)


Denoiser = MLPDenoiser | UNetDenoiser


def make_denoiser(code_shape: tuple[int, ...], config: DenoiserConfig) -> Denoiser:
    """The configured denoiser for codes of one shape."""
    if config.kind == "unet":
        return UNetDenoiser(code_shape, config)
    if config.kind == "mlp":
        return MLPDenoiser(code_shape, config)
    raise ValueError(f"no class for the denoiser {config.kind!r}")
