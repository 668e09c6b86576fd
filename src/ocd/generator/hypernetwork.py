"""g(x, I(x)) of Eq. 2: codec + conditioning + denoiser + scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd.base import Delta
from ocd.data import Inputs, call
from ocd.errors import OCDError
from ocd.generator.codecs import make_codec
from ocd.generator.conditioning import ConditionConfig, Conditioning, Features
from ocd.generator.denoisers import DenoiserConfig, make_denoiser
from ocd.generator.diffusion import Diffusion, DiffusionConfig
from ocd.generator.scale import ScaleConfig, ScaleNetwork, bounded_exp, code_scale


@dataclass(frozen=True)
class Shapes:
    """Everything that the parameters' shapes follow from; saved beside them."""

    code: str
    code_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    features: dict[str, int]
    encoder_features: int

    @classmethod
    def of(
        cls,
        code: str,
        weight_shape: tuple[int, ...],
        num_components: int,
        features: dict[str, int],
        encoder_features: int,
    ) -> Shapes:
        codec = make_codec(code, weight_shape, num_components)
        return cls(code, codec.code_shape, weight_shape, features, encoder_features)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Shapes:
        return cls(
            **{
                **values,
                "code_shape": tuple(values["code_shape"]),
                "weight_shape": tuple(values["weight_shape"]),
            }
        )


@dataclass(frozen=True)
class Embedding:
    """The conditions of the denoiser and of the scale network, (B, C) each."""

    denoiser: Tensor
    scale: Tensor

    def take(self, index: Tensor) -> Embedding:
        return Embedding(self.denoiser[index], self.scale[index])


class _Correction(nn.Module):
    """Condition (B, C) -> (B, *code_shape), in units of the training deltas' mean scale; at first 0."""

    def __init__(self, condition_size: int, code_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.code_shape = code_shape
        self.hidden = nn.Linear(condition_size, condition_size)
        self.leave = nn.Linear(condition_size, math.prod(code_shape))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, condition: Tensor) -> Tensor:
        hidden = F.silu(self.hidden(F.silu(condition)))
        answer: Tensor = self.leave(hidden)
        return answer.view(len(condition), *self.code_shape)


class HyperNetwork(nn.Module):
    """Generates deltas from I(x) (and x): what is trained, saved and shared.

    `encoder` is the user's module for x; its parameters are trained with the rest. `correction`:
    beyond the paper, whether a small network of the condition adds to every generated code. It
    learns from the base's own loss alone (`training.task_loss_weight`), which acts badly through
    scale · direction: while directions are still random, every scale is made to vanish.
    """

    log_scale_mean: Tensor
    log_scale_std: Tensor
    mean_scale: Tensor
    spread: Tensor
    scale_factor: Tensor
    skip_below: Tensor

    def __init__(
        self,
        shapes: Shapes,
        condition: ConditionConfig,
        denoiser: DenoiserConfig,
        diffusion: DiffusionConfig,
        scale: ScaleConfig,
        encoder: nn.Module | None = None,
        correction: bool = False,
        student: bool = False,
    ) -> None:
        super().__init__()
        if (encoder is None) != (shapes.encoder_features == 0):
            wanted = "with" if shapes.encoder_features else "without"
            raise OCDError(f"this generator was made {wanted} an encoder of x: pass the same `encoder`")
        self.shapes = shapes
        self.scale_config = scale
        self.joint, self.constant = scale.kind == "joint", scale.kind == "constant"
        if self.joint and len(shapes.code_shape) != 1:
            raise OCDError(
                f"scale.kind 'joint' needs a code that is a vector, not {shapes.code!r}: use 'log'"
            )
        self.codec = make_codec(shapes.code, shapes.weight_shape, shapes.code_shape[0])
        self.diffusion = Diffusion(diffusion)
        diffused = (shapes.code_shape[0] + 1,) if self.joint else shapes.code_shape
        self.diffused_shape: tuple[int, ...] = diffused
        self.denoiser = make_denoiser(diffused, denoiser)
        # Answers from noise what all steps of the denoiser lead to (ocd.distillation).
        self.student = make_denoiser(diffused, denoiser) if student else None
        size = self.denoiser.condition_size
        arguments = (shapes.features, size, condition, shapes.encoder_features)
        self.conditioning = Conditioning(*arguments)
        self.scale_conditioning = Conditioning(*arguments) if scale.own_encoders else None
        drawn = self.joint or self.constant
        self.scale = None if drawn else ScaleNetwork(size, scale)
        self.encoder = encoder
        self.correction = _Correction(size, shapes.code_shape) if correction else None
        self._part = "all"
        self.register_buffer("log_scale_mean", torch.zeros(()))
        self.register_buffer("log_scale_std", torch.ones(()))
        self.register_buffer("mean_scale", torch.ones(()))
        # Chosen after training (ocd.sampling); 1 is the paper's way.
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("scale_factor", torch.ones(()))
        self.register_buffer("skip_below", torch.zeros(()))

    def calibrate(self, features: Features, codes: Tensor) -> None:
        """Take feature and scale statistics from some training examples. codes: (N, *code)."""
        self.conditioning.fit(features)
        if self.scale_conditioning is not None:
            self.scale_conditioning.fit(features)
        scale = code_scale(codes, self.scale_config.normalization)
        self.mean_scale.copy_(scale.mean())
        self.log_scale_mean.copy_(scale.log().mean())
        self.log_scale_std.copy_(scale.log().std(unbiased=False).clamp_min(1e-3))

    def embed(self, features: Features, inputs: Inputs) -> Embedding:
        """E_i + E_a + E_o (+ the encoded x): computed once, whatever the draws and steps."""
        encoded = call(self.encoder, inputs) if self.encoder is not None else None
        condition = self.conditioning(features, encoded)
        if self.scale_conditioning is None:
            return Embedding(condition, condition)
        return Embedding(condition, self.scale_conditioning(features, encoded))

    def losses(
        self, embedding: Embedding, codes: Tensor, t: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 7 and Eq. 8 on a batch: scalars `denoise_loss`, `scale_loss` and their sum `loss`.

        codes (B, *code) of overfitted deltas; t (B, M), noise (B, M, *diffused) for M noise levels
        an example.
        """
        scale = code_scale(codes, self.scale_config.normalization)
        if self.constant:
            scale = self.mean_scale.expand(len(codes))
        direction = codes / scale.view(-1, *[1] * (codes.dim() - 1))
        if self.joint:
            standard = (scale.log() - self.log_scale_mean) / self.log_scale_std
            direction = torch.cat([direction, standard[:, None]], dim=1)
        clean = direction[:, None].expand_as(noise)
        noisy = self.diffusion.noising(clean, noise, t)
        answer = self.denoiser(noisy, t, embedding.denoiser)
        denoise_loss = (answer - self.diffusion.target(clean, noise)).square().mean()
        if self.scale is None:
            return {"denoise_loss": denoise_loss, "loss": denoise_loss}
        statistics = (self.log_scale_mean, self.log_scale_std)
        scale_loss = self.scale.loss(embedding.scale, scale, *statistics)
        return {
            "denoise_loss": denoise_loss,
            "scale_loss": scale_loss,
            "loss": denoise_loss + scale_loss,
        }

    @contextmanager
    def only(self, part: str) -> Iterator[None]:
        """Within it, generated codes are one part of what they are otherwise, for ablations.

        "diffusion": without the correction, and sampled as the paper does (spread and factor 1, no
        example skipped). "correction": the correction alone. "all": nothing changes.
        """
        paper = {"spread": 1.0, "scale_factor": 1.0, "skip_below": 0.0}
        chosen = {name: float(self.get_buffer(name)) for name in paper}
        self._part = part
        if part == "diffusion":
            self.set_sampling(**paper)
        try:
            yield
        finally:
            self._part = "all"
            self.set_sampling(**chosen)

    def set_sampling(self, **values: float) -> None:
        """Set `spread`, `scale_factor` or `skip_below`."""
        for name, value in values.items():
            self.get_buffer(name).fill_(value)

    def draw(
        self, embedding: Embedding, rows: Tensor | None, noise: Tensor, use_mean_scale: bool = False
    ) -> Delta:
        """Alg. 2: a delta for every noise. `rows`: what the layer sees (Capture).

        `noise`, (B, K, N, *diffused): Ω_T, and where eta > 0 that of each step (`num_noises`).
        `use_mean_scale` is the paper's ablation "no scale": the training set's mean ρ for all.
        Beyond the paper, each draw is brought nearer to the mean where `spread` is below 1, and an
        example whose mean delta is shorter than `skip_below` is not moved at all.
        """
        if self.spread == 1 and self.skip_below == 0:
            return self._decode(self.draw_code(embedding, noise, use_mean_scale), rows)
        mean = self.mean_code(embedding, use_mean_scale)
        index = (self.sizes(mean) >= self.skip_below).nonzero()[:, 0]
        if len(index) < len(mean):
            embedding, noise = embedding.take(index), noise[index]
        code = self.draw_code(embedding, noise, use_mean_scale)
        code = mean[index] + self.spread * (code - mean[index])
        if len(index) < len(mean):
            every = code.new_zeros(len(mean), *code.shape[1:])
            code = every.index_copy(0, index, code)
        return self._decode(code, rows)

    def sizes(self, mean: Tensor) -> Tensor:
        """‖delta‖ of mean codes (B, 1, *code_shape): (B,), the norm of a code being its delta's."""
        return (self.scale_factor * mean).flatten(1).float().norm(dim=1)

    def mean(self, embedding: Embedding, rows: Tensor | None, use_mean_scale: bool = False) -> Delta:
        """The expected direction with its scale, one delta an example, from one denoiser pass."""
        return self._decode(self.mean_code(embedding, use_mean_scale), rows)

    def _decode(self, code: Tensor, rows: Tensor | None) -> Delta:
        """In full precision, whatever the code was made in."""
        with torch.autocast(code.device.type, enabled=False):
            delta: Delta = self.codec.decode(self.scale_factor * code.float(), rows)
        return delta

    def draw_code(self, embedding: Embedding, noise: Tensor, use_mean_scale: bool = False) -> Tensor:
        """Alg. 2 as the paper has it: a code for every noise, (B, K, *code_shape)."""
        start, *steps = noise.unbind(dim=2)
        clean = self.clean_draw(embedding, start, torch.stack(steps) if steps else None)
        return self._scaled(clean, embedding, use_mean_scale)

    def clean_draw(
        self, embedding: Embedding, start: Tensor, step_noise: Tensor | None = None
    ) -> Tensor:
        """Ω_0 of Alg. 2, (B, K, *diffused_shape), from Ω_T = `start`: the student's if there is one."""
        if self.student is None:
            return self.steps_of_draw(embedding, start, step_noise)
        clean: Tensor = self.student(start, self.level(self.diffusion.last_step), embedding.denoiser)
        return clean

    def steps_of_draw(
        self, embedding: Embedding, start: Tensor, step_noise: Tensor | None = None
    ) -> Tensor:
        """Ω_0 of Alg. 2, (B, K, *diffused_shape), by all steps of the denoiser from Ω_T = `start`."""
        return self.diffusion.sample(self._denoise(embedding), start, step_noise)

    def mean_code(self, embedding: Embedding, use_mean_scale: bool = False) -> Tensor:
        """The expected code, (B, 1, *code_shape)."""
        return self._scaled(self.clean_mean(embedding), embedding, use_mean_scale)

    def clean_mean(self, embedding: Embedding) -> Tensor:
        """The expected Ω_0, (B, 1, *diffused_shape)."""
        like = embedding.denoiser.new_empty(len(embedding.denoiser), 1, *self.diffused_shape)
        return self.diffusion.mean(self._denoise(embedding), like)

    def _denoise(self, embedding: Embedding) -> Callable[[Tensor, int], Tensor]:
        def denoise(code: Tensor, t: int) -> Tensor:
            answer: Tensor = self.denoiser(code, self.level(t), embedding.denoiser)
            return answer

        return denoise

    def level(self, t: int) -> Tensor:
        """One noise level for all codes, as a denoiser takes it."""
        return torch.full((1, 1), t, device=self.spread.device)

    def _scaled(self, clean: Tensor, embedding: Embedding, use_mean_scale: bool) -> Tensor:
        """ρ · Ω_0 (Alg. 2, last line), and the correction where there is one."""
        statistics = (self.log_scale_mean, self.log_scale_std)
        if self.joint:
            direction = clean[..., :-1]
            scale = bounded_exp(clean[..., -1], *statistics)  # (B, K)
        elif self.scale is None:
            direction, scale = clean, self.mean_scale.expand(len(clean), 1)
        else:
            direction = clean
            scale = self.scale(embedding.scale, *statistics)[:, None]  # (B, 1)
        if use_mean_scale:
            scale = self.mean_scale.expand(len(clean), 1)
        code = direction * scale.reshape(*scale.shape, *[1] * len(self.shapes.code_shape))
        if self.correction is None or self._part == "diffusion":
            return code
        correction = self.mean_scale * self.correction(embedding.denoiser)[:, None]
        return correction.expand_as(code) if self._part == "correction" else code + correction
