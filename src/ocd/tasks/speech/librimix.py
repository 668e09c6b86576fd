"""Mixtures in LibriMix's layout (Cosentino and others 2020), 8 kHz, "min", without noise.

    DIR/[Libri5Mix/][wav8k/min/]train-100/mix_clean/NAME.wav
                                         /s1/NAME.wav ... /s5/NAME.wav
                                metadata/mixture_train-100_mix_clean.csv

The CSV (mixture_ID, length) says which mixtures there are; without one all of mix_clean/ are read. A
NAME is made of the voices' utterances, as 4077-13754-0001_5142-33396-0065: the first part of each is
its speaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ocd.data import Examples
from ocd.errors import OCDError
from ocd.tasks.speech.mixing import Speaker
from ocd.tasks.speech.sound import read_sound
from ocd.tasks.speech.voices import read_table, whole_number

MIX = "mix_clean"
TOLERANCE = 1e-3
"""By how much of full scale a mixture may differ from the sum of its voices: files are of 16 bits."""


@dataclass(frozen=True)
class Split:
    """Mixtures of a folder. `names`: theirs. `num_short`: how many were left out as too short."""

    examples: Examples
    names: list[str]
    num_short: int


def find_root(data_dir: Path, count: int, split: str) -> Path:
    """The folder with the splits. Raises OCDError where no mixtures are found."""
    name = f"Libri{count}Mix"
    tried = [data_dir / outer / inner for outer in (name, "") for inner in ("wav8k/min", "")]
    for root in tried:
        if (root / split / MIX).is_dir():
            return root
    raise OCDError(
        f"{data_dir}: no mixtures in LibriMix's layout ({name}/wav8k/min/{split}/{MIX}/*.wav); "
        "`ocd run voices-mix` makes mixtures of any voices"
    )


def read_split(root: Path, split: str, count: int, length: int, num: int) -> Split:
    """The first `num` mixtures of a split that are `length` samples long, cut to that.

    Raises OCDError for files that are missing, damaged, or do not fit together.
    """
    mixtures: list[Tensor] = []
    voices: list[Tensor] = []
    names: list[str] = []
    short = 0
    for name, expected in _listed(root, split):
        if len(names) == num:
            break
        if expected is not None and expected < length:
            short += 1
            continue
        mixture, parts = _read_mixture(root / split, name, count, expected)
        if len(mixture) < length:
            short += 1
            continue
        mixtures.append(mixture[:length])
        voices.append(parts[:, :length])
        names.append(name)
    if not names:
        raise OCDError(
            f"{root / split}: no mixture is {length} samples long: choose a smaller `seconds`"
        )
    return Split(Examples(torch.stack(mixtures), torch.stack(voices)), names, short)


def speakers_of(split: Split) -> list[Speaker]:
    """Each speaker of a split with all that is heard of them; an utterance once."""
    heard: dict[str, dict[str, Tensor]] = {}
    voices = split.examples.targets
    for name, parts in zip(split.names, voices, strict=True):
        utterances = name.split("_")
        if len(utterances) != len(parts):
            raise OCDError(
                f"mixture {name}: its name must be those of its {len(parts)} utterances, joined by _"
            )
        for utterance, wave in zip(utterances, parts, strict=True):
            heard.setdefault(utterance.split("-")[0], {})[utterance] = wave
    return [Speaker(name, torch.cat([*clips.values()])) for name, clips in sorted(heard.items())]


def _listed(root: Path, split: str) -> list[tuple[str, int | None]]:
    """Names of mixtures, with their lengths where a CSV file has them."""
    table = root / "metadata" / f"mixture_{split}_{MIX}.csv"
    if table.is_file():
        rows = enumerate(read_table(table, ("mixture_ID", "length")), start=2)
        return [(row["mixture_ID"], whole_number(table, n, "length", row["length"])) for n, row in rows]
    names = sorted(path.stem for path in (root / split / MIX).glob("*.wav"))
    if not names:
        raise OCDError(f"{root / split / MIX}: no .wav files")
    return [(name, None) for name in names]


def _read_mixture(folder: Path, name: str, count: int, expected: int | None) -> tuple[Tensor, Tensor]:
    """A mixture (T,) and its voices (C, T)."""
    path = folder / MIX / f"{name}.wav"
    mixture = read_sound(path, expected)
    parts = torch.stack(
        [read_sound(folder / f"s{n}" / f"{name}.wav", len(mixture)) for n in range(1, count + 1)]
    )
    if (mixture - parts.sum(dim=0)).abs().max() > TOLERANCE:
        raise OCDError(f"{path}: not the sum of s1 to s{count}: it has noise, or other voices")
    return mixture, parts
