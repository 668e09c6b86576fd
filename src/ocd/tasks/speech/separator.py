"""The base: gated LSTMs that separate voices, "MulCat" (Nachmani, Adi and Wolf 2020), from the paper.

    encoder    Conv1d(1 -> N, kernel L, stride L/2), ReLU; chunks of K frames that overlap by half
    R blocks   each a MulCat within the chunks and one across them
    head       PReLU, a 1x1 convolution to C·N, overlap-add of the chunks, a decoder without parameters

A MulCat has two bidirectional LSTMs of H units, each with a projection of its own. Their answers are
multiplied, set beside the input, and projected back to N: x + Linear([M1 * M2, x]).

B mixtures, C voices, T time steps, S chunks, K frames a chunk, N features, L time steps of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Size:
    """How large a separator is. The defaults are the paper's: 7.6 million parameters for five voices.

    `voices`: C. `features`: N. `frame`: L. `units`: H. `blocks`: R. `chunk`: K.
    """

    voices: int
    features: int = 128
    frame: int = 8
    units: int = 128
    blocks: int = 6
    chunk: int = 126


class Encoder(nn.Module):
    """Waveforms (B, T) -> chunks of frames (B, S, K, N), after ReLU.

    One module, so that a replay answers for all of it (ocd.base.replay).
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.frames = nn.Conv1d(1, size.features, size.frame, stride=size.frame // 2, bias=False)

    def forward(self, waves: Tensor) -> Tensor:
        half = self.size.frame // 2
        waves = F.pad(waves, (0, max(-waves.shape[1] % half, self.size.frame - waves.shape[1])))
        return to_chunks(F.relu(self.frames(waves[:, None])).transpose(1, 2), self.size.chunk)


class Gate(nn.Module):
    """Sequences (R, T, N) -> (R, T, 2N): [M1(x) * M2(x), x]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.first, self.second = (
            nn.LSTM(size.features, size.units, batch_first=True, bidirectional=True) for _ in range(2)
        )
        self.of_first, self.of_second = (nn.Linear(2 * size.units, size.features) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.of_first(self.first(x)[0]), self.of_second(self.second(x)[0])
        return torch.cat([one * other, x], dim=2)


class MulCat(nn.Module):
    """Chunks (B, S, K, N) -> (B, S, K, N): within each chunk, or `across` the chunks at each place."""

    def __init__(self, size: Size, across: bool) -> None:
        super().__init__()
        self.across = across
        self.gate = Gate(size)
        self.project = nn.Linear(2 * size.features, size.features)

    def forward(self, x: Tensor) -> Tensor:
        lines = x.transpose(1, 2) if self.across else x
        batch, length = lines.shape[:2]
        sequences = lines.reshape(batch * length, *lines.shape[2:])
        moved = sequences + self.project(self.gate(sequences))
        moved = moved.view(lines.shape)
        return moved.transpose(1, 2) if self.across else moved


class Block(nn.Module):
    """A double block: within the chunks, then across them."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.within, self.across = MulCat(size, across=False), MulCat(size, across=True)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.across(self.within(x))
        return answer


class Head(nn.Module):
    """Chunks (B, S, K, N) -> voices (B, C, T): PReLU, C·N numbers a frame, overlap-add, decoder.

    The decoder has no parameters: of a voice's N numbers each N/L are averaged to one of the frame's L
    time steps, and the frames are added where they overlap. All behind the PReLU is linear, so that the
    averages are taken of the weights, once, in place of the frames: L/N of the work.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.activation = nn.PReLU()
        self.voices = nn.Linear(size.features, size.voices * size.features)

    def forward(self, chunks: Tensor, length: int) -> Tensor:
        size = self.size
        weight, bias = (self._averaged(p) for p in (self.voices.weight, self.voices.bias))
        samples = F.linear(self.activation(chunks), weight, bias)  # (B, S, K, C·L)
        frames = from_chunks(samples).unflatten(2, (size.voices, 2, size.frame // 2))
        early, late = frames.unbind(dim=3)  # the halves of a frame: (B, frames, C, L/2)
        waves = F.pad(early, (0, 0, 0, 0, 0, 1)) + F.pad(late, (0, 0, 0, 0, 1, 0))
        return waves.transpose(1, 2).flatten(2)[:, :, :length]

    def _averaged(self, values: Tensor) -> Tensor:
        """Of C·N numbers (or rows) those of each time step averaged: C·L."""
        size = self.size
        parts = values.unflatten(0, (size.voices * size.frame, size.features // size.frame))
        return parts.mean(dim=1)


class Separator(nn.Module):
    """Mixtures (B, T) -> voices (B, C, T), in an order of its own, in the mixture's unit.

    A mixture is brought to deviation 1 first, and its voices back: what is learnt does not depend on
    how loud a recording is. Raises ValueError for sizes that do not fit together.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        if size.frame % 2 or size.chunk % 2 or size.features % size.frame:
            raise ValueError(
                f"frame {size.frame} and chunk {size.chunk} must be even, and features {size.features} "
                "a multiple of frame"
            )
        self.size = size
        self.encoder = Encoder(size)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.blocks))
        self.head = Head(size)

    @property
    def layer(self) -> str:
        """The name of the last projection, the one that the paper moves."""
        return f"blocks.{self.size.blocks - 1}.across.project"

    def forward(self, waves: Tensor) -> Tensor:
        loudness = _loudness(waves)
        chunks = self.encoder(waves / loudness)
        for block in self.blocks:
            chunks = block(chunks)
        voices: Tensor = self.head(chunks, waves.shape[1])
        return voices * loudness[:, :, None]

    def after_each_block(self, waves: Tensor) -> list[Tensor]:
        """What the head makes of each block's answer, R times (B, C, T): the loss in training is the
        sum over them."""
        loudness = _loudness(waves)
        chunks = self.encoder(waves / loudness)
        answers = []
        for block in self.blocks:
            chunks = block(chunks)
            answers.append(self.head(chunks, waves.shape[1]) * loudness[:, :, None])
        return answers


def _loudness(waves: Tensor) -> Tensor:
    """(B, T) -> (B, 1), never 0."""
    return waves.std(dim=1, keepdim=True, unbiased=False).clamp_min(1e-5)


def to_chunks(frames: Tensor, chunk: int) -> Tensor:
    """Frames (B, F, N) -> chunks (B, S, K, N) of K frames, each half a chunk after the one before, so
    that every frame is in two. Zeros before the first and behind the last."""
    half = chunk // 2
    steps = -(-frames.shape[1] // half)
    padded = F.pad(frames, (0, 0, half, (steps + 1) * half - frames.shape[1]))
    return padded.unfold(1, chunk, half).transpose(2, 3).contiguous()


def from_chunks(chunks: Tensor) -> Tensor:
    """Chunks (B, S, K, M) -> frames (B, (S - 1)·K/2, M): the sum of the two in which each frame is."""
    early, late = chunks.chunk(2, dim=2)
    return (early[:, 1:] + late[:, :-1]).flatten(1, 2)
