"""`ocd apply` for recordings: voices in one order, as loud as they are heard, whatever their length."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import ocd
from ocd.applying import ApplyOptions, Ask, LoadedRun, apply_shard, apply_to
from ocd.applying.voices import as_in_mixture
from ocd.base import example_losses
from ocd.data import Shard, read_tensors
from ocd.errors import OCDError
from ocd.runs import Run
from small_run import SMALL, shrink

soundfile = pytest.importorskip("soundfile")

from sounds import hum, write_sound, write_voices  # noqa: E402

RATE = 8000
SIZES = {"features": 8, "frame": 4, "units": 5, "blocks": 1, "chunk": 20, "speakers": 2}
MORE = {"seconds": 0.4, "base_steps": 6, "base_batch": 2, "base_seconds": 0.25, "voices": "mine"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("voices")
    write_voices(root / "mine")
    foreign = ("layer", "train_size", "test_size", "base_epochs")  # of the task `digits`
    small = {key: value for key, value in SMALL.items() if key not in foreign}
    settings = small | SIZES | MORE | {"num_train": 6, "num_test": 4, "overfit.lr": 0.05}
    texts = {key: str(value) for key, value in settings.items()}
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        made = Run.create("voices-mix", root / "run", "fast", root, [0], texts)
        for verb in ("select", "overfit", "train", "predict"):
            getattr(made, verb)(0)
    return made


@pytest.fixture(scope="module")
def loaded(run: Run) -> LoadedRun:
    return ocd.load(run.root)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three recordings: two of the run's length, in a folder within, and a longer one."""
    folder = tmp_path / "recordings"
    for name, length in (("a/one.wav", 3200), ("a/two.wav", 3200), ("three.flac", 4400)):
        write_sound(folder / name, hum(130, length) + hum(210, length, seed=len(name)))
    return folder


def test_a_recording_is_answered_as_the_run_predicted_it(run: Run, loaded: LoadedRun) -> None:
    mixtures, voices = run.data.test.inputs, run.data.test.targets
    answers = loaded.predict(mixtures)
    kept = read_tensors(run.root / "predictions" / "seed-0.safetensors")
    for name, waves in (("base", answers.base), (f"ocd_ensemble_{loaded.num_draws}", answers.ocd)):
        losses = example_losses(run.task.loss, waves, voices)
        assert losses.tolist() == pytest.approx(kept[f"loss/{name}"].tolist(), rel=2e-3, abs=1e-4)


def test_a_folder_of_many_lengths_is_written_as_voices(
    loaded: LoadedRun, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ApplyOptions(recordings, out, out / "draws", ask=Ask(draws=2))
    summary = apply_to(loaded, options, lambda rows: None)
    assert summary.rows == 3
    with (out / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["a/one.wav", "a/two.wav", "three.flac"]
    assert all(float(row["std"]) > 0 and float(row["moved"]) >= 0 for row in rows)
    for name, length in (("a/one", 3200), ("a/two", 3200), ("three", 4400)):
        mixture, _ = soundfile.read(next(recordings.glob(f"{name}.*")))
        for who in ("base", "ocd", "draws"):
            ending = "-draw1" if who == "draws" else ""
            whole = next(recordings.glob(f"{name}.*")).relative_to(recordings)
            read = [soundfile.read(out / who / f"{whole}{ending}-{place}.wav") for place in (1, 2)]
            assert [(len(wave), rate) for wave, rate in read] == [(length, RATE)] * 2
            left = mixture - sum(wave for wave, _ in read)
            assert np.square(left).mean() < np.square(mixture).mean()


def test_each_is_answered_alone(loaded: LoadedRun, recordings: Path) -> None:
    rows = list(loaded.read(recordings, 8))
    assert [len(part) for part in rows] == [2, 1]
    by_one = list(loaded.read(recordings, 1))
    together, alone = (loaded.answer(part, Ask(draws=2)) for part in (rows[0], by_one[1]))
    assert torch.allclose(together.ocd[1], alone.ocd[0], atol=1e-5)
    assert together.ids[1] == alone.ids[0] == "a/two.wav"


def test_recordings_that_differ_in_their_ending_alone_are_two(
    loaded: LoadedRun, tmp_path: Path
) -> None:
    for place, ending in enumerate(("wav", "flac")):
        write_sound(tmp_path / "in" / f"one.{ending}", hum(130 + 90 * place, 3200))
    options = ApplyOptions(tmp_path / "in", tmp_path / "out", tmp_path / "each", ask=Ask(draws=2))
    assert apply_to(loaded, options, lambda rows: None).rows == 2
    found = sorted(path.name for path in (tmp_path / "out" / "ocd").iterdir())
    assert found == ["one.flac-1.wav", "one.flac-2.wav", "one.wav-1.wav", "one.wav-2.wav"]
    assert len(list((tmp_path / "each").iterdir())) == 2 * 2 * 2


def test_processes_answer_as_one_does(loaded: LoadedRun, recordings: Path, tmp_path: Path) -> None:
    options = ApplyOptions(recordings, tmp_path / "many", ask=Ask(draws=2))
    for number in range(2):
        apply_shard(loaded, options, Shard(number, 2), lambda n: None)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    found = [read_tensors(path) for path in files]
    names = [bytes(part["ids"].tolist()).decode() for part in found]
    assert names == ["a/one.wav", "a/two.wav", "three.flac"]
    one = [loaded.answer(rows, options.ask) for rows in loaded.read(recordings, 1)]
    assert all(torch.equal(a["ocd"], b.ocd) for a, b in zip(found, one, strict=True))


def test_voices_add_up_to_the_recording_and_have_the_bases_order() -> None:
    voices = torch.stack([torch.from_numpy(hum(pitch, 800)) for pitch in (100, 170, 260)])[None]
    mixture = voices.sum(dim=1)
    swapped = voices[:, [2, 0, 1]] * torch.tensor([-3.0, 0.1, 7.0])[:, None]
    found = as_in_mixture(swapped, voices, mixture)
    centred = voices - voices.mean(dim=2, keepdim=True)
    assert torch.allclose(found, centred, atol=1e-3)
    silent = as_in_mixture(torch.zeros_like(voices), voices, mixture)
    assert torch.equal(silent, torch.zeros_like(voices))


def test_another_length_than_those_of_the_run_is_said(loaded: LoadedRun) -> None:
    text = "1.0 s long, where the run learnt from mixtures of 0.4 s"
    assert loaded.reader.take(torch.rand(2, 8000)).remarks == [(0, text), (1, text)]
    assert loaded.reader.take(torch.rand(3200)).remarks == []


@pytest.mark.parametrize(
    ("length", "rate", "message"),
    [
        (800, RATE, "0.10 s of sound, where 0.25 to 60 s can be taken"),
        (4000, 16000, "16000 samples a second, where 8000 are needed: resample it"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(
    loaded: LoadedRun, tmp_path: Path, length: int, rate: int, message: str
) -> None:
    write_sound(tmp_path / "in" / "x.wav", hum(100, length), rate)
    with pytest.raises(OCDError, match=f"x.wav: {message}"):
        apply_to(loaded, ApplyOptions(tmp_path / "in", tmp_path / "out"), lambda rows: None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "a list is no sound: give a tensor or array"),
        (torch.zeros(2, 2, 4000), "must be \\(B, T\\), floating"),
        (torch.zeros(2, 4000, dtype=torch.int16), "sounds are \\(2, 4000\\), int16"),
        (torch.tensor([0.0] * 4000 + [float("nan")]), "sound 1 has samples that are not finite"),
    ],
)
def test_what_is_no_sound_is_one_line(loaded: LoadedRun, data: object, message: str) -> None:
    with pytest.raises(OCDError, match=message):
        loaded.predict(data)


def test_an_empty_folder_and_none_are_one_line(loaded: LoadedRun, tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="there are no sound files"):
        list(loaded.read(tmp_path, 4))
    with pytest.raises(OCDError, match="no such file or folder"):
        list(loaded.read(tmp_path / "none", 4))
