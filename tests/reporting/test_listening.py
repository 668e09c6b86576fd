"""The WAV files and spectrograms of a report."""

from __future__ import annotations

import wave

import numpy as np

from ocd.reporting.listening import NAMES, decibels, draw_voices, listening_section, read_sounds


def sounds(voices: int = 2, length: int = 900) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return chance.integers(-9000, 9000, shape).astype(np.int16)

    kept = {name: some(3, voices, length) for name in ("truth", "base", "ocd")}
    numbers = {"place": np.array([4, 0, 2]), "base_db": np.array([5.0, 4.0, 6.0])}
    return kept | numbers | {"mixture": some(3, length), "ocd_db": np.array([6.5, 4.1, 5.25])}


def test_every_sound_is_written_as_it_is_and_linked(tmp_path):
    kept = sounds()
    text = "\n\n".join(listening_section(kept, tmp_path))
    assert "5.00 → 6.50 (+1.50)" in text and "6.00 → 5.25 (-0.75)" in text
    assert "largest gain (test mixture 4)" in text
    for path in (tmp_path / "listening").iterdir():
        assert f"](listening/{path.name})" in text
    for index, name in enumerate(NAMES):
        for key, of in (("mixture", kept["mixture"][index]), ("ocd-2", kept["ocd"][index, 1])):
            with wave.open(str(tmp_path / "listening" / f"{name}-{key}.wav")) as file:
                assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
                found = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            assert np.array_equal(found, of)
        assert f"](figures/voices_{name}.png)" in text
        assert (tmp_path / "figures" / f"voices_{name}.png").stat().st_size > 1000


def test_a_task_without_voices_has_nothing_to_listen_to(tmp_path):
    assert read_sounds(tmp_path / "none.safetensors") == {}
    assert listening_section({}, tmp_path) == [] and not (tmp_path / "listening").exists()


def test_a_tone_is_where_it_should_be_and_a_figure_has_all_voices():
    times = np.arange(4000) / 8000
    tone = (16384 * np.sin(2 * np.pi * 2000 * times)).astype(np.int16)
    found = decibels(tone)
    assert found.shape[0] == 129 and (found.argmax(axis=0) == 64).all()
    assert abs(found.max() - 20 * np.log10(0.5)) < 0.2  # of full scale
    figure = draw_voices(sounds(3), 1)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles[0] == "mixture" and len(titles) == 1 + 3 * 3
