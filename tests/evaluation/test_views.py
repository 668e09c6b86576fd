"""The images that are kept for the report."""

from __future__ import annotations

import torch

from helpers import fitted, test_digits
from ocd.evaluation import film_frames
from ocd.evaluation.views import pick_views


def test_views_are_evenly_spaced_and_have_the_pixels_of_the_outputs():
    outputs = torch.linspace(-0.5, 1.5, 29).view(29, 1, 1, 1).expand(29, 3, 2, 2)
    truth = torch.rand(29, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    views = pick_views({"base": outputs, "tent_1": outputs}, truth)
    assert views.keys() == {"base", "truth"}  # the other methods of the figure were not run
    picked = torch.tensor([0, 4, 8, 12, 16, 20, 24, 28])
    for name, images in {"base": outputs, "truth": truth}.items():
        assert views[name].dtype == torch.uint8
        expected = 255 * images[picked].clamp(0, 1)
        assert (views[name].float() - expected).abs().max() <= 0.5
    assert pick_views({}, truth[:3])["truth"].shape == (3, 3, 2, 2)


def test_film_frames_are_those_of_the_base_and_of_the_mean():
    ocd, inputs = fitted(), test_digits(5).inputs
    mean = ocd.predict(inputs, mode="mean")
    frames = film_frames(ocd, inputs)
    expected = {"film/base": mean.base, "film/ocd": mean.mean}
    assert frames.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(frames[name], (255 * values.clamp(0, 1)).round().to(torch.uint8))
