"""One sound file -> a waveform, or one line that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ocd.errors import OCDError

SOUND_RATE = 8000
"""Samples a second, of all data."""
SUFFIXES = (".wav", ".flac", ".ogg", ".gsm")


def read_sound(path: Path, expected: int | None = None) -> Tensor:
    """The waveform (T,) of a mono file with 8,000 samples a second, from -1 to 1.

    `expected`: its length, where something else says so. Raises OCDError with the path where the file
    is missing, damaged, of another rate, not mono, of another length, empty, or not finite.
    """
    import_soundfile()
    import soundfile

    if not path.is_file():
        raise OCDError(f"{path}: no such file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).rpartition("': ")[2].split()).rstrip(".")  # behind the path
        raise OCDError(f"{path}: not a readable sound file ({reason})") from error
    if rate != SOUND_RATE:
        raise OCDError(f"{path}: {rate} samples a second, where {SOUND_RATE} are needed: resample it")
    if samples.shape[1] != 1:
        raise OCDError(f"{path}: {samples.shape[1]} channels, where one is needed: mix them down")
    wave = torch.from_numpy(samples[:, 0].copy())
    if not len(wave) or not wave.isfinite().all():
        raise OCDError(f"{path}: {'no samples' if not len(wave) else 'samples that are not finite'}")
    if expected is not None and len(wave) != expected:
        raise OCDError(f"{path}: {len(wave)} samples, where {expected} are expected")
    return wave


def write_sound(path: Path, wave: Tensor) -> None:
    """A waveform (T,) from -1 to 1 as a WAV file of 16 bits; its folder is made."""
    import_soundfile()
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.numpy(), SOUND_RATE, subtype="PCM_16")


def import_soundfile() -> None:
    """Raises OCDError where what reads sound is not installed."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:
        raise OCDError(
            "reading sound needs soundfile: pip install -c constraints.txt '.[speech]'"
        ) from error
