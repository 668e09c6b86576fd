"""Views: images of base and OCD, where the draws differ, and where OCD changed the base."""

from __future__ import annotations

import math

import torch

from ocd.applying import Answers
from ocd.demo.pieces import figure, figures, heat, image, section, short, tile, tiles
from ocd.demo.shown import Question


def view_answer(found: Answers, question: Question) -> str:
    """Views (3, H, W) with colours from 0 to 1. Where the right view is known, each has its PSNR in
    dB. The maps are means over the three colours: of the draws' standard deviation, and of how far
    the ensemble is from the base; each is scaled to its own largest value, which is said."""
    base, ocd = found.base[0], found.ocd[0]
    shown = [figure(image(base), "base", "base")]
    shown += [figure(image(ocd), f"OCD, {len(found.draws)} draws", "ours")]
    numbers = []
    if question.truth is not None:
        truth = question.truth
        shown.append(figure(image(truth), "right view", "truth"))
        numbers = [
            tile("Base", _decibels(base, truth), "PSNR against the right view", "base"),
            tile("OCD", _decibels(ocd, truth), "PSNR against the right view", "ours"),
        ]
    maps = [_map("change of the base", (ocd - base).abs().mean(dim=0))]
    if found.std is not None:
        spread = found.std[0].mean(dim=0)
        said = f"± {short(float(spread.mean()))}"
        numbers.append(tile("Uncertainty", said, "of a colour from 0 to 1"))
        maps.insert(0, _map("uncertainty", spread))
    draws = [figure(image(draw[0]), f"draw {number}") for number, draw in enumerate(found.draws, 1)]
    return (
        tiles(numbers)
        + section("Side by side", figures(shown))
        + section("Where", figures(maps), "The draws' deviation, and how far OCD moved the base.")
        + section("Draws", f'<div class="small-figures">{figures(draws)}</div>')
    )


def _map(name: str, values: torch.Tensor) -> str:
    """Values (H, W) from 0 on as colours, with the largest in words."""
    largest = float(values.max())
    return figure(heat(values, largest), f"{name}, white 0 to dark {short(largest)}")


def _decibels(view: torch.Tensor, truth: torch.Tensor) -> str:
    """Peak signal to noise ratio of a view, -10 log10 of the mean squared error: the peak is 1."""
    error = float((view - truth).square().mean())
    return f"{-10 * math.log10(max(error, 1e-12)):.2f} dB"
