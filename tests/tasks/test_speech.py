"""Speech separation: files, mixtures, network, loss, the split in front of the layer, whole runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ocd import OCD, OCDConfig, OCDError
from ocd.base import DenseDelta, FrozenBase, OutputShift, probe
from ocd.cli import main
from ocd.lessons import OverfitConfig, overfit_batch
from ocd.runs import Run, audit_run
from ocd.runs.settings import read_settings
from ocd.tasks import get_task
from ocd.tasks.speech.describing import DescribeSpeech, bands, spectrogram
from ocd.tasks.speech.librimix import find_root, read_split, speakers_of
from ocd.tasks.speech.mixing import (
    LOUDEST,
    MOST,
    QUIETEST,
    Speaker,
    level,
    random_voices,
    resampled,
)
from ocd.tasks.speech.objective import (
    best_order,
    in_order,
    mean_of_aligned,
    negative_si_sdr,
    si_sdr,
    si_sdr_table,
)
from ocd.tasks.speech.options import LibriOptions, SpeechOptions, VoicesOptions
from ocd.tasks.speech.separator import Gate, Separator, Size, from_chunks, to_chunks
from ocd.tasks.speech.sound import read_sound
from ocd.tasks.speech.training import train_base
from ocd.tasks.speech.voices import read_voices
from resuming import until_done
from small_run import shrink
from sounds import hum, speakers, speech_data, write_librimix, write_sound, write_voices

pytest.importorskip("soundfile")
pytest.importorskip("scipy")

TINY = Size(voices=2, features=8, frame=4, units=5, blocks=2, chunk=10)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def small_base(size: Size = TINY) -> Separator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Separator(size).eval()


# The network


def test_full_size_has_7_6_million_parameters_and_16128_positions():
    base = Separator(Size(voices=5))
    # An LSTM reads N features in two directions of H units; torch keeps two biases.
    lstm = 2 * (4 * 128 * (128 + 128) + 2 * 4 * 128)
    one = 2 * lstm + 2 * (256 * 128 + 128) + (256 * 128 + 128)
    head = 1 + 128 * 5 * 128 + 5 * 128
    assert sum(p.numel() for p in base.parameters()) == 6 * 2 * one + 128 * 8 + head == 7_608_449
    layer = dict(base.named_modules())[base.layer]
    assert layer.weight.shape == (128, 256)
    chunks = base.encoder(torch.zeros(1, 32000))
    assert chunks.shape[1] * chunks.shape[2] == 16128


@pytest.mark.parametrize("length", [1, 3, 4, 50, 401])
def test_answers_are_as_long_as_the_mixture(length):
    base = small_base()
    assert base(noise(3, length)).shape == (3, 2, length)


def test_chunks_overlap_by_half_and_add_up_to_twice_the_frames():
    frames = noise(2, 23, 3)
    chunks = to_chunks(frames, 10)
    for number in range(chunks.shape[1] - 1):
        assert torch.equal(chunks[:, number, 5:], chunks[:, number + 1, :5])
    assert torch.allclose(from_chunks(chunks)[:, :23], 2 * frames)
    assert (from_chunks(chunks)[:, 23:] == 0).all()


def test_the_gate_multiplies_two_lstms_and_keeps_its_input():
    gate, x = Gate(TINY).eval(), noise(3, 7, 8)
    one, other = gate.of_first(gate.first(x)[0]), gate.of_second(gate.second(x)[0])
    assert torch.equal(gate(x), torch.cat([one * other, x], dim=2))


def slow_head(base: Separator, chunks: torch.Tensor, length: int) -> torch.Tensor:
    """From the description: a convolution to C·N, overlap-add of chunks, averages, overlap-add of
    frames, number by number."""
    head, size = base.head, base.size
    numbers = head.voices(head.activation(chunks))  # (B, S, K, C·N)
    batch, count, chunk, _ = numbers.shape
    half, step = chunk // 2, size.frame // 2
    frames = torch.zeros(batch, (count + 1) * half, numbers.shape[3])
    for s in range(count):
        frames[:, s * half : s * half + chunk] += numbers[:, s]
    frames = frames[:, half:-half].unflatten(2, (size.voices, size.features))
    pooled = F.avg_pool1d(frames.flatten(0, 2)[:, None], size.features // size.frame)
    pooled = pooled.view(batch, -1, size.voices, size.frame)
    waves = torch.zeros(batch, size.voices, (pooled.shape[1] + 1) * step)
    for f in range(pooled.shape[1]):
        waves[:, :, f * step : f * step + size.frame] += pooled[:, f]
    return waves[:, :, :length]


def test_the_head_averages_weights_in_place_of_frames():
    base, chunks = small_base(), noise(2, 4, 10, 8)
    assert torch.allclose(base.head(chunks, 37), slow_head(base, chunks, 37), atol=1e-5)


def test_loudness_passes_through_and_the_last_block_answers():
    base, waves = small_base(), noise(2, 200)
    assert torch.allclose(base(30 * waves), 30 * base(waves), rtol=1e-3, atol=1e-4)
    every = base.after_each_block(waves)
    assert len(every) == 2 and torch.equal(every[-1], base(waves))
    assert base(torch.zeros(1, 100)).isfinite().all()
    with pytest.raises(ValueError, match="must be even"):
        Separator(Size(voices=2, features=8, frame=3))


# The loss


def test_the_hungarian_order_is_the_best_of_all():
    estimates, voices = noise(20, 3, 60), noise(20, 3, 60, seed=1)
    estimates = estimates + 2 * voices[:, torch.tensor([2, 0, 1])]
    estimates[5:] += 3 * voices[5:, torch.tensor([1, 0, 2])]
    found = -negative_si_sdr(estimates, voices)
    every = torch.stack(
        [si_sdr(estimates[:, list(p)], voices).mean(dim=1) for p in itertools.permutations(range(3))]
    )
    assert torch.allclose(found, every.max(dim=0).values, atol=1e-4)
    assert len({tuple(order) for order in best_order(estimates, voices).tolist()}) > 1


def test_the_loss_is_that_of_torchmetrics():
    audio = pytest.importorskip("torchmetrics.functional.audio")
    estimates, voices = noise(4, 3, 500).double(), noise(4, 3, 500, seed=1).double()
    best, _ = audio.permutation_invariant_training(
        estimates, voices, audio.scale_invariant_signal_distortion_ratio, zero_mean=True
    )
    assert torch.allclose(negative_si_sdr(estimates, voices), -best, atol=1e-3)
    table = si_sdr_table(estimates, voices)
    assert torch.allclose(table[:, 1, 2], si_sdr(estimates[:, 1], voices[:, 2]), atol=1e-3)


def test_swapped_voices_change_nothing_and_loudness_neither():
    estimates, voices = noise(5, 3, 100), noise(5, 3, 100, seed=1)
    loss = negative_si_sdr(estimates, voices)
    swapped = torch.tensor([2, 0, 1])
    assert torch.allclose(negative_si_sdr(estimates, voices[:, swapped]), loss, atol=1e-4)
    assert torch.allclose(negative_si_sdr(estimates[:, swapped], voices), loss, atol=1e-4)
    assert torch.allclose(negative_si_sdr(7 * estimates, voices), loss, atol=1e-3)


def test_an_exact_estimate_is_beyond_measure_and_silence_the_worst():
    voices = noise(2, 2, 100)
    assert (negative_si_sdr(3 * voices.flip(1), voices) < -100).all()
    assert negative_si_sdr(torch.zeros_like(voices), voices).tolist() == pytest.approx([120.0] * 2)
    silence = torch.zeros(1, 2, 100, requires_grad=True)
    negative_si_sdr(silence, voices[:1]).sum().backward()
    assert silence.grad.isfinite().all()


def test_a_mixture_that_is_not_finite_keeps_its_order_and_harms_no_other():
    estimates, voices = noise(2, 2, 50), noise(2, 2, 50, seed=1)
    whole = negative_si_sdr(estimates, voices)
    estimates[0, 0, 3] = torch.nan
    found = negative_si_sdr(estimates, voices)
    assert found[0].isnan() and found[1] == whole[1]


def test_draws_are_aligned_in_order_loudness_and_sign():
    first = noise(2, 3, 80)
    others = [-4 * first[:, [1, 2, 0]], 0.1 * first[:, [2, 1, 0]]]
    assert torch.allclose(mean_of_aligned(torch.stack([first, *others])), first, atol=1e-5)
    assert torch.equal(mean_of_aligned(first[None]), first)
    plain = torch.stack([first, *others]).mean(dim=0)
    assert not torch.allclose(plain, first, atol=0.1)
    assert torch.equal(in_order(first, torch.tensor([[2, 0, 1]] * 2)), first[:, [2, 0, 1]])


# Mixtures


def test_mixtures_have_other_speakers_at_librimix_loudness():
    voices = random_voices(speakers(4), 30, 3, 1000, generator())
    levels = level(voices)
    loud = voices.sum(dim=1).abs().amax(dim=1)
    assert levels.max() <= LOUDEST + 1e-3 and levels.min() >= QUIETEST - 1e-3 and levels.std() > 1
    assert loud.max() <= MOST + 1e-6
    assert torch.equal(voices, random_voices(speakers(4), 30, 3, 1000, generator()))
    pitches = torch.fft.rfft(voices).abs().argmax(dim=2)  # a voice each
    assert all(len(set(row)) == 3 for row in pitches.tolist())


def test_a_mixture_that_would_clip_is_scaled_down():
    clicks = torch.zeros(1000)
    clicks[::500] = 1.0  # quiet on the whole, with high peaks
    voices = random_voices([Speaker("a", clicks), Speaker("b", clicks)], 4, 2, 1000, generator())
    assert voices.sum(dim=1).abs().max() == pytest.approx(MOST, abs=1e-5)


def test_voices_are_played_faster_and_slower():
    plain = random_voices(speakers(4), 30, 2, 1000, generator())
    played = random_voices(speakers(4), 30, 2, 1000, generator(), speed=0.2)
    heard = {int(peak) for peak in torch.fft.rfft(played).abs().argmax(dim=2).flatten()}
    assert len(heard) > len({int(peak) for peak in torch.fft.rfft(plain).abs().argmax(dim=2).flatten()})
    assert played.shape == plain.shape and level(played).min() >= QUIETEST - 1e-3
    times = torch.arange(1200) / 1200
    tone = torch.sin(2 * torch.pi * 30 * times)
    for length in (1000, 1500):  # as many waves in fewer and in more samples
        expected = torch.sin(2 * torch.pi * 30 * torch.arange(length) / length)
        assert torch.allclose(resampled(tone, length), expected, atol=1e-4)


def test_too_few_speakers_and_silent_ones_are_refused():
    with pytest.raises(OCDError, match="2 voices: a mixture of 3 needs as many"):
        random_voices(speakers(2), 1, 3, 100, generator())
    quiet = [*speakers(1), Speaker("nobody", torch.zeros(500))]
    with pytest.raises(OCDError, match="voice nobody: 20 excerpts of it are silent"):
        random_voices(quiet, 1, 2, 100, generator())
    assert random_voices(speakers(2, length=50), 1, 2, 200, generator()).shape == (1, 2, 200)


# Files


def break_file(path: Path, how: str) -> str:
    """Spoil a sound file of 4,000 or 5,000 samples; what the error says of it."""
    wave = hum(100, 4000)
    if how == "missing":
        path.unlink()
        return "no such file"
    if how == "rate":
        write_sound(path, wave, rate=16000)
        return "16000 samples a second, where 8000 are needed"
    if how == "stereo":
        write_sound(path, np.stack([wave, wave], axis=1))
        return "2 channels, where one is needed"
    if how == "corrupt":
        path.write_bytes(b"RIFF no wave at all")
        return "not a readable sound file"
    if how == "empty":
        write_sound(path, wave[:0])
        return "no samples|not a readable sound file .Format not recognised"
    write_sound(path, wave[:3000])
    return "3000 samples, where (4000|5000) are expected"


HOWS = ("missing", "rate", "stereo", "corrupt", "empty", "length")


@pytest.mark.parametrize("how", HOWS)
def test_a_wrong_clip_is_one_line_with_its_path(tmp_path, how):
    folder = write_voices(tmp_path)
    path = folder / "test" / "05" / "05-1.flac"
    says = break_file(path, how)
    with pytest.raises(OCDError, match=f"05-1.flac: ({says})") as caught:
        read_voices(folder, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("part", ["mix_clean", "s2"])
def test_a_wrong_file_of_a_mixture_is_one_line_with_its_path(tmp_path, how, part):
    root = write_librimix(tmp_path)
    path = sorted((root / "test" / part).glob("*.wav"))[1]
    says = break_file(path, how)
    with pytest.raises(OCDError, match=f"{part}/{path.name}: ({says})") as caught:
        read_split(root, "test", 2, 2000, 10)
    assert "\n" not in str(caught.value)


def test_a_mixture_that_is_not_the_sum_of_its_voices_is_refused(tmp_path):
    root = write_librimix(tmp_path)
    path = sorted((root / "test" / "mix_clean").glob("*.wav"))[0]
    write_sound(path, hum(500, 4000))
    with pytest.raises(OCDError, match="not the sum of s1 to s2: it has noise, or other voices"):
        read_split(root, "test", 2, 2000, 10)


def test_voices_of_a_table_are_parted_by_subset(tmp_path):
    voices = read_voices(write_voices(tmp_path), 3)
    assert [one.name for one in voices.train] == ["00", "01", "02", "03"]
    assert [one.name for one in voices.test] == ["04", "05", "06"]
    first = read_sound(tmp_path / "train" / "00" / "00-0.flac")
    assert torch.equal(voices.train[0].clips[:5000], first) and len(voices.train[0].clips) == 10000
    with pytest.raises(OCDError, match="3 voices to test on, and mixtures of 4 need as many"):
        read_voices(tmp_path, 4)


def test_voices_of_folders_are_parted_by_name(tmp_path):
    for name in "abcdefg":
        write_sound(tmp_path / name / "deep" / "1.wav", hum(100, 900))
        write_sound(tmp_path / name / "2.wav", hum(200, 100))
    voices = read_voices(tmp_path, 2)
    assert [one.name for one in voices.test] == ["c", "f"]
    assert [one.name for one in voices.train] == ["a", "b", "d", "e", "g"]
    assert len(voices.train[0].clips) == 1000
    with pytest.raises(OCDError, match="no such folder; --set voices=DIR"):
        read_voices(tmp_path / "none", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OCDError, match="neither a metadata.csv nor a folder with clips"):
        read_voices(tmp_path / "empty", 2)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("origin_path", "path", "no column 'origin_path'"),
        ("04,F,test", "04,F,dev", "line 10: subset is 'dev'"),
        ("04,F,test", "00,F,test", "voice 00 is in train and in test"),
        (",5000,", ",many,", "line 2: length is 'many'"),
        ("00,F,train,5000,train/00/00-0.flac", "00,F,train,5000,", "line 2: no origin_path"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, old, new, says):
    path = write_voices(tmp_path) / "metadata.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(OCDError, match=says) as caught:
        read_voices(tmp_path, 2)
    assert "metadata.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_librimix_is_found_with_and_without_its_csv(tmp_path):
    root = write_librimix(tmp_path)
    assert find_root(tmp_path, 2, "test") == root == find_root(root, 2, "test")
    listed = read_split(root, "train-100", 2, 3000, 4)
    assert listed.examples.inputs.shape == (4, 3000) and listed.examples.targets.shape == (4, 2, 3000)
    assert torch.allclose(listed.examples.targets.sum(dim=1), listed.examples.inputs, atol=1e-3)
    (root / "metadata" / "mixture_train-100_mix_clean.csv").unlink()
    bare = read_split(root, "train-100", 2, 3000, 10)
    assert set(listed.names) < set(bare.names) and len(bare.names) == 6
    assert [one.name for one in speakers_of(bare)] == ["0", "1", "2", "3", "4"]
    with pytest.raises(OCDError, match="no mixture is 9000 samples long"):
        read_split(root, "test", 2, 9000, 10)
    with pytest.raises(OCDError, match="no mixtures in LibriMix's layout .Libri5Mix/wav8k/min/test"):
        find_root(tmp_path, 5, "test")


def test_data_that_are_not_there_are_named():
    for name, says in (("voices-mix", "speechocean762/metadata.csv"), ("libri5mix", "Libri5Mix/wav8k")):
        task = get_task(name)
        with pytest.raises(OCDError, match=f"give --data-dir.*{says}"):
            task.load(task.options(), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"speakers": 1}, {"seconds": 0.1}, {"frame": 15}, {"features": 60}, {"chunk": 9},
        {"output_encoder": "cnn"}, {"base_lr": 0.0}, {"num_test": 1},
    ],
)  # fmt: skip
def test_wrong_options_are_named(wrong):
    with pytest.raises(OCDError, match=next(iter(wrong))):
        SpeechOptions(**wrong)


# The base's training


TINY_OPTIONS = {"features": 8, "frame": 4, "units": 5, "blocks": 1, "chunk": 20, "speakers": 2}


@pytest.mark.parametrize("more", [{}, {"compute": "bfloat16", "base_speed": 0.1, "base_steps": 40}])
def test_training_is_resumed_with_the_same_weights_and_lowers_the_loss(more, tmp_path, monkeypatch):
    options = VoicesOptions(
        **{**TINY_OPTIONS, "base_steps": 12, "base_lr": 5e-3, **more}, base_batch=2, base_seconds=0.25
    )
    data = speech_data(2)

    def work() -> dict[str, torch.Tensor]:
        base = Separator(options.size)
        train_base(base, data, options, 3, lambda line: None)
        assert not base.training
        return base.state_dict()

    whole = work()
    found, stops = until_done(work, tmp_path / "states", monkeypatch, steps=8)
    assert stops and all(torch.equal(value, found[name]) for name, value in whole.items())
    inputs, targets = data.train.rows(slice(0, 3))
    trained, before = Separator(options.size).eval(), Separator(options.size).eval()
    trained.load_state_dict(whole)
    with torch.no_grad():
        losses = [negative_si_sdr(base(inputs), targets).mean() for base in (trained, before)]
    assert losses[0] < losses[1]


# The split in front of the layer, across its residual connection


@contextmanager
def counted_lstms() -> Iterator[list[int]]:
    """How many rows LSTMs are given."""
    rows: list[int] = []
    original = nn.LSTM.forward

    def forward(self: nn.LSTM, x: torch.Tensor, *rest: object) -> object:
        rows.append(len(x))
        return original(self, x, *rest)

    patch = pytest.MonkeyPatch()
    patch.setattr(nn.LSTM, "forward", forward)
    try:
        yield rows
    finally:
        patch.undo()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_draws_run_only_what_is_behind_the_layer_and_equal_the_plain_way(batch):
    base, waves = small_base(), noise(4, 300)
    frozen = FrozenBase(base, base.layer)
    probe(frozen, waves)
    assert frozen.way.kind == "shift" and not frozen.way.widen  # the residual has the old rows
    assert frozen.front(waves) is not None  # found once for inputs of one shape
    capture = frozen.capture(waves[:batch])
    delta = DenseDelta(0.1 * noise(batch, 5, *frozen.weight_shape))
    with counted_lstms() as rows:
        moved = frozen.run(capture, delta)
        shifted = frozen.run(capture, OutputShift(delta.shift(capture.positions)))
    assert rows == []
    plain = frozen.run_plain(waves[:batch], delta)
    assert torch.allclose(moved, plain, atol=1e-4) and torch.allclose(shifted, plain, atol=1e-4)
    assert not torch.allclose(moved[:, 0], moved[:, 1], atol=1e-3)


def test_overfitting_runs_the_lstms_once_a_mixture_and_equals_the_plain_way():
    base, waves = small_base(), noise(3, 300)
    voices = noise(3, 2, 300, seed=1)
    frozen = FrozenBase(base, base.layer)
    probe(frozen, waves)
    frozen.front(waves)
    config = OverfitConfig(num_steps=3, lr=1e-3, form="dense")
    with counted_lstms() as rows:
        delta = overfit_batch(frozen, negative_si_sdr, waves, voices, config)
    assert len(rows) == 2 * 2 * 2  # blocks, within and across, two LSTMs: one pass
    slow = torch.zeros(3, 1, *frozen.weight_shape)
    for _ in range(3):
        weight = slow.clone().requires_grad_()
        losses = negative_si_sdr(frozen.run_plain(waves, DenseDelta(weight))[:, 0], voices)
        (gradient,) = torch.autograd.grad(losses.sum(), weight)
        slow = slow - 1e-3 * gradient
    assert torch.allclose(delta.dense(), slow, atol=1e-5)


def test_a_prediction_asks_the_base_once_and_its_draws_are_behind_the_layer():
    base, data = small_base(Size(2, 8, 4, 5, 1, 20)), speech_data(2, num=6, length=400)
    options = SpeechOptions(**TINY_OPTIONS)
    config = OCDConfig(layer=base.layer).replace(
        {"training.num_steps": 3, "training.batch_size": 4, "codec.components": 3, "overfit.lr": 1e-2}
    )
    ocd = OCD(base, loss=negative_si_sdr, config=config, describe=DescribeSpeech(options))
    ocd.fit(data.train, progress=False)
    ocd.frozen.front(data.test.inputs)
    with counted_lstms() as rows:
        prediction = ocd.predict(data.test.inputs, draws=5)
    assert len(rows) == 4  # within and across, two LSTMs
    assert prediction.outputs.shape == (5, 6, 2, 400)
    assert torch.allclose(prediction.base, base(data.test.inputs), atol=1e-5)
    _, embedding = ocd.embed(data.test.inputs)
    codes = ocd.generator().draw(data.test.inputs, embedding, request := _request())
    delta = ocd.generator().decode(codes, ocd.frozen.capture(data.test.inputs))
    plain = ocd.frozen.run_plain(data.test.inputs, delta).transpose(0, 1)
    assert request.num_draws == 5 and torch.allclose(prediction.outputs, plain, atol=1e-4)


def _request():
    from ocd.prediction import DrawRequest

    return DrawRequest(5, "draws", 0, False)


# The condition


def test_the_condition_is_taken_from_a_capture():
    base, waves = small_base(), noise(3, 600)
    frozen = FrozenBase(base, base.layer)
    describe = DescribeSpeech(SpeechOptions(**TINY_OPTIONS))
    capture = frozen.capture(waves)
    found = describe.of_capture(capture)
    again = describe(frozen, waves)
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        "layer_input": (3, 32), "layer_output": (3, 16), "output": (3, 2 * 64),
    }  # fmt: skip
    assert all(torch.equal(found[name], again[name]) for name in found)
    alone = describe.of_capture(frozen.capture(waves[1:2]))
    assert all(torch.allclose(alone[name], found[name][1:2], atol=1e-4) for name in found)


def test_a_tone_is_in_its_band():
    tone = torch.from_numpy(np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)).float()[None]
    found = bands(tone)
    assert found.shape == (1, 64) and found[0, :32].argmax() in (7, 8)
    assert spectrogram(tone[:, :100], 256, 128).shape == (1, 129, 1)


def test_vgg11_sees_spectrograms_of_1024_bins(tmp_path):
    from safetensors.torch import save_file

    from ocd.tasks.views.vgg import VGG11

    path = tmp_path / "vgg.safetensors"
    save_file(VGG11().state_dict(), path)
    options = SpeechOptions(**TINY_OPTIONS, output_encoder="vgg11", vgg=str(path))
    base = small_base()
    frozen = FrozenBase(base, base.layer)
    found = DescribeSpeech(options).of_capture(frozen.capture(noise(2, 6000)))
    assert found["output"].shape == (2, 2 * 512) and found["output"].isfinite().all()


@pytest.mark.gpu
def test_the_full_size_trains_in_bfloat16_and_moves_on_a_gpu():
    options = VoicesOptions(
        speakers=5, features=128, frame=8, units=128, blocks=6, chunk=126, base_steps=3, base_batch=2,
        base_seconds=0.5,
    )  # fmt: skip
    base, data = Separator(options.size).cuda(), speech_data(5, num=3, length=4000)
    train_base(base, data, options, 0, lambda line: None)
    waves = data.train.inputs.cuda()
    assert next(base.parameters()).dtype == torch.float32 and base(waves).isfinite().all()
    frozen = FrozenBase(base, base.layer)
    probe(frozen, waves)
    delta = DenseDelta(0.01 * noise(3, 2, *frozen.weight_shape).cuda())
    moved, plain = frozen.run(frozen.capture(waves), delta), frozen.run_plain(waves, delta)
    assert frozen.way.kind == "shift" and frozen.front(waves) is not None
    assert (moved - plain).abs().max() <= 1e-3 * plain.abs().max()


# Whole runs

SMALL = {
    **TINY_OPTIONS,
    "seconds": 0.4,
    "base_steps": 6,
    "base_batch": 2,
    "base_seconds": 0.25,
    "num_train": 6,
    "num_test": 4,
    "training.num_steps": 12,
    "selection.num_draws": 2,
    "num_bases": 2,
}


def settings() -> list[str]:
    return [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


def ocd_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["ocd", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def check_report(folder: Path) -> None:
    """What is to hear and to see is there, and linked."""
    text = (folder / "report.md").read_text()
    heard = sorted(path.name for path in (folder / "listening").iterdir())
    assert len(heard) == 3 * (1 + 3 * 2) and all(f"(listening/{name})" in text for name in heard)
    assert {f"voices_{name}.png" for name in ("best", "median", "worst")} <= {
        path.name for path in (folder / "figures").iterdir()
    }


def test_ten_mixtures_in_librimix_layout_are_run_whole(tmp_path, monkeypatch):
    write_librimix(tmp_path)
    out = tmp_path / "run"
    ocd_command(monkeypatch, "run", "libri5mix", "--data-dir", tmp_path, "--out", out, *settings())
    check_report(out)
    results = json.loads((out / "results.json").read_text())
    assert list(results["metrics"]) == ["si_sdri", "sdri", "negative_si_sdr"]
    wanted = {"base", "ocd", "ocd_ensemble_5", "fine_tuned_layer", "deep_ensemble_2", "overfit_test"}
    assert wanted <= set(results["methods"])
    assert set(get_task("libri5mix").left_out) <= set(results["skipped"])
    assert "6 mixtures of train-100, the first 0.4 s" in (out / "report.md").read_text()


def test_voices_are_mixed_and_run_whole(tmp_path, monkeypatch):
    write_voices(tmp_path / "mine")
    out = tmp_path / "run"
    arguments = ["--data-dir", tmp_path, "--out", out, *settings(), "--set", "voices=mine"]
    ocd_command(monkeypatch, "run", "voices-mix", *arguments, "--set", "baselines=none")
    check_report(out)
    run = Run.open(out)
    audit = audit_run(run)
    assert audit.passed, audit.lines()
    assert {one.name: one.passed for one in audit.findings}["labels, seed 0"] is True
    again = get_task("voices-mix").load(run.options, tmp_path)
    assert torch.equal(again.test.inputs, run.data.test.inputs)  # made once, from a seed


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_other_presets_run_with_the_unet(tmp_path, monkeypatch, preset):
    shrink(monkeypatch)
    more = {"baselines": "none", "num_draws": 2, "denoiser.channels": 8, "overfit.lr": 0.005,
            "diffusion.num_sampling_steps": 2, "training.num_steps": 2, "voices": "mine"}  # fmt: skip
    write_voices(tmp_path / "mine")
    run = Run.create(
        "voices-mix", tmp_path / "run", preset, tmp_path,
        settings={key: str(value) for key, value in (SMALL | more).items()},
    )  # fmt: skip
    assert run.config.denoiser.kind == "unet" and run.config.codec.kind == "dense"
    assert run.config.training.batch_size == {"paper": 1, "released": 8}[preset]
    run.predict(0)
    assert np.isfinite(run.report()["methods"]["ocd"]["si_sdri"][0])


def test_a_wrong_file_is_one_line_of_the_command(tmp_path, capsys, monkeypatch):
    root = write_librimix(tmp_path)
    path = sorted((root / "train-100" / "s1").glob("*.wav"))[0]
    path.write_bytes(b"nothing")
    arguments = ["--data-dir", tmp_path, "--out", tmp_path / "run", *settings()]
    with pytest.raises(SystemExit):
        ocd_command(monkeypatch, "run", "libri5mix", *arguments)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and str(path) in said[0]


def test_voices_can_be_kept_from_the_base(tmp_path):
    write_voices(tmp_path, train=6)
    task = get_task("voices-mix")
    options = {"voices": str(tmp_path), "speakers": 2, "num_train": 4, "num_test": 3, "seconds": 0.3}
    data = task.load(VoicesOptions(**options, own_voices=3), None)
    assert [one.name for one in data.speakers] == ["00", "01", "02"]
    known = torch.stack([one.clips[:5000] for one in read_voices(tmp_path, 2).train])
    spectra = torch.fft.rfft(known[:, :2400]).abs()
    heard = torch.fft.rfft(data.train.targets).abs().flatten(0, 1)
    nearest = (F.normalize(heard) @ F.normalize(spectra).T).argmax(dim=1)
    assert set(nearest.tolist()) <= {3, 4, 5}
    assert "the base hears 3 of the voices" in data.notes[1]
    with pytest.raises(OCDError, match="own_voices is 5 of 6: the base needs 2"):
        task.load(VoicesOptions(**options, own_voices=5), None)
    with pytest.raises(OCDError, match="own_voices is 1: mixtures of 2 need as many"):
        VoicesOptions(**options, own_voices=1)
    for name in ("cross_fit", "variants"):
        with pytest.raises(OCDError, match=f"takes no {name}: the base learns from mixtures"):
            read_settings(task, "fast", {name: "true"})
    with pytest.raises(OCDError, match="takes no held_out"):
        read_settings(task, "fast", {"held_out": "0.2"})


def test_the_layer_and_the_published_figures_follow_the_options():
    task = get_task("libri5mix")
    full = task.specialise(LibriOptions(features=128, frame=8, units=128, blocks=6, chunk=126))
    assert full.layer == "blocks.5.across.project" and full.published is not None
    two = task.specialise(LibriOptions(speakers=2))
    assert two.layer == "blocks.1.across.project" and two.published is None
