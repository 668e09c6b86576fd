"""Eq. 5–7: noising, and the sampler against the formula written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ocd import OCDError
from ocd.generator import DiffusionConfig
from ocd.generator.diffusion import Diffusion

SHAPE = (3, 2, 7)  # B, K, code


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def transcribed_ddim(denoise, noise, prediction, T=1000, steps=10):
    """Song et al. (2021), Eq. 12 without noise on the way, in double precision; the last ᾱ is 1."""
    betas = torch.linspace(1e-6, 1e-2, T, dtype=torch.float64)
    alphas = (1 - betas).cumprod(0)
    code, times = noise, [i * (T // steps) for i in range(steps)][::-1]
    for t in times:
        alpha = alphas[t]
        before = alphas[t - T // steps] if t >= T // steps else torch.ones((), dtype=torch.float64)
        answer = denoise(code, t)
        if prediction == "epsilon":
            epsilon = answer
            clean = (code - (1 - alpha).sqrt() * epsilon) / alpha.sqrt()
        else:
            clean = answer
            epsilon = (code - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        code = before.sqrt() * clean + (1 - before).sqrt() * epsilon
    return code


@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
def test_sampler_agrees_with_the_formula(prediction):
    mix = normal(7, 7, seed=1) / 3

    def denoise(code, t):  # any smooth function of the code and of t
        return torch.tanh(code @ mix.to(code) + t / 1000)

    noise = normal(*SHAPE, seed=2)
    expected = transcribed_ddim(denoise, noise, prediction)
    actual = Diffusion(DiffusionConfig(prediction=prediction)).sample(denoise, noise.float())
    assert torch.allclose(actual.double(), expected, atol=3e-5)


def test_sampling_leaves_the_global_random_state():
    before = torch.get_rng_state()
    for solver in ("ddim", "dpm"):
        noise = normal(*SHAPE).float()
        Diffusion(DiffusionConfig(solver=solver)).sample(lambda code, t: code / 2, noise)
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_are_the_released_ones():
    assert Diffusion(DiffusionConfig()).scheduler().timesteps.tolist() == list(range(900, -1, -100))
    paper = DiffusionConfig(10, 1e-4, 1e-2)
    assert Diffusion(paper).scheduler().timesteps.tolist() == list(range(9, -1, -1))


@pytest.mark.parametrize("config", [DiffusionConfig(), DiffusionConfig(10, 1e-4, 1e-2)])
@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
def test_a_perfect_denoiser_gives_the_clean_code(config, prediction):
    clean = 5 * normal(*SHAPE, seed=4).float()  # far outside [-1, 1]: nothing may be clipped
    diffusion = Diffusion(replace(config, prediction=prediction))

    def denoise(code, t):
        alpha = diffusion.alphas_cumprod[t]
        return clean if prediction == "x0" else (code - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    drawn = diffusion.sample(denoise, normal(*SHAPE, seed=5).float())
    assert torch.allclose(drawn, clean, atol=1e-4)


@pytest.mark.parametrize("t", [0, 300, 999])
def test_noising_has_the_right_mean_and_variance(t):
    diffusion, count = Diffusion(DiffusionConfig()), 200_000
    clean = torch.tensor([2.0, -0.5]).expand(count, 1, 2)
    noise = normal(count, 1, 2, seed=t).float()
    noisy = diffusion.noising(clean, noise, torch.full((count, 1), t))
    betas = torch.linspace(1e-6, 1e-2, 1000, dtype=torch.float64)
    alpha = float((1 - betas)[: t + 1].prod())
    deviation = math.sqrt(1 - alpha)
    error = 5 * deviation / math.sqrt(count)
    assert noisy.mean(dim=0)[0].tolist() == pytest.approx(
        [2 * alpha**0.5, -0.5 * alpha**0.5], abs=error + 1e-5
    )
    assert noisy.std(dim=0)[0].tolist() == pytest.approx([deviation] * 2, rel=0.01)


def test_every_noise_level_is_an_example_of_its_own():
    """t of shape (B, K) is not broadcast along another dimension, of codes of any shape."""
    diffusion = Diffusion(DiffusionConfig())
    clean, noise = normal(2, 2, 3, 4).float(), normal(2, 2, 3, 4, seed=1).float()
    t = torch.tensor([[0, 10], [500, 999]])
    noisy = diffusion.noising(clean, noise, t)
    for b in range(2):
        for k in range(2):
            alpha = diffusion.alphas_cumprod[t[b, k]]
            expected = alpha.sqrt() * clean[b, k] + (1 - alpha).sqrt() * noise[b, k]
            assert torch.allclose(noisy[b, k], expected)


def test_what_the_presets_end_in():
    """`paper` never sees noise in training (docs/deviations.md); `released` does."""
    paper = Diffusion(DiffusionConfig(10, 1e-4, 1e-2)).alphas_cumprod[-1]
    released = Diffusion(DiffusionConfig()).alphas_cumprod[-1]
    assert paper == pytest.approx(0.95, abs=0.01)
    assert released < 0.01


def test_targets():
    clean, noise = torch.zeros(1), torch.ones(1)
    assert Diffusion(DiffusionConfig()).target(clean, noise) is clean
    assert Diffusion(DiffusionConfig(prediction="epsilon")).target(clean, noise) is noise


def test_mean_is_one_pass_at_the_last_level():
    seen = []

    def denoise(code, t):
        seen.append((code.abs().max().item(), t))
        return code + 7

    answer = Diffusion(DiffusionConfig()).mean(denoise, torch.empty(SHAPE))
    assert seen == [(0.0, 999)]
    assert torch.equal(answer, torch.full(SHAPE, 7.0))
    with pytest.raises(OCDError, match="mode='mean' needs diffusion.prediction = 'x0'"):
        Diffusion(DiffusionConfig(prediction="epsilon")).mean(denoise, torch.empty(SHAPE))


def gaussian(diffusion, deviation):
    """The best answer for codes N(0, deviation²), and where the probability flow ends from a noise."""

    def denoise(code, t):
        alpha = diffusion.alphas_cumprod[t]
        clean = alpha.sqrt() * deviation**2 / (alpha * deviation**2 + 1 - alpha) * code
        if diffusion.config.prediction == "x0":
            return clean
        return (code - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    last = diffusion.alphas_cumprod[diffusion.scheduler().timesteps[0]]
    return denoise, deviation / (last * deviation**2 + 1 - last).sqrt()


@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
@pytest.mark.parametrize("deviation", [0.1, 0.3, 1.0])
def test_dpm_needs_fewer_steps_than_ddim(prediction, deviation):
    """Of Gaussian codes the flow is known: five steps of the one are nearer to it than ten of the
    other, and both come to it."""
    noise = normal(*SHAPE, seed=2).float()
    errors = {}
    for solver, steps in (("ddim", 10), ("ddim", 200), ("dpm", 5), ("dpm", 20), ("dpm", 40)):
        diffusion = Diffusion(
            DiffusionConfig(prediction=prediction, num_sampling_steps=steps, solver=solver)
        )
        denoise, factor = gaussian(diffusion, deviation)
        found = diffusion.sample(denoise, noise) / noise
        errors[solver, steps] = float((found / factor - 1).abs().max())
    assert errors["dpm", 5] < 0.7 * errors["ddim", 10]
    assert errors["dpm", 20] < 0.3 * errors["ddim", 10]
    assert errors["dpm", 40] < 0.01
    assert errors["ddim", 200] < 0.1


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
def test_a_perfect_denoiser_gives_the_clean_code_by_dpm_too(prediction, steps):
    clean = 5 * normal(*SHAPE, seed=4).float()
    diffusion = Diffusion(
        DiffusionConfig(prediction=prediction, num_sampling_steps=steps, solver="dpm")
    )

    def denoise(code, t):
        alpha = diffusion.alphas_cumprod[t]
        return clean if prediction == "x0" else (code - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    drawn = diffusion.sample(denoise, normal(*SHAPE, seed=5).float())
    assert torch.allclose(drawn, clean, atol=1e-4)


def test_an_unknown_solver_is_refused():
    with pytest.raises(OCDError, match="diffusion.solver is 'euler': use one of"):
        DiffusionConfig(solver="euler")
