"""Tiny sounds for tests: voices that hum, mixtures in LibriMix's layout, files that are wrong."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch

from ocd.data import Examples
from ocd.tasks.speech.mixing import Speaker
from ocd.tasks.speech.options import SpeechData
from ocd.tasks.speech.sound import SOUND_RATE


def hum(pitch: float, length: int, seed: int = 0) -> np.ndarray:
    """(length,): some harmonics of a pitch in Hz that come and go, and a little noise."""
    times = np.arange(length) / SOUND_RATE
    chance = np.random.default_rng(seed)
    swell = 1 + 0.8 * np.sin(2 * math.pi * (1.5 + chance.random()) * times + 6 * chance.random())
    tones = sum(np.sin(2 * math.pi * pitch * n * times + 6 * chance.random()) / n for n in (1, 2, 3))
    return (0.1 * swell * tones + 0.002 * chance.standard_normal(length)).astype(np.float32)


def speakers(count: int = 4, length: int = 6000) -> list[Speaker]:
    """Voices of other pitches."""
    return [Speaker(f"v{n}", torch.from_numpy(hum(110 * 1.4**n, length, seed=n))) for n in range(count)]


def speech_data(voices: int = 5, num: int = 3, length: int = 2000) -> SpeechData:
    """Mixtures without files."""
    parts = torch.stack(
        [
            torch.from_numpy(hum(100 + 70 * (i + 3 * j), length, i))
            for i in range(num)
            for j in range(voices)
        ]
    ).view(num, voices, length)
    examples = Examples(parts.sum(dim=1), parts)
    return SpeechData(examples, examples, speakers=speakers(voices))


def write_sound(path: Path, wave: np.ndarray, rate: int = SOUND_RATE) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="PCM_16")


def write_voices(folder: Path, train: int = 4, test: int = 3, length: int = 5000) -> Path:
    """A folder of clips with a metadata.csv, two of each voice."""
    rows = []
    for number in range(train + test):
        subset = "train" if number < train else "test"
        for clip in range(2):
            path = f"{subset}/{number:02}/{number:02}-{clip}.flac"
            write_sound(folder / path, hum(100 * 1.3**number, length, seed=clip))
            rows.append((f"{number:02}", "F", subset, length, path, 30))
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("speaker_ID", "sex", "subset", "length", "origin_path", "age"))
        writer.writerows(rows)
    return folder


def write_librimix(folder: Path, voices: int = 2, num: int = 10, length: int = 4000) -> Path:
    """Ten mixtures in LibriMix's layout, six to train on; returns the folder of the splits."""
    root = folder / f"Libri{voices}Mix" / "wav8k" / "min"
    (root / "metadata").mkdir(parents=True)
    for split, places in (("train-100", range(6)), ("test", range(6, num))):
        rows = []
        for number in places:
            own = 10 * (split == "test")
            names = [f"{own + (number + n) % 5}-{n}-{number:04}" for n in range(voices)]
            name = "_".join(names)
            parts = [hum(100 + 90 * n + 11 * number, length, seed=number) for n in range(voices)]
            for n, part in enumerate(parts, start=1):
                write_sound(root / split / f"s{n}" / f"{name}.wav", part)
            write_sound(root / split / "mix_clean" / f"{name}.wav", sum(parts))
            rows.append((name, f"/elsewhere/{name}.wav", length))
        with (root / "metadata" / f"mixture_{split}_mix_clean.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("mixture_ID", "mixture_path", "length"))
            writer.writerows(rows)
    return root
