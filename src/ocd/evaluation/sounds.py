"""Mixtures that are kept for a person to listen to, of a task whose outputs are separated voices."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.evaluation.separation_metrics import in_voices_order, si_sdri_per_example

FULL_SCALE = 32767


def pick_sounds(base: Tensor, ocd: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Of three test mixtures, those with OCD's largest gain in SI-SDR, the median and its largest loss,
    what there is to hear: whole numbers of 16 bits, by name.

    `base`, `ocd`: estimates (N, C, T); `targets`: the voices. "mixture" (3, T); "truth", "base" and
    "ocd" (3, C, T), in the voices' order and as loud as they are; "place" (3,), in the test set;
    "base_db" and "ocd_db" (3,), SI-SDRi.
    """
    before, after = (si_sdri_per_example(outputs, targets) for outputs in (base, ocd))
    order = (after - before).argsort(descending=True)
    place = order[[0, (len(order) - 1) // 2, len(order) - 1]]
    truth = targets[place]
    found = {"mixture": truth.sum(dim=1), "truth": truth}
    for name, outputs in (("base", base), ("ocd", ocd)):
        found[name] = _as_loud(in_voices_order(outputs[place], truth), truth)
    kept = {name: (FULL_SCALE * v.clamp(-1, 1)).round().to(torch.int16) for name, v in found.items()}
    return kept | {"place": place, "base_db": before[place], "ocd_db": after[place]}


def _as_loud(estimates: Tensor, truth: Tensor) -> Tensor:
    """Estimates times the factor that brings each nearest to its voice: SI-SDR sees no loudness."""
    estimates, truth = estimates.double(), truth.double()
    energy = estimates.square().sum(dim=2, keepdim=True).clamp_min(1e-12)
    return estimates * (estimates * truth).sum(dim=2, keepdim=True) / energy
