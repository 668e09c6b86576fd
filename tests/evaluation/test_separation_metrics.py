"""SI-SDRi and SDRi of separated voices, and the mixtures that are kept to listen to."""

from __future__ import annotations

import pytest
import torch

from ocd.errors import OCDError
from ocd.evaluation import SEPARATION_METRICS, pick_sounds

pytest.importorskip("torchmetrics")
pytest.importorskip("scipy")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_si_sdr(estimate: torch.Tensor, voice: torch.Tensor) -> float:
    estimate, voice = (x.double() - x.double().mean() for x in (estimate, voice))
    target = (estimate @ voice) / (voice @ voice) * voice
    return float(10 * torch.log10(target.square().sum() / (estimate - target).square().sum()))


def test_si_sdri_is_the_improvement_over_the_mixture():
    voices = noise(3, 2, 700)
    outputs = (voices + 0.5 * noise(3, 2, 700, seed=1)).flip(1)
    expected = []
    for estimates, truth in zip(outputs.flip(1), voices, strict=True):
        gains = [
            slow_si_sdr(estimates[c], truth[c]) - slow_si_sdr(truth.sum(dim=0), truth[c])
            for c in range(2)
        ]
        expected.append(sum(gains) / 2)
    found = SEPARATION_METRICS["si_sdri"].per_example(outputs, voices)
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert SEPARATION_METRICS["si_sdri"].fn(outputs, voices) == pytest.approx(found.mean().item())
    mixture = voices.sum(dim=1, keepdim=True).expand_as(voices)
    for name in ("si_sdri", "sdri"):
        assert SEPARATION_METRICS[name].fn(mixture, voices) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", SEPARATION_METRICS)
def test_swapped_references_change_no_figure(name):
    voices = noise(4, 3, 900)
    outputs = voices[:, [1, 2, 0]] + noise(4, 3, 900, seed=1)
    metric = SEPARATION_METRICS[name]
    whole = metric.fn(outputs, voices)
    assert metric.fn(outputs, voices[:, [2, 0, 1]]) == pytest.approx(whole, abs=1e-6)
    assert metric.fn(3 * outputs, voices) == pytest.approx(whole, abs=1e-6)


def test_sdri_is_that_of_torchmetrics_and_sees_targets_that_change():
    from torchmetrics.functional.audio import signal_distortion_ratio as sdr

    voices = noise(9, 2, 800).double()
    outputs = voices + 0.3 * noise(9, 2, 800, seed=1)
    found = SEPARATION_METRICS["sdri"].fn
    mixture = voices.sum(dim=1, keepdim=True).expand_as(voices)
    expected = sdr(outputs, voices, zero_mean=True) - sdr(mixture, voices, zero_mean=True)
    assert found(outputs, voices) == pytest.approx(expected.mean().item(), abs=1e-3)
    before = found(outputs, voices)
    voices[:, 0] *= 4  # in place: another mixture
    assert abs(found(outputs, voices) - before) > 0.5


def test_a_scaled_reference_is_beyond_measure_and_silence_has_a_name():
    voices = noise(2, 2, 600)
    metric = SEPARATION_METRICS["si_sdri"]
    assert metric.fn(5 * voices, voices) > 100
    silent = SEPARATION_METRICS["negative_si_sdr"].per_example(torch.zeros_like(voices), voices)
    assert silent.tolist() == [120.0, 120.0]  # torchmetrics says 0 dB
    assert SEPARATION_METRICS["sdri"].fn(torch.zeros_like(voices), voices) < -100


def test_a_silent_voice_and_other_shapes_are_refused():
    voices = noise(2, 2, 50)
    metric = SEPARATION_METRICS["si_sdri"]
    with pytest.raises(OCDError, match="waveforms .N, C, T."):
        metric.fn(voices[:, :1], voices)
    voices[1, 0] = 0
    with pytest.raises(OCDError, match="voice 1 of test mixture 1 is silent: it has no SI-SDR"):
        metric.fn(noise(2, 2, 50, seed=1), voices)


def test_the_largest_gain_the_median_and_the_largest_loss_are_kept():
    voices = 0.1 * noise(5, 2, 400)
    base = voices + 0.05 * noise(5, 2, 400, seed=1)
    better = torch.tensor([0.5, 0.9, 1.5, 1.0, 0.2])  # of the base's noise
    ocd = voices + better[:, None, None] * (base - voices)
    kept = pick_sounds(7 * base.flip(1), ocd, voices)
    assert kept["place"].tolist() == [4, 1, 2]
    assert (kept["ocd_db"] - kept["base_db"])[0] > 10 > 0 > (kept["ocd_db"] - kept["base_db"])[2]
    assert kept["truth"].shape == (3, 2, 400) and kept["truth"].dtype == torch.int16
    off = (kept["base"].float() - kept["truth"].float()).abs().mean() / 32767
    assert off < 0.06  # in the voices' order, as loud as they are
