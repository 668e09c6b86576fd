"""A folder of voices: clips of many speakers, parted into those to train on and others to test.

Two layouts: a `metadata.csv` with the columns speaker_ID, subset (train or test), length and
origin_path, as LibriMix's own metadata of LibriSpeech; or a folder of clips for each speaker, of which
every third, by name, is for the test.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from ocd.errors import OCDError
from ocd.tasks.speech.mixing import Speaker
from ocd.tasks.speech.sound import SUFFIXES, read_sound

COLUMNS = ("speaker_ID", "subset", "length", "origin_path")
SUBSETS = ("train", "test")
TEST_EVERY = 3
"""Of folders a speaker: every third one is for the test."""


@dataclass(frozen=True)
class Voices:
    """Speakers to train on, and others, never heard in training, to test."""

    train: list[Speaker]
    test: list[Speaker]


def read_voices(folder: Path, count: int) -> Voices:
    """The speakers of a folder. `count`: voices of a mixture, of which there must be as many on either
    side. Raises OCDError for what is missing, damaged or of another form."""
    if not folder.is_dir():
        raise OCDError(
            f"{folder}: no such folder; --set voices=DIR takes one with a metadata.csv, or with a "
            "folder of clips for each speaker"
        )
    table = folder / "metadata.csv"
    found = _of_table(table) if table.is_file() else _of_folders(folder)
    for subset, speakers in zip(SUBSETS, (found.train, found.test), strict=True):
        if len(speakers) < count:
            raise OCDError(
                f"{folder}: {len(speakers)} voices to {subset} on, and mixtures of {count} need as "
                "many: choose fewer speakers"
            )
    return found


def _of_table(path: Path) -> Voices:
    clips: dict[str, dict[str, list[torch.Tensor]]] = {subset: {} for subset in SUBSETS}
    for number, row in enumerate(read_table(path, COLUMNS), start=2):
        if row["subset"] not in SUBSETS:
            raise OCDError(
                f"{path}, line {number}: subset is {row['subset']!r}: train or test is needed"
            )
        wave = read_sound(
            path.parent / row["origin_path"], whole_number(path, number, "length", row["length"])
        )
        clips[row["subset"]].setdefault(row["speaker_ID"], []).append(wave)
    if both := sorted(clips["train"].keys() & clips["test"].keys()):
        raise OCDError(f"{path}: voice {both[0]} is in train and in test")
    train, test = ([_speaker(*one) for one in sorted(clips[subset].items())] for subset in SUBSETS)
    return Voices(train, test)


def _of_folders(folder: Path) -> Voices:
    found = []
    for inside in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in inside.rglob("*") if path.suffix.lower() in SUFFIXES)
        if paths:
            found.append(_speaker(inside.name, [read_sound(path) for path in paths]))
    if not found:
        raise OCDError(
            f"{folder}: neither a metadata.csv nor a folder with clips ({', '.join(SUFFIXES)})"
        )
    test = found[TEST_EVERY - 1 :: TEST_EVERY]
    return Voices([one for one in found if one not in test], test)


def _speaker(name: str, clips: Iterable[torch.Tensor]) -> Speaker:
    return Speaker(name, torch.cat(list(clips)))


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises OCDError where a column is missing, in the header or
    in a row, or where it has no rows."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OCDError(f"{path}: not a readable CSV file ({error})") from error
    if not rows:
        raise OCDError(f"{path}: no rows")
    for column in columns:
        if column not in rows[0]:
            raise OCDError(f"{path}: no column {column!r}")
        for number, row in enumerate(rows, start=2):
            if not row[column]:
                raise OCDError(f"{path}, line {number}: no {column}")
    return rows


def whole_number(path: Path, line: int, name: str, text: str) -> int:
    """A length of a table. Raises OCDError where it is none."""
    try:
        number = float(text)
        if number < 1 or number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise OCDError(
            f"{path}, line {line}: {name} is {text!r}: a number of samples is needed"
        ) from None
    return int(number)
