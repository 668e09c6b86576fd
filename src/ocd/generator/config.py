"""The settings of a generator as one object, and the shapes that its parameters follow from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ocd.generator.codecs import CodecConfig, make_codec
from ocd.generator.conditioning import ConditionConfig
from ocd.generator.denoisers import DenoiserConfig
from ocd.generator.diffusion import DiffusionConfig
from ocd.generator.scale import ScaleConfig


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides what a generator is. `correction`: whether a small network of the
    condition adds to every code (ocd.generator.correction)."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    correction: bool = False


@dataclass(frozen=True)
class Shapes:
    """Everything that the parameters' shapes follow from; saved beside them.

    `code`: its kind. `features`: the length of each part of I(x). `encoder_features`: of the user's
    encoder of x, 0 without one.
    """

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
        """`num_components`: of a PCA code."""
        codec = make_codec(code, weight_shape, num_components)
        return cls(code, codec.code_shape, weight_shape, features, encoder_features)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Shapes:
        """The shapes of `as_dict`, with tuples again."""
        shapes = {name: tuple(values[name]) for name in ("code_shape", "weight_shape")}
        return cls(**{**values, **shapes})
