"""Train a separator on mixtures that are made anew for each step."""

from __future__ import annotations

import torch
from torch import nn

from ocd.data import GlobalRandom, ResumableLoop
from ocd.tasks.one_cycle import one_cycle
from ocd.tasks.speech.mixing import random_voices
from ocd.tasks.speech.objective import negative_si_sdr
from ocd.tasks.speech.options import SpeechData, SpeechOptions
from ocd.tasks.speech.separator import Separator
from ocd.tasks.speech.sound import SOUND_RATE
from ocd.tasks.task import Progress, TaskData, unless_loaded


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: SpeechOptions, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains on new mixtures of the training voices.

    Adam; gradients are clipped to norm 5, as the authors do. The loss is the sum over blocks of what
    the head makes of each. On a GPU the LSTMs work in bfloat16 (`options.bfloat16`), on a CPU if
    `options.compute` says so; the loss never does.
    """
    assert isinstance(base, Separator) and isinstance(data, SpeechData)
    device = next(base.parameters()).device
    order = torch.Generator().manual_seed(seed)
    length = round(options.base_seconds * SOUND_RATE)
    low = options.bfloat16 if device.type == "cuda" else options.compute == "bfloat16"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        base.load_state_dict(Separator(base.size).state_dict())  # new weights, by the seed
        base.train()
        optimizer = torch.optim.Adam(base.parameters(), lr=options.base_lr)
        schedule = one_cycle(optimizer, options.base_lr, options.base_steps + 1, cycle_momentum=False)
        loop = ResumableLoop(
            "voices", base=base, optimizer=optimizer, schedule=schedule, order=order,
            random=GlobalRandom(device),
        )  # fmt: skip
        for step in loop.steps(options.base_steps):
            voices = random_voices(
                data.speakers, options.base_batch, options.speakers, length, order, options.base_speed
            ).to(device)
            loss, last = _losses(base, voices, low)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(base.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            recent = loop.values.get("recent", last)
            recent += 0.02 * (last - recent)
            loop.values["recent"] = recent
            if (step + 1) % 50 == 0:
                progress(f"base: step {step + 1} of {options.base_steps}, SI-SDR {-recent:.2f} dB")
    base.eval()


def _losses(base: Separator, voices: torch.Tensor, low: bool) -> tuple[torch.Tensor, float]:
    """The loss of all blocks' answers, and that of the last alone. `low`: in bfloat16."""
    with torch.autocast(voices.device.type, torch.bfloat16, enabled=low):
        answers = base.after_each_block(voices.sum(dim=1))
    losses = [negative_si_sdr(answer.float(), voices).mean() for answer in answers]
    return torch.stack(losses).sum(), losses[-1].item()
