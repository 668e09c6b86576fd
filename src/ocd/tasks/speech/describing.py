"""I(x) of a mixture: what the last projection sees and answers, and the spectra of the voices.

The paper encodes f(x), of sound, by VGG-11 on spectrograms of 1,024 bins, a voice at a time. The
preset `fast` takes mean and deviation over time of 32 bands of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.base import Capture, FrozenBase
from ocd.data import Inputs
from ocd.generator import Features, mean_and_deviation
from ocd.tasks.speech.options import SpeechOptions
from ocd.tasks.views.vgg import VGG11, load_vgg11

WINDOW, HOP = 256, 128
"""Samples of a spectrum of the small encoder: 32 ms, and 16 ms to the next."""
BANDS = 32
VGG_BINS, VGG_HOP = 1024, 128
"""The paper's spectrogram: 1,024 bins, so windows of 2,048 samples."""


@dataclass(frozen=True)
class DescribeSpeech:
    """I(x) from one capture of the base: the base is asked once, for this and for the draws."""

    options: SpeechOptions

    def __call__(self, frozen: FrozenBase, inputs: Inputs) -> Features:
        return self.of_capture(frozen.capture(inputs))

    def of_capture(self, capture: Capture) -> Features:
        """The parts of I(x) as vectors (B, F)."""
        voices = capture.output
        if self.options.output_encoder == "vgg11":
            seen = _vgg_features(voices, self.options.vgg)
        else:
            seen = bands(voices).flatten(1)
        return {
            "layer_input": mean_and_deviation(capture.input_positions()),
            "layer_output": mean_and_deviation(capture.output_positions()),
            "output": seen,
        }


def spectrogram(waves: Tensor, window: int, hop: int) -> Tensor:
    """Waveforms (..., T) -> logarithms of magnitudes (..., window/2 + 1, frames), of Hann windows."""
    flat = waves.reshape(-1, waves.shape[-1])
    flat = F.pad(flat, (0, max(0, window - flat.shape[1])))
    spectra = torch.stft(
        flat, window, hop, window=torch.hann_window(window, device=flat.device, dtype=flat.dtype),
        center=False, return_complex=True,
    )  # fmt: skip
    found = spectra.abs().clamp_min(1e-5).log()
    return found.view(*waves.shape[:-1], *found.shape[-2:])


def bands(waves: Tensor) -> Tensor:
    """Waveforms (B, ..., T) -> mean and deviation over time of 32 bands, (B, ..., 64)."""
    spectra = spectrogram(waves, WINDOW, HOP)[..., 1:, :]
    of_bands = spectra.unflatten(-2, (BANDS, -1)).mean(dim=-2)
    return torch.cat([of_bands.mean(dim=-1), of_bands.std(dim=-1, unbiased=False)], dim=-1)


def _vgg_features(voices: Tensor, path: str | None) -> Tensor:
    """(B, C, T) -> (B, C·512): VGG-11 on each voice's spectrogram, brought to pixels from 0 to 1."""
    spectra = spectrogram(voices, 2 * VGG_BINS, VGG_HOP)[..., 1:, :].flatten(0, 1)
    low, high = spectra.amin(dim=(1, 2), keepdim=True), spectra.amax(dim=(1, 2), keepdim=True)
    pixels = ((spectra - low) / (high - low).clamp_min(1e-6))[:, None].expand(-1, 3, -1, -1)
    return _vgg11(path).to(voices.device)(pixels).view(len(voices), -1)


@lru_cache(maxsize=1)
def _vgg11(path: str | None) -> VGG11:
    return load_vgg11(path)
