"""Metrics of separated voices: waveforms (N, C, T), of which the mixture is the sum of the targets.

SI-SDR and SDR are those of torchmetrics, in double precision. Which estimate is of which voice is
solved once for each mixture, for the highest mean SI-SDR (the Hungarian method), and holds for both.
What counts is the improvement: the value less that of the mixture itself as the estimate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation.metric import Metric, import_torchmetrics

SILENT_DB = -120.0
"""dB of an estimate that is silence, where the formula has 0/0; the loss has the same floor."""
SILENCE = 1e-12
"""Share of a voice's energy below which an estimate is silence."""
AT_ONCE = 8
"""Mixtures whose SDR is computed at once: each voice has 512 equations to be solved."""


def si_sdri(outputs: Tensor, targets: Tensor) -> float:
    """Improvement of the scale-invariant signal-to-distortion ratio in dB, mean over voices and
    mixtures (Le Roux and others 2019)."""
    return si_sdri_per_example(outputs, targets).mean().item()


def si_sdri_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same for each mixture: (N,)."""
    aligned, targets = _aligned(outputs, targets)
    return (_si_sdr(aligned, targets) - _si_sdr(_mixtures(targets), targets)).mean(dim=1)


def negative_si_sdr(outputs: Tensor, targets: Tensor) -> float:
    """The loss of these tasks: SI-SDR itself, negative, in dB."""
    return negative_si_sdr_per_example(outputs, targets).mean().item()


def negative_si_sdr_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same for each mixture: (N,)."""
    return -_si_sdr(*_aligned(outputs, targets)).mean(dim=1)


def sdri(outputs: Tensor, targets: Tensor) -> float:
    """Improvement of the signal-to-distortion ratio of BSS Eval in dB, which forgives a filter of 512
    taps (Vincent and others 2006), mean over voices and mixtures.

    It takes seconds for a hundred mixtures, so there is no interval of it: that would need it twice.
    """
    aligned, voices = _aligned(outputs, targets)
    return (_sdr(aligned, voices).mean() - _MIXTURES.sdr(targets)).item()


class _LastMixtures:
    """The SDR of mixtures as estimates, which is the same for all methods of a table."""

    def __init__(self) -> None:
        self._targets: Tensor | None = None
        self._version, self._found = 0, torch.nan

    def sdr(self, targets: Tensor) -> float:
        """The mean over voices and mixtures; computed once for the same, unchanged tensor."""
        if targets is not self._targets or targets._version != self._version:
            voices = targets.double()
            self._found = _sdr(_mixtures(voices), voices).mean().item()
            self._targets, self._version = targets, targets._version
        return self._found


_MIXTURES = _LastMixtures()


SEPARATION_METRICS: dict[str, Metric] = {
    "si_sdri": Metric(si_sdri, True, unit="dB", per_example=si_sdri_per_example, needs="torchmetrics"),
    "sdri": Metric(sdri, True, unit="dB", needs="torchmetrics"),
    "negative_si_sdr": Metric(
        negative_si_sdr, False, unit="dB", per_example=negative_si_sdr_per_example, needs="torchmetrics"
    ),
}


def _aligned(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The estimates in the voices' order, and the voices, in double precision. Raises OCDError for
    other shapes, and where a voice is silent: it has no SI-SDR."""
    if outputs.shape != targets.shape or outputs.ndim != 3 or not outputs.numel():
        raise OCDError(
            "separated voices are waveforms (N, C, T) like their targets: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    outputs, targets = outputs.double(), targets.double()
    silent = (targets.square().sum(dim=2) == 0).nonzero().tolist()
    if silent:
        mixture, voice = silent[0]
        raise OCDError(f"voice {voice + 1} of test mixture {mixture} is silent: it has no SI-SDR")
    return in_voices_order(outputs, targets), targets


def in_voices_order(outputs: Tensor, targets: Tensor) -> Tensor:
    """Estimates (N, C, T) in the order of the voices that has the highest mean SI-SDR: SciPy's
    Hungarian method, by torchmetrics."""
    audio = import_torchmetrics("audio")
    outputs, targets = outputs.double(), targets.double()
    _, order = audio.permutation_invariant_training(
        outputs, targets, audio.scale_invariant_signal_distortion_ratio, zero_mean=True
    )
    found: Tensor = audio.pit_permutate(outputs, order)
    return found


def _mixtures(targets: Tensor) -> Tensor:
    """The mixture in the place of each voice: (N, C, T)."""
    return targets.sum(dim=1, keepdim=True).expand_as(targets)


def _si_sdr(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N, C) in dB."""
    found: Tensor = import_torchmetrics("audio").scale_invariant_signal_distortion_ratio(
        outputs, targets, zero_mean=True
    )
    return _with_silence(found, outputs, targets)


def _sdr(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N, C) in dB."""
    ratio = import_torchmetrics("audio").signal_distortion_ratio
    parts = zip(outputs.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
    found = torch.cat([ratio(one, of, zero_mean=True) for one, of in parts])
    return _with_silence(found, outputs, targets)


def _with_silence(values: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """torchmetrics gives silence 0 dB, as if it were half right."""
    heard = outputs.var(dim=2, unbiased=False) > SILENCE * targets.var(dim=2, unbiased=False)
    return torch.where(heard, values, SILENT_DB)
