"""New mixtures: a sound file, a folder of them, or waveforms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.speech.options import LONGEST, SHORTEST
from ocd.tasks.speech.sound import SOUND_RATE, SUFFIXES, read_sound, write_sound


@dataclass(frozen=True)
class SoundReader:
    """Mixtures (T,) of `speakers` voices at 8,000 samples a second, from -1 to 1. Those of the run have
    `length` samples; others may have any length from a quarter of a second to a minute."""

    speakers: int
    length: int

    kind: ClassVar[str] = "sounds"
    takes: ClassVar[str] = "a mono sound file with 8,000 samples a second, or a folder of them"

    @property
    def answer(self) -> Answer:
        """A waveform for each voice, in any order."""
        return Answer("voices", tuple(f"voice {place}" for place in range(1, self.speakers + 1)))

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """A folder's files in the order of their names, or one file; `size` at a time of those that
        follow each other and are of one length."""
        paths = _paths(source)
        root = source if source.is_dir() else source.parent
        names: list[str] = []
        waves: list[Tensor] = []
        for path in paths[start:]:
            wave = read_sound(path)
            _check_length(len(wave), str(path))
            if waves and (len(waves) == size or len(wave) != len(waves[0])):
                yield self._rows(names, torch.stack(waves))
                names, waves = [], []
            names.append(str(path.relative_to(root)))
            waves.append(wave)
        if waves:
            yield self._rows(names, torch.stack(waves))

    def take(self, data: Any) -> NewRows:
        """Waveforms as a tensor or array (T,) or (B, T), from -1 to 1."""
        if not isinstance(data, Tensor | np.ndarray):
            raise OCDError(f"a {type(data).__name__} is no sound: give a tensor or array (B, T)")
        waves = torch.as_tensor(data)
        waves = waves[None] if waves.dim() == 1 else waves
        if waves.dim() != 2 or not len(waves) or not waves.is_floating_point():
            form = f"{tuple(waves.shape)}, {str(waves.dtype).removeprefix('torch.')}"
            raise OCDError(f"sounds are {form}: they must be (B, T), floating, from -1 to 1")
        _check_length(waves.shape[1], "the sounds")
        good = waves.isfinite().all(dim=1)
        if not good.all():
            raise OCDError(f"sound {int((~good).nonzero()[0]) + 1} has samples that are not finite")
        return self._rows([str(place) for place in range(1, len(waves) + 1)], waves.float())

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """A WAV file for each mixture."""
        assert isinstance(inputs, Tensor)
        for number, wave in enumerate(inputs.cpu(), 1):
            write_sound(folder / f"{number}.wav", wave)
        return True

    def state(self) -> State:
        """How many voices, and how long; there is nothing learnt in it."""
        return {"speakers": self.speakers, "length": self.length}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> SoundReader:
        """As `state` gave it."""
        return cls(facts["speakers"], facts["length"])

    def _rows(self, names: list[str], waves: Tensor) -> NewRows:
        found, learnt = waves.shape[1] / SOUND_RATE, self.length / SOUND_RATE
        if learnt / 2 <= found <= 2 * learnt:
            return NewRows(names, waves)
        text = f"{found:.1f} s long, where the run learnt from mixtures of {learnt:.1f} s"
        return NewRows(names, waves, [(place, text) for place in range(len(names))])


def _paths(source: Path) -> list[Path]:
    """The sound files of a source. Raises OCDError where there are none."""
    if not source.exists():
        raise OCDError(f"{source}: no such file or folder")
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise OCDError(f"{source}: there are no sound files ({', '.join(SUFFIXES)})")
    return found


def _check_length(samples: int, where: str) -> None:
    if not SHORTEST <= samples / SOUND_RATE <= LONGEST:
        span = f"{SHORTEST:g} to {LONGEST:g} s"
        raise OCDError(f"{where}: {samples / SOUND_RATE:.2f} s of sound, where {span} can be taken")
