"""The U-Net on padded matrices and the MLP: shapes, sizes, conditions."""

from __future__ import annotations

import math

import pytest
import torch

from ocd import OCDConfig, OCDError
from ocd.generator import Conditioning, DenoiserConfig, MLPDenoiser
from ocd.generator.denoisers import (
    ATTENTION_SIDE,
    LEVELS,
    UNetDenoiser,
    make_denoiser,
    sinusoidal_encoding,
    sinusoidal_frequencies,
)

SMALL = DenoiserConfig(kind="unet", channels=8)
PAPER = (LEVELS, ATTENTION_SIDE)
"""As the library has them: the tests' own are set when they run."""


def set_levels(monkeypatch: pytest.MonkeyPatch, levels: tuple[int, ...], side: int) -> None:
    monkeypatch.setattr("ocd.generator.denoisers.LEVELS", levels)
    monkeypatch.setattr("ocd.generator.denoisers.ATTENTION_SIDE", side)


@pytest.fixture(autouse=True)
def two_downsamplings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small U-Net, with attention in the middle of a matrix of side 12."""
    set_levels(monkeypatch, (1, 2, 2), 6)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def both() -> list[tuple[torch.nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    mlp = MLPDenoiser((7,), DenoiserConfig(width=16))
    return [(mlp, (7,)), (UNetDenoiser((5, 9), SMALL).eval(), (5, 9))]


def test_released_unet_has_the_authors_size(monkeypatch):
    assert PAPER == ((1, 1, 2, 2, 4, 4), 16)
    set_levels(monkeypatch, *PAPER)
    with torch.device("meta"):  # no memory, no time
        unet = UNetDenoiser((84, 120), OCDConfig.preset("released").denoiser)
        paper = UNetDenoiser((84, 120), OCDConfig.preset("paper").denoiser)
    assert unet.side == 128
    # The authors' count holds the encoders of I(x) too: LeNet5's fc1 sees 120 numbers, gives 84.
    sizes = {"layer_input": 120, "layer_output": 84, "output": 10}
    encoders = Conditioning(sizes, unet.condition_size, OCDConfig.preset("released").condition)
    assert (count(unet) + count(encoders)) / 1e6 == pytest.approx(110.1, abs=0.05)
    attends = [type(block).__name__.startswith("Attn") for block in unet.unet.down_blocks]
    assert attends == [False, False, False, True, False, False]  # 128 / 2**3 = 16
    assert len(unet.unet.mid_block.attentions) == 1
    assert len(paper.unet.mid_block.attentions) == 2
    dropouts = {m.p for m in unet.modules() if isinstance(m, torch.nn.Dropout)}
    assert 0.4 in dropouts


def test_dropout_of_the_mlp_acts_in_training_alone():
    torch.manual_seed(0)
    mlp = MLPDenoiser((6,), DenoiserConfig(width=32, dropout=0.5))
    given = torch.randn(2, 3, 6), torch.tensor([[7]]), torch.randn(2, 32)
    assert not torch.equal(mlp(*given), mlp(*given))
    assert torch.equal(mlp.eval()(*given), mlp(*given))
    plain = MLPDenoiser((6,), DenoiserConfig(width=32))
    plain.load_state_dict(mlp.state_dict())
    assert torch.equal(plain(*given), mlp(*given))
    with pytest.raises(OCDError, match=r"denoiser.dropout is 1.0: it must be at least 0 and below 1"):
        DenoiserConfig(dropout=1.0)


@pytest.mark.parametrize(("shape", "side"), [((5, 9), 12), ((12, 1), 12), ((3, 13), 16), ((1, 1), 4)])
def test_odd_matrices_are_padded_to_a_square_and_cropped(shape, side):
    unet = UNetDenoiser(shape, SMALL).eval()
    seen = {}

    def observe(module, args, kwargs, output):
        seen["padded"], seen["answer"] = args[0], output.sample

    unet.unet.register_forward_hook(observe, with_kwargs=True)
    noisy = random(2, 3, *shape)
    with torch.no_grad():
        answer = unet(noisy, torch.tensor([[4]]), random(2, 32))
    height, width = shape
    padded = seen["padded"]
    assert padded.shape == (6, 1, side, side)
    assert torch.equal(padded[:, 0, :height, :width], noisy.flatten(0, 1))
    assert padded.abs().sum() == pytest.approx(noisy.abs().sum().item(), rel=1e-5)  # zeros elsewhere
    assert torch.equal(answer, seen["answer"][:, 0, :height, :width].reshape(noisy.shape))


@pytest.mark.parametrize("shape", [(32,), (1, 32), (2, 1), (3, 32), (2, 31)])
def test_unet_refuses_a_condition_that_diffusers_would_broadcast(shape):
    unet = UNetDenoiser((5, 9), SMALL)
    with pytest.raises(ValueError, match=r"not \(2, 32\)"):
        unet(random(2, 1, 5, 9), torch.tensor([[0]]), random(*shape))


def test_unet_needs_a_matrix():
    with pytest.raises(OCDError, match="set codec.kind to 'dense'"):
        make_denoiser((7,), SMALL)


def test_answers_do_not_mix_examples_or_draws():
    """Row (b, k) follows its own code, level and condition, and no other's."""
    for denoiser, shape in both():
        noisy, condition = random(3, 2, *shape), random(3, denoiser.condition_size, seed=1)
        t = torch.tensor([[0, 10], [500, 7], [999, 3]])
        with torch.no_grad():
            together = denoiser(noisy, t, condition)
            for b in range(3):
                for k in range(2):
                    alone = denoiser(
                        noisy[b : b + 1, k : k + 1], t[b : b + 1, k : k + 1], condition[b : b + 1]
                    )
                    assert torch.allclose(together[b, k], alone[0, 0], atol=1e-5)


def test_level_and_condition_matter_and_one_level_serves_all():
    for denoiser, shape in both():
        noisy, condition = random(2, 3, *shape), random(2, denoiser.condition_size, seed=1)
        with torch.no_grad():
            one = denoiser(noisy, torch.full((1, 1), 800), condition)
            assert torch.allclose(one, denoiser(noisy, torch.full((2, 3), 800), condition), atol=1e-6)
            assert not torch.allclose(one, denoiser(noisy, torch.full((1, 1), 1), condition), atol=1e-4)
            assert not torch.allclose(
                one, denoiser(noisy, torch.full((1, 1), 800), -condition), atol=1e-4
            )


@pytest.mark.parametrize("number", [0, 1], ids=["mlp", "unet"])
def test_largest_activation_of_a_code_is_known(number):
    denoiser, shape = both()[number]
    sizes = []
    for module in denoiser.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda _, __, output: sizes.append(output[0].numel()))
    with torch.no_grad():
        denoiser(random(1, 1, *shape), torch.tensor([[4]]), random(1, denoiser.condition_size))
    assert denoiser.elements_per_code <= max(sizes) <= 2 * denoiser.elements_per_code


def test_encoding_of_the_level_is_the_transformers():
    t, size = torch.tensor([[0, 17], [3, 999]]), 10
    encoded = sinusoidal_encoding(t, sinusoidal_frequencies(size))
    for place in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        angles = [t[place].item() / 10_000 ** (i / 4) for i in range(5)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert encoded[place].tolist() == pytest.approx(expected, abs=1e-3)


def test_mlp_takes_codes_of_any_shape():
    denoiser = MLPDenoiser((3, 4), DenoiserConfig(width=16))
    assert denoiser(random(2, 5, 3, 4), torch.zeros(2, 5).long(), random(2, 16)).shape == (2, 5, 3, 4)
