"""Views: images of base and OCD, where the draws differ, and where OCD changed the base."""

from __future__ import annotations

import math

import torch

from ocd.applying import Answers
from ocd.demo.pieces import figure, figures, heat, image, section, short, tile, tiles
from ocd.demo.shown import Question


def view_answer(found: Answers, question: Question) -> str:
    """Colours (3, H, W)."""
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
    moved = (ocd - base).abs().mean(dim=0)
    maps = [
        figure(
            heat(moved, float(moved.max())),
            f"change of the base, white 0 to dark {short(float(moved.max()))}",
        )
    ]
    if found.std is not None:
        spread = found.std[0].mean(dim=0)
        numbers.append(
            tile("Uncertainty", f"± {short(float(spread.mean()))}", "of a colour from 0 to 1")
        )
        maps.insert(0, figure(
            heat(spread, float(spread.max())), f"uncertainty, white 0 to dark {short(float(spread.max()))}"
        ))  # fmt: skip
    draws = [figure(image(draw[0]), f"draw {number}") for number, draw in enumerate(found.draws, 1)]
    return (
        tiles(numbers)
        + section("Side by side", figures(shown))
        + section("Where", figures(maps), "The draws' deviation, and how far OCD moved the base.")
        + section("Draws", f'<div class="small-figures">{figures(draws)}</div>')
    )


def _decibels(view: torch.Tensor, truth: torch.Tensor) -> str:
    """Peak signal to noise."""
    error = float((view - truth).square().mean())
    return f"{-10 * math.log10(max(error, 1e-12)):.2f} dB"
