"""Three test mixtures to listen to: WAV files of truth, base and OCD, and their spectrograms.

`ocd.evaluation` kept them for the first seed: those with OCD's largest gain, the median, and its
largest loss.
"""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ocd.evaluation import Array
from ocd.reporting.plotting import STYLE, save
from ocd.reporting.tables import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sounds = Mapping[str, NDArray[Any]]
RATE = 8000
"""Samples a second."""
NAMES = {"best": "largest gain", "median": "median change", "worst": "largest loss"}
"""Name in files -> in words, in the order in which they are kept."""
COLUMNS = {"truth": "truth", "base": "base", "ocd": "OCD"}
WINDOW, HOP = 256, 128
LOUDEST, QUIETEST = -20.0, -80.0
"""dB, the ends of a figure's colours."""
CAPTION = (
    "Spectrograms of the first seed's test mixture with OCD's {what}: above the mixture, below its "
    "voices, as they are, as the base separates them, and as OCD does."
)


def read_sounds(path: Path) -> Sounds:
    """What a run kept of a seed's mixtures, {} where it kept none."""
    if not path.exists():
        return {}
    from safetensors.numpy import load_file

    return dict(load_file(path))


def listening_section(sounds: Sounds, root: Path) -> list[str]:
    """The paragraphs "To listen to" of a report in `root`, with the WAV files and figures that they
    link; none where the task has no voices."""
    if not sounds:
        return []
    rows, figures = [], []
    for index, (name, what) in enumerate(NAMES.items()):
        base, ocd = (float(sounds[key][index]) for key in ("base_db", "ocd_db"))
        _write_wave(sounds["mixture"][index], root / "listening" / f"{name}-mixture.wav")
        cells = [
            f"{what} (test mixture {int(sounds['place'][index])})",
            f"{base:.2f} → {ocd:.2f} ({ocd - base:+.2f})",
            f"[mixture](listening/{name}-mixture.wav)",
        ]
        for key in COLUMNS:
            cells.append(_voices(sounds[key][index], root, f"{name}-{key}"))
        rows.append(cells)
        save(draw_voices(sounds, index), root / "figures" / f"voices_{name}.png", dpi=90)
        figures.append(f"![{what}](figures/voices_{name}.png)\n\n{CAPTION.format(what=what)}")
    header = ["", "SI-SDRi [dB], base → OCD", "mixture", *COLUMNS.values()]
    about = (
        "Of the first seed. Voices stand in the truth's order, and estimates are as loud as they are "
        "nearest to it, since SI-SDR sees no loudness."
    )
    return ["## To listen to", about, grid(header, rows), *figures]


def _voices(waves: NDArray[np.int16], root: Path, name: str) -> str:
    """Writes (C, T), a file a voice; links to them."""
    links = []
    for number, samples in enumerate(waves, start=1):
        _write_wave(samples, root / "listening" / f"{name}-{number}.wav")
        links.append(f"[{number}](listening/{name}-{number}.wav)")
    return " ".join(links)


def _write_wave(samples: NDArray[np.int16], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def draw_voices(sounds: Sounds, index: int) -> Figure:
    """The mixture above, and a row a voice: truth, base, OCD."""
    import matplotlib
    from matplotlib.figure import Figure

    count = sounds["truth"].shape[1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 1.1 * (count + 1) + 0.4), layout="constrained")
        places = figure.subplots(count + 1, len(COLUMNS), squeeze=False, sharex=True, sharey=True)
    seconds = sounds["mixture"].shape[1] / RATE
    for row in range(count + 1):
        for axes, (key, title) in zip(places[row], COLUMNS.items(), strict=True):
            if row == 0 and key != "truth":
                axes.set_visible(False)
                continue
            waves = sounds["mixture"][index] if row == 0 else sounds[key][index, row - 1]
            axes.imshow(
                decibels(waves), origin="lower", aspect="auto", cmap="magma", vmin=QUIETEST,
                vmax=LOUDEST, extent=(0, seconds, 0, RATE / 2000),
            )  # fmt: skip
            axes.grid(visible=False)
            axes.set_title("mixture" if row == 0 else f"{title}, voice {row}", fontsize=8)
        places[row, 0].set_ylabel("kHz", fontsize=8)
    places[-1, 1].set_xlabel("seconds", fontsize=8)
    return figure


def decibels(samples: NDArray[np.int16]) -> Array:
    """The spectrogram of a waveform (T,): (frequencies, frames) in dB of full scale."""
    scaled = np.pad(samples.astype(float) / 32768, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(scaled, WINDOW)[::HOP]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) / (WINDOW / 4)
    found: Array = 20 * np.log10(spectra.T + 1e-6)
    return found
