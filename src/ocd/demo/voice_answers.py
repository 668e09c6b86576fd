"""Voices of a mixture: a player for each, by the base, by OCD, by each draw, and as they are."""

from __future__ import annotations

import base64
import io
import wave

import torch
from torch import Tensor

from ocd.applying import Answers
from ocd.demo.pieces import coloured, png, section, table, text, tile, tiles
from ocd.demo.shown import Question
from ocd.evaluation import in_voices_order
from ocd.reporting import decibels
from ocd.tasks import SOUND_RATE

QUIETEST, LOUDEST = -80.0, -20.0
"""dB, the ends of a spectrogram's colours."""


def voice_answer(found: Answers, question: Question) -> str:
    """Voices (C, T) of one mixture (T,). A network gives them in any order, so all of them, draws too,
    are put into that of the true voices by SI-SDR, or of the base's where these are not known."""
    mixture = question.rows.inputs
    assert isinstance(mixture, Tensor)
    order = found.base if question.truth is None else question.truth[None].cpu()
    base, ocd = (in_voices_order(waves, order)[0] for waves in (found.base, found.ocd))
    draws = [in_voices_order(draw, order)[0] for draw in found.draws]
    columns = {"base": base, f"OCD, {len(draws)} draws": ocd}
    if question.truth is not None:
        columns = {"the voice itself": order[0]} | columns
    voices = [f"voice\u00a0{place + 1}" for place in range(len(base))]
    rows = [
        [f"<strong>{voice}</strong>", *(heard(w[n], f"{voice}, {who}") for who, w in columns.items())]
        for n, voice in enumerate(voices)
    ]
    each = [
        [voice, *(heard(w[n], f"{voice}, draw {k}", False) for k, w in enumerate(draws, 1))]
        for n, voice in enumerate(voices)
    ]
    names = [f"draw {number}" for number in range(1, len(draws) + 1)]
    return (
        tiles(_uncertainty(torch.stack(draws), ocd))
        + section("Mixture", heard(mixture[0], "mixture"))
        + section(
            "Voices", table(["", *columns], rows, "Voices"), "Darker is louder; 0 to 4 kHz from below."
        )
        + section("Draws", table(["", *names], each, "Draws"))
    )


def _uncertainty(draws: Tensor, ocd: Tensor) -> list[str]:
    """Energy of the draws' deviation (K, C, T) against that of the voice (C, T), in dB. Each draw is
    first as loud as it is nearest to the voice: the loss sees no loudness."""
    energy = draws.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)
    draws = draws * (draws * ocd).sum(dim=-1, keepdim=True) / energy
    spread = draws.var(dim=0, unbiased=False).mean(dim=-1)
    shares = 10 * torch.log10(spread.clamp_min(1e-12) / ocd.square().mean(dim=-1).clamp_min(1e-12))
    return [
        tile(
            f"Uncertainty, voice {place + 1}", f"{float(share):.1f} dB", "deviation of the draws in it"
        )
        for place, share in enumerate(shares)
    ]


def heard(samples: Tensor, name: str, seen: bool = True) -> str:
    """A player for a waveform (T,), as loud as it can be: the loss sees no loudness. `name`: what it is
    called for those who do not see it. `seen`: whether its spectrogram is above it."""
    loud = samples.detach().cpu().float()
    loud = 0.9 * loud / loud.abs().max().clamp_min(1e-6)
    whole = (32767 * loud).round().to(torch.int16).numpy()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SOUND_RATE)
        out.writeframes(whole.astype("<i2").tobytes())
    address = f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"
    player = f'<audio controls preload="none" src="{address}" aria-label="{text(name)}"></audio>'
    if not seen:
        return player
    shown = (decibels(whole)[::-1] - QUIETEST) / (LOUDEST - QUIETEST)
    source, named = png(coloured(shown.clip(0, 1))), f"spectrogram of {text(name)}"
    picture = f'<img class="spectrogram" src="{source}" alt="{named}">'
    return f'<div class="heard">{picture}{player}</div>'
