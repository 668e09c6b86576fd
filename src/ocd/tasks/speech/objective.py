"""The loss: negative SI-SDR in dB, under the order of the voices that is best for each mixture.

SI-SDR (Le Roux and others 2019) compares an estimate e with a voice s up to a factor, both with mean 0:
10·log10(‖αs‖² / ‖e − αs‖²) with α = <e, s> / ‖s‖². Which estimate is of which voice is unknown, so the
best of all C! orders counts. It is found by the Hungarian method on the (C, C) table of SI-SDRs.

B mixtures, C voices, T time steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-12
"""Share of a voice's energy that noise counts as, at least: an exact estimate has 120 dB, not infinity,
and a silent one -120 dB, where the formula has 0/0."""


def si_sdr(estimates: Tensor, voices: Tensor) -> Tensor:
    """SI-SDR in dB of waveforms (..., T) against others: (...)."""
    estimates = estimates - estimates.mean(dim=-1, keepdim=True)
    voices = voices - voices.mean(dim=-1, keepdim=True)
    energy = voices.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)
    target = (estimates * voices).sum(dim=-1, keepdim=True) / energy * voices
    wanted = target.square().sum(dim=-1) / energy[..., 0]
    noise = (estimates - target).square().sum(dim=-1) / energy[..., 0]
    return 10 * torch.log10((wanted + FLOOR**2) / (noise + FLOOR))


def si_sdr_table(estimates: Tensor, voices: Tensor) -> Tensor:
    """SI-SDR in dB of every estimate (B, C, T) against every voice (B, C, T): (B, estimates, voices).

    By products alone: with the correlation r of both it is 10·log10(r² / (1 − r²)). Rounding spoils it
    above 50 dB, far above what decides an order, so no value of the table is ever reported.
    """
    estimates = torch.nn.functional.normalize(estimates - estimates.mean(dim=2, keepdim=True), dim=2)
    voices = torch.nn.functional.normalize(voices - voices.mean(dim=2, keepdim=True), dim=2)
    squared = (estimates @ voices.transpose(1, 2)).square().clamp_max(1 - 1e-7)
    return 10 * torch.log10((squared + FLOOR) / (1 - squared))


def best_order(estimates: Tensor, voices: Tensor) -> Tensor:
    """(B, C): for each voice the place of its estimate, so that the mean SI-SDR is the highest.

    The Hungarian method (SciPy), a table of C x C a mixture. Tables with a value that is not finite
    keep their order.
    """
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        table = si_sdr_table(estimates.float(), voices.float()).transpose(1, 2).cpu()
    orders = torch.arange(table.shape[1]).repeat(len(table), 1)
    for row, good in enumerate(table.isfinite().flatten(1).all(dim=1).tolist()):
        if good:
            orders[row] = torch.from_numpy(linear_sum_assignment(table[row].numpy(), maximize=True)[1])
    return orders.to(estimates.device)


def in_order(estimates: Tensor, order: Tensor) -> Tensor:
    """Estimates (B, C, T) in another order (B, C)."""
    return estimates.gather(1, order[:, :, None].expand_as(estimates))


def negative_si_sdr(estimates: Tensor, voices: Tensor) -> Tensor:
    """(B, C, T) against (B, C, T) -> (B,): the mean over the voices, in dB, lower is better."""
    aligned = in_order(estimates, best_order(estimates, voices))
    return -si_sdr(aligned, voices).mean(dim=1)


def mean_of_aligned(outputs: Tensor) -> Tensor:
    """Voices of K draws (K, B, C, T) -> their mean (B, C, T).

    Each draw is first brought into the order and loudness of the first (of an ensemble of bases, that
    of the run's own base): separators agree neither in the order of their answers nor in their loudness
    or sign, which SI-SDR does not see.
    """
    first = outputs[0]
    total = first.clone()
    for draw in outputs[1:]:
        aligned = in_order(draw, best_order(draw, first))
        size = aligned.square().sum(dim=2, keepdim=True).clamp_min(1e-12)
        sign = (aligned * first).sum(dim=2, keepdim=True).sign()
        total += aligned * sign * (first.square().sum(dim=2, keepdim=True) / size).sqrt()
    return total / len(outputs)
