"""g(x, I(x)) of Eq. 2: a codec, the embedding of the condition, a denoiser and a scale network.

    embedding = network.embed(features, inputs)      # once for each example
    codes = network.draw_codes(embedding, noise)     # Alg. 2: one code for every noise
    delta = network.decode(codes, positions)         # back to deltas of the layer's weight

Codes have the shape (B, K, *code_shape) for B examples and K draws. The norm of a code is that of its
delta, and a code is scale · direction: the denoiser generates directions, Eq. 8 gives the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import Delta
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.generator.codecs import make_codec
from ocd.generator.conditioning import Conditioning, Features, encode_x
from ocd.generator.config import GeneratorConfig, Shapes
from ocd.generator.correction import Correction
from ocd.generator.denoisers import make_denoiser
from ocd.generator.diffusion import Diffusion
from ocd.generator.placement import Placement
from ocd.generator.scale import WIDEST, ScaleNetwork, bounded_exp, code_scale


@dataclass(frozen=True)
class Embedding:
    """The conditions of the denoiser and of the scale network, (B, C) each."""

    denoiser: Tensor
    scale: Tensor


class HyperNetwork(nn.Module):
    """Generates deltas from I(x), and from x itself where there is an encoder.

    This is what is trained, saved and shared. `encoder` is the user's module for x; its parameters are
    trained with the rest. Raises OCDError where `shapes` say otherwise about an encoder.
    """

    log_scale_mean: Tensor
    log_scale_std: Tensor
    largest_scale: Tensor
    mean_scale: Tensor
    spread: Tensor
    scale_factor: Tensor
    centre: Tensor
    balanced: Tensor

    def __init__(
        self, shapes: Shapes, config: GeneratorConfig, encoder: nn.Module | None = None
    ) -> None:
        super().__init__()
        if (encoder is None) != (shapes.encoder_features == 0):
            wanted = "with" if shapes.encoder_features else "without"
            raise OCDError(f"this generator was made {wanted} an encoder of x: pass the same `encoder`")
        scale = config.scale
        self.shapes = shapes
        self.scale_config = scale
        self.joint, self.constant = scale.kind == "joint", scale.kind == "constant"
        if self.joint and len(shapes.code_shape) != 1:
            raise OCDError(
                f"scale.kind 'joint' needs a code that is a vector, not {shapes.code!r}: use 'log'"
            )
        self.codec = make_codec(shapes.code, shapes.weight_shape, shapes.code_shape[0])
        self.diffusion = Diffusion(config.diffusion)
        diffused = (shapes.code_shape[0] + 1,) if self.joint else shapes.code_shape
        self.diffused_shape: tuple[int, ...] = diffused
        self.denoiser = make_denoiser(diffused, config.denoiser)
        size = self.denoiser.condition_size
        arguments = (shapes.features, size, config.condition, shapes.encoder_features)
        self.conditioning = Conditioning(*arguments)
        self.scale_conditioning = Conditioning(*arguments) if scale.own_encoders else None
        drawn = self.joint or self.constant
        self.scale = None if drawn else ScaleNetwork(size, scale)
        self.encoder = encoder
        self.correction = Correction(size, shapes.code_shape) if config.correction else None
        self._part = "all"
        self.register_buffer("log_scale_mean", torch.zeros(()))
        self.register_buffer("log_scale_std", torch.ones(()))
        self.register_buffer("largest_scale", torch.tensor(WIDEST))  # of log ρ, standardised
        self.register_buffer("mean_scale", torch.ones(()))
        # Chosen after training (ocd.prediction.sampling); 1 and 1 are the paper's way.
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("scale_factor", torch.ones(()))
        self.register_buffer("centre", torch.ones(()))
        self.register_buffer("balanced", torch.zeros(()))

    def calibrate(self, features: Features, codes: Tensor) -> None:
        """Take feature and scale statistics from N training examples. codes: (N, *code_shape)."""
        self.conditioning.fit(features)
        if self.scale_conditioning is not None:
            self.scale_conditioning.fit(features)
        scale = code_scale(codes, self.scale_config.normalization)
        self.mean_scale.copy_(scale.mean())
        self.log_scale_mean.copy_(scale.log().mean())
        self.log_scale_std.copy_(scale.log().std(unbiased=False).clamp_min(1e-3))
        largest = (scale.log().max() - self.log_scale_mean) / self.log_scale_std
        self.largest_scale.copy_(largest.clamp_max(WIDEST))

    def embed(self, features: Features, inputs: Inputs) -> Embedding:
        """E_i + E_a + E_o, and the encoded x: computed once, whatever the draws and steps."""
        features = {name: values.float() for name, values in features.items()}
        encoded = None if self.encoder is None else encode_x(self.encoder, inputs)
        condition = self.conditioning(features, encoded)
        if self.scale_conditioning is None:
            return Embedding(condition, condition)
        return Embedding(condition, self.scale_conditioning(features, encoded))

    def losses(
        self, embedding: Embedding, codes: Tensor, t: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 7 and Eq. 8 on a batch: scalars `denoise_loss`, `scale_loss` and their sum `loss`.

        codes (B, *code_shape) of overfitted deltas; t (B, M) and noise (B, M, *diffused_shape) for M
        noise levels an example.
        """
        scale = code_scale(codes, self.scale_config.normalization)
        if self.diffusion.is_one_step:  # there is no direction to denoise: a score of draws is learnt
            return {"loss": self.spread.new_zeros(())}
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

    # ------------------------------------------------------ codes and deltas

    def draw_codes(self, embedding: Embedding, noise: Tensor, use_mean_scale: bool = False) -> Tensor:
        """Alg. 2: a code for every noise, (B, K, *code_shape), with the chosen `spread`.

        `noise`: Ω_T, (B, K, *diffused_shape). `use_mean_scale`: the paper's ablation "no scale", the
        training set's mean ρ for all. Beyond the paper, each draw is moved towards the conditional mean
        where `spread` is below 1, and the mean itself towards 0 where `centre` is (`placement`).
        """
        codes, placement = self.raw_codes(embedding, noise, use_mean_scale), self.placement
        if placement.is_plain:
            return codes
        return placement.around(codes, self.raw_mean(embedding, use_mean_scale))

    @property
    def placement(self) -> Placement:
        """Where draws lie."""
        return Placement(float(self.centre), float(self.spread), bool(self.balanced))

    def raw_codes(self, embedding: Embedding, noise: Tensor, use_mean_scale: bool = False) -> Tensor:
        """Alg. 2 as the paper has it, without a spread: (B, K, *code_shape)."""
        return self._scaled(self.clean_draws(embedding, noise), embedding, use_mean_scale)

    def clean_draws(self, embedding: Embedding, noise: Tensor) -> Tensor:
        """Ω_0 of Alg. 2, (B, K, *diffused_shape), from Ω_T = `noise`."""
        return self.diffusion.sample(self._denoise(embedding), noise)

    def mean_codes(self, embedding: Embedding, use_mean_scale: bool = False) -> Tensor:
        """The expected code, (B, 1, *code_shape), from one pass of the denoiser, times `centre`."""
        return self.centre * self.raw_mean(embedding, use_mean_scale)

    def raw_mean(self, embedding: Embedding, use_mean_scale: bool = False) -> Tensor:
        """The expected code as it was learnt: (B, 1, *code_shape)."""
        return self._scaled(self.clean_mean(embedding), embedding, use_mean_scale)

    def clean_mean(self, embedding: Embedding) -> Tensor:
        """The expected Ω_0, (B, 1, *diffused_shape)."""
        like = embedding.denoiser.new_empty(len(embedding.denoiser), 1, *self.diffused_shape)
        return self.diffusion.mean(self._denoise(embedding), like)

    def decode(self, codes: Tensor, positions: Tensor | None) -> Delta:
        """Deltas of codes (B, K, *code_shape), multiplied by the chosen `scale_factor`.

        `positions`: what the layer sees (Capture), None for codes that do not need it. Always in full
        precision.
        """
        with torch.autocast(codes.device.type, enabled=False):
            delta: Delta = self.codec.decode(self.scale_factor * codes.float(), positions)
        return delta

    @contextmanager
    def only(self, part: str) -> Iterator[None]:
        """Within it, generated codes are one part of what they are otherwise, for ablations.

        "diffusion": without the correction, and drawn as in the paper (spread and factor 1).
        "correction": the correction alone. "all": nothing changes.
        """
        paper = {"spread": 1.0, "scale_factor": 1.0, "centre": 1.0}
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
        """Set `spread`, `scale_factor`, `centre`, or whether draws are `balanced` (1 or 0)."""
        for name, value in values.items():
            self.get_buffer(name).fill_(value)

    def level(self, t: int) -> Tensor:
        """One noise level for all codes, as a denoiser takes it."""
        return torch.full((1, 1), t, device=self.spread.device)

    def _denoise(self, embedding: Embedding) -> Callable[[Tensor, int], Tensor]:
        def denoise(code: Tensor, t: int) -> Tensor:
            answer: Tensor = self.denoiser(code, self.level(t), embedding.denoiser)
            return answer

        return denoise

    def _scaled(self, clean: Tensor, embedding: Embedding, use_mean_scale: bool) -> Tensor:
        """ρ · Ω_0 (Alg. 2, last line), plus the correction if there is one."""
        statistics = (self.log_scale_mean, self.log_scale_std, self.largest_scale)
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
