"""Eq. 4-8: what turns I(x) and noise into a delta."""

from ocd.generator.codecs import Codec, CodecConfig, PCACodec, choose_code
from ocd.generator.conditioning import (
    PARTS,
    Condition,
    ConditionConfig,
    Conditioning,
    Describe,
    Features,
    encode_x,
    encoder_features,
    mean_and_deviation,
)
from ocd.generator.config import GeneratorConfig, Shapes
from ocd.generator.denoisers import DenoiserConfig, MLPDenoiser
from ocd.generator.diffusion import Diffusion, DiffusionConfig
from ocd.generator.hypernetwork import Embedding, HyperNetwork
from ocd.generator.noise import example_keys, example_noise
from ocd.generator.placement import Placement
from ocd.generator.scale import ScaleConfig

__all__ = [
    "PARTS",
    "Codec",
    "CodecConfig",
    "Condition",
    "ConditionConfig",
    "Conditioning",
    "DenoiserConfig",
    "Describe",
    "Diffusion",
    "DiffusionConfig",
    "Embedding",
    "Features",
    "GeneratorConfig",
    "HyperNetwork",
    "MLPDenoiser",
    "PCACodec",
    "Placement",
    "ScaleConfig",
    "Shapes",
    "choose_code",
    "encode_x",
    "encoder_features",
    "example_keys",
    "example_noise",
    "mean_and_deviation",
]
