"""Eq. 5–7: noising, the objective, and sampling from noise to a direction.

Ω_t = √ᾱ_t · direction + √(1−ᾱ_t) · ε, where ᾱ_t is the running product of 1 − β_t and β is linear in t.

    diffusion = Diffusion(DiffusionConfig())
    noisy = diffusion.noising(clean, noise, t)
    clean = diffusion.sample(denoise, noise)     # denoise(code, t) is the network

DDIM is written out here, in the steps of diffusers' own (bit for bit, by a test): importing diffusers
takes longer than torch, and every process that predicts would wait for it. DPM-Solver++ is diffusers'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ocd.errors import OCDError

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

Denoise = Callable[[Tensor, int], Tensor]
PREDICTIONS = ("x0", "epsilon")
SOLVERS = ("ddim", "dpm", "one_step")
MEAN_NOISES = 32
"""Noises over which the answers of a generator of one step are averaged for its mean."""


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise schedule, what the denoiser predicts, and how many steps a draw takes."""

    num_train_steps: int = 1000
    """T, the number of noise levels in training."""
    beta_start: float = 1e-6
    """β of the first noise level."""
    beta_end: float = 1e-2
    """β of the last noise level."""
    prediction: str = "x0"
    """x0 (the clean direction) or epsilon (the noise, Eq. 7)."""
    num_sampling_steps: int = 10
    """Denoiser passes of one draw."""
    solver: str = "ddim"
    """ddim (released, without noise on the way); dpm: DPM-Solver++ of second order, for few steps; or
    one_step (beyond the paper): no diffusion, one pass from noise to a code, which is learnt by a
    proper score of draws alone (`training.score_weight`)."""

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise OCDError(f"diffusion.prediction is {self.prediction!r}: use one of {PREDICTIONS}")
        if self.solver not in SOLVERS:
            raise OCDError(f"diffusion.solver is {self.solver!r}: use one of {SOLVERS}")
        if not 1 <= self.num_sampling_steps <= self.num_train_steps:
            raise OCDError(
                f"diffusion.num_sampling_steps is {self.num_sampling_steps}: it must lie between 1 "
                f"and num_train_steps = {self.num_train_steps}"
            )


class Diffusion:
    """The schedule of one DiffusionConfig. Codes have shape (B, K, *code); t has shape (B, K)."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        betas = torch.linspace(config.beta_start, config.beta_end, config.num_train_steps)
        self.alphas_cumprod = self._where_trained = (1.0 - betas).cumprod(dim=0)

    @property
    def is_one_step(self) -> bool:
        """Whether one pass makes a code from noise, and nothing is denoised."""
        return self.config.solver == "one_step"

    @property
    def last_step(self) -> int:
        """The noisiest level, T − 1."""
        return self.config.num_train_steps - 1

    def noising(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Eq. 6: Ω_t of clean codes at noise levels t."""
        self._where_trained = self._where_trained.to(clean.device)  # sent once
        alpha = self._where_trained[t]
        alpha = alpha.view(*t.shape, *[1] * (clean.dim() - t.dim()))
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the denoiser learns to predict: ε (Eq. 7), or the clean code itself."""
        return noise if self.config.prediction == "epsilon" else clean

    def scheduler(self) -> DDIMScheduler | DPMSolverMultistepScheduler:
        """diffusers' scheduler of this configuration, set to its sampling steps.

        Samples are not clipped: directions are not images in [-1, 1]. DDIM's noise levels are those of
        the released code. DPM-Solver++'s are evenly spaced in the logarithm of signal to noise, as its
        authors recommend (Lu et al. 2022), so that few steps are enough.
        """
        common = {
            "num_train_timesteps": self.config.num_train_steps,
            "beta_start": self.config.beta_start,
            "beta_end": self.config.beta_end,
            "beta_schedule": "linear",
            "prediction_type": "sample" if self.config.prediction == "x0" else "epsilon",
        }
        scheduler: DDIMScheduler | DPMSolverMultistepScheduler
        if self.config.solver == "dpm":
            from diffusers import DPMSolverMultistepScheduler

            scheduler = DPMSolverMultistepScheduler(**common, use_lu_lambdas=True)
        else:
            from diffusers import DDIMScheduler

            scheduler = DDIMScheduler(
                **common, clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading"
            )
        scheduler.set_timesteps(self.config.num_sampling_steps)
        return scheduler

    def sample(self, denoise: Denoise, noise: Tensor) -> Tensor:
        """Alg. 2: from Ω_T = noise to Ω_0. `denoise(code, t)` answers for one noise level at a time."""
        if self.is_one_step:
            return denoise(noise, self.last_step)
        if self.config.solver == "ddim":
            return self._sample_ddim(denoise, noise)
        if self.config.solver != "dpm":
            raise ValueError(f"no steps for the solver {self.config.solver!r}")
        scheduler = self.scheduler()
        code = noise
        for t in scheduler.timesteps.tolist():
            code = scheduler.step(denoise(code, t), t, code).prev_sample
        return code

    def _sample_ddim(self, denoise: Denoise, noise: Tensor) -> Tensor:
        """DDIM without noise on the way (Song et al. 2021, Eq. 12, η = 0), its levels evenly spaced."""
        stride = self.config.num_train_steps // self.config.num_sampling_steps
        one = torch.ones(())
        code = noise
        for step in reversed(range(self.config.num_sampling_steps)):
            t = step * stride
            alpha = self.alphas_cumprod[t]
            before = self.alphas_cumprod[t - stride] if t >= stride else one
            answer = denoise(code, t)
            if self.config.prediction == "x0":
                clean, noisy = answer, (code - alpha**0.5 * answer) / (1 - alpha) ** 0.5
            else:
                clean, noisy = (code - (1 - alpha) ** 0.5 * answer) / alpha**0.5, answer
            code = before**0.5 * clean + (1 - before) ** 0.5 * noisy
        return code

    def mean(self, denoise: Denoise, like: Tensor) -> Tensor:
        """The conditional mean in one pass: the clean code that is expected of pure noise.

        At the last t the noisy code says (almost) nothing about the clean one, so the least-squares
        answer is E[direction | I(x)]. The denoiser is evaluated at the noise's own mean, zero. Raises
        OCDError for ε-prediction, whose answer would have to be divided by √ᾱ_T ≈ 0.
        """
        if self.config.prediction != "x0":
            raise OCDError(
                "mode='mean' needs diffusion.prediction = 'x0'; this generator predicts the noise: "
                "use mode='draws' and the prediction's mean_network"
            )
        if self.is_one_step:
            half = torch.randn(
                MEAN_NOISES // 2, *like.shape[2:], generator=torch.Generator().manual_seed(0)
            )
            noise = torch.cat([half, -half]).to(like)
            return denoise(noise.expand(len(like), *noise.shape), self.last_step).mean(1, keepdim=True)
        return denoise(torch.zeros_like(like), self.last_step)
