"""Mixtures of voices by LibriMix's rule: other speakers, random loudness, no clipping.

    voices = random_voices(speakers, num=4, count=2, length=16000, generator=g)   # (4, 2, 16000)
    mixtures = voices.sum(dim=1)

LibriMix (Cosentino and others 2020) draws the loudness of each voice evenly from -33 to -25 LUFS and
scales a mixture down where it would clip. Here the level of what is heard, its root mean square in dB
of full scale, stands in for LUFS, whose filter is made for 48 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.errors import OCDError

QUIETEST, LOUDEST = -33.0, -25.0
"""dB of full scale, of a voice in a mixture."""
MOST = 0.9
"""The largest sample of a mixture."""
SILENT = -60.0
"""dB of full scale below which an excerpt is silence, and another one is drawn."""
TRIES = 20


@dataclass(frozen=True)
class Speaker:
    """A voice: its name, and its clips one behind the other (T,)."""

    name: str
    clips: Tensor


def level(waves: Tensor) -> Tensor:
    """Root mean square of waveforms (..., T) in dB of full scale: (...)."""
    return 10 * torch.log10(waves.square().mean(dim=-1).clamp_min(1e-12))


def random_voices(
    speakers: Sequence[Speaker],
    num: int,
    count: int,
    length: int,
    generator: torch.Generator,
    speed: float = 0.0,
) -> Tensor:
    """`count` voices of different speakers for each of `num` mixtures: (num, count, length).

    Each is played up to the share `speed` slower or faster, which moves its pitch and formants too.
    Raises OCDError where there are too few speakers, or one has nothing but silence.
    """
    if len(speakers) < count:
        raise OCDError(f"{len(speakers)} voices: a mixture of {count} needs as many")
    found = torch.empty(num, count, length)
    for mixture in found:
        chosen = torch.randperm(len(speakers), generator=generator)[:count].tolist()
        for place, index in enumerate(chosen):
            wave = _random_excerpt(speakers[index], length, generator, speed)
            wanted = QUIETEST + (LOUDEST - QUIETEST) * torch.rand((), generator=generator)
            mixture[place] = wave * 10 ** ((wanted - level(wave)) / 20)
        mixture *= (MOST / mixture.sum(dim=0).abs().max()).clamp_max(1.0)
    return found


def resampled(wave: Tensor, length: int) -> Tensor:
    """A waveform (T,) in `length` samples: its spectrum, cut off or filled with zeros."""
    spectrum = torch.fft.rfft(wave)
    return torch.fft.irfft(spectrum * (length / len(wave)), n=length)


def _random_excerpt(speaker: Speaker, length: int, generator: torch.Generator, speed: float) -> Tensor:
    """A part of what a speaker says, over the borders of clips, that is not silence."""
    if speed:
        faster = 1 + speed * (2 * float(torch.rand((), generator=generator)) - 1)
        return resampled(_random_excerpt(speaker, round(length * faster), generator, 0.0), length)
    clips = speaker.clips
    if len(clips) < length:
        clips = clips.repeat(-(-length // len(clips)))
    for _ in range(TRIES):
        start = int(torch.randint(len(clips) - length + 1, (), generator=generator))
        wave = clips[start : start + length]
        if level(wave) > SILENT:
            return wave
    raise OCDError(f"voice {speaker.name}: {TRIES} excerpts of it are silent")
