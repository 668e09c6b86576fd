"""Corruptions: repeated exactly, in range, worse with severity, each of its own kind."""

from __future__ import annotations

import pytest
import torch

from ocd import OCDError
from ocd.tasks.images.corruption import (
    CIFAR10_C,
    DIGITS_C,
    KINDS,
    Corruption,
    check_corruption,
    corrupted,
)


def images(channels: int = 3) -> torch.Tensor:
    return torch.rand(5, channels, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "strengths"), [(1, DIGITS_C), (3, CIFAR10_C)])
def test_corruptions_are_repeated_exactly_stay_in_range_and_grow(kind, channels, strengths) -> None:
    clean, distances = images(channels), []
    for severity in range(1, 6):
        worse = Corruption(kind, severity).apply(clean, strengths, seed=1)
        assert worse.shape == clean.shape and worse.min() >= 0 and worse.max() <= 1
        assert torch.equal(worse, Corruption(kind, severity).apply(clean, strengths, seed=1))
        distances.append(float((worse - clean).square().mean()))
    assert distances == sorted(distances) and distances[0] > 0


def test_noise_depends_on_the_seed_and_has_its_deviation() -> None:
    clean = torch.full((50, 3, 32, 32), 0.5)
    first = Corruption("noise", 5).apply(clean, CIFAR10_C, 1)
    assert not torch.equal(first, Corruption("noise", 5).apply(clean, CIFAR10_C, 2))
    assert (first - clean).std() == pytest.approx(0.10, rel=0.02)


def test_a_constant_image_has_nothing_to_blur_and_no_contrast_to_lose() -> None:
    clean = torch.full((2, 1, 28, 28), 0.3)
    for kind in ("blur", "contrast"):
        assert torch.allclose(Corruption(kind, 5).apply(clean, DIGITS_C, 0), clean, atol=1e-6)
    left = Corruption("contrast", 5).apply(images(), CIFAR10_C, 0)
    spread = images().std(dim=(2, 3))
    assert torch.allclose(left.std(dim=(2, 3)), 0.15 * spread, atol=1e-5)


def test_mixed_has_all_kinds_and_leaves_a_fifth_alone() -> None:
    clean = torch.rand(400, 1, 28, 28)
    found = corrupted(clean, "mixed", "train_corruption", DIGITS_C, seed=3)
    assert torch.equal(found, corrupted(clean, "mixed", "train_corruption", DIGITS_C, seed=3))
    alone = (found == clean).flatten(1).all(dim=1).sum()
    assert 50 < alone < 110
    assert torch.equal(corrupted(clean, "none", "corruption", DIGITS_C, seed=3), clean)


@pytest.mark.parametrize("text", ["noise", "noise,0", "noise,6", "fog,2", "", "noise,1,2", "mixed,2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(OCDError, match="^corruption is .* use none, mixed, or NAME,SEVERITY"):
        check_corruption(text, "corruption")
