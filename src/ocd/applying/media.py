"""Answers that are no numbers, as files that a person opens: PNG for views, WAV for voices.

write_media(answers, Path("out"), with_draws=False)   # out/base/..., out/ocd/...
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ocd.applying.answers import Answers
from ocd.tasks import SOUND_RATE

MEDIA = ("view", "voices")
"""Kinds of answers that are written as such files, beside a table."""


def write_media(answers: Answers, folder: Path, with_draws: bool) -> None:
    """base/ and ocd/ with a file for each answer (each voice), std/ with one for each view, draws/ with
    one for each draw."""
    for number, name in enumerate(answers.ids):
        if answers.answer.kind == "voices":
            _write_voices(answers, number, folder, with_draws)
            continue
        stem = Path(name).name
        _write_picture(answers.base[number], folder / "base" / f"{stem}.png")
        _write_picture(answers.ocd[number], folder / "ocd" / f"{stem}.png")
        if answers.std is not None:
            _write_picture(answers.std[number], folder / "std" / f"{stem}.png")
        if with_draws:
            for draw, colours in enumerate(answers.draws[:, number], 1):
                _write_picture(colours, folder / "draws" / f"{stem}-{draw}.png")


def _write_picture(colours: Tensor, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (colours.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def _write_voices(answers: Answers, number: int, folder: Path, with_draws: bool) -> None:
    """A WAV for each voice, under the name of its recording: NAME-1.wav, NAME-2.wav."""
    name = Path(answers.ids[number]).with_suffix("")
    sets = {folder / "base" / name: answers.base[number], folder / "ocd" / name: answers.ocd[number]}
    if with_draws:
        for draw, voices in enumerate(answers.draws[:, number], 1):
            sets[folder / "draws" / name.with_name(f"{name.name}-draw{draw}")] = voices
    for stem, voices in sets.items():
        for place, wave in enumerate(voices, 1):
            _write_wave(wave, stem.with_name(f"{stem.name}-{place}.wav"))


def _write_wave(wave: Tensor, path: Path) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    loudest = float(wave.abs().max())
    soundfile.write(path, (wave / max(1.0, loudest)).numpy(), SOUND_RATE, subtype="PCM_16")
