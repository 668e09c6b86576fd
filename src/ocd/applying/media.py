"""Answers that are no numbers, as files that a person opens: PNG for views, WAV for voices.

write_media(answers, Path("out"), with_draws=False)   # out/base/..., out/ocd/...
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ocd.applying.answers import Answers
from ocd.tasks import write_sound

MEDIA = ("view", "voices")
"""Kinds of answers that are written as such files, beside a table."""


def write_media(answers: Answers, folder: Path, draws_out: Path | None) -> None:
    """base/ and ocd/ with a file for each answer (each voice), std/ with one for each view; in the
    folder `draws_out` one for each draw."""
    for number, name in enumerate(answers.ids):
        if answers.answer.kind == "voices":
            _write_voices(answers, number, folder, draws_out)
            continue
        stem = Path(name).name
        _write_picture(answers.base[number], folder / "base" / f"{stem}.png")
        _write_picture(answers.ocd[number], folder / "ocd" / f"{stem}.png")
        if answers.std is not None:
            _write_picture(answers.std[number], folder / "std" / f"{stem}.png")
        if draws_out is not None:
            for draw, colours in enumerate(answers.draws[:, number], 1):
                _write_picture(colours, draws_out / f"{stem}-{draw}.png")


def _write_picture(colours: Tensor, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (colours.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def _write_voices(answers: Answers, number: int, folder: Path, draws_out: Path | None) -> None:
    """A WAV for each voice, under the name of its recording: NAME-1.wav, NAME-2.wav. Those of a
    recording are made quieter together where one would clip, so that they still add up."""
    name = Path(answers.ids[number])  # with its ending: one.wav and one.flac are two recordings
    sets = {folder / "base" / name: answers.base[number], folder / "ocd" / name: answers.ocd[number]}
    if draws_out is not None:
        for draw, voices in enumerate(answers.draws[:, number], 1):
            sets[draws_out / name.with_name(f"{name.name}-draw{draw}")] = voices
    loudest = max(1.0, *(float(voices.abs().max()) for voices in sets.values()))
    for stem, voices in sets.items():
        for place, wave in enumerate(voices, 1):
            write_sound(stem.with_name(f"{stem.name}-{place}.wav"), wave / loudest)
