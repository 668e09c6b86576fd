"""All settings in one frozen object, the three presets, and changes by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from ocd.errors import OCDError, nearest
from ocd.generator import CodecConfig, ConditionConfig, DenoiserConfig, DiffusionConfig, ScaleConfig
from ocd.lessons import CollectionConfig, OverfitConfig, SelectionConfig
from ocd.prediction import SamplingConfig
from ocd.training import DistillationConfig, TrainingConfig


@dataclass(frozen=True)
class OCDConfig:
    """Everything that decides a fit. An experiment is a difference from a preset."""

    layer: str = "auto"
    """A layer's name, or auto (Eq. 3)."""
    rank: int = 1
    """Of auto: 1 is the layer with the best score, 2 the second best."""
    seed: int = 0
    """Seed of everything random in a fit."""
    channels_last: bool = False
    """Whether images (B, C, H, W) lie channels last in memory while the base is run to overfit, train
    and predict. Many convolutions are faster so, on a CPU too. The base stays as it is, and its
    answers but for rounding."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    overfit: OverfitConfig = field(default_factory=OverfitConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if self.distillation.num_steps and self.diffusion.eta > 0:
            raise OCDError(
                f"diffusion.eta is {self.diffusion.eta:g}: a student learns draws without noise on the "
                "way, set it or distillation.num_steps to 0"
            )

    @classmethod
    def preset(cls, name: str) -> OCDConfig:
        """`fast` (the defaults), `released` (the authors' code) or `paper`."""
        if name not in PRESETS:
            raise OCDError(f"there is no preset {name!r}: use one of {', '.join(PRESETS)}")
        return cls().replace(PRESETS[name])

    def replace(self, settings: Mapping[str, Any]) -> OCDConfig:
        """A copy with dotted settings changed, e.g. {"training.num_steps": 100}.

        Text values are read as the field's type. Raises OCDError for an unknown key (with the
        nearest names) or a value that does not fit.
        """
        known = dict(settings_of(self))
        groups: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            if key not in known:
                raise OCDError(f"there is no setting {key!r}{nearest(key, known)}")
            group, _, name = key.rpartition(".")
            owner = getattr(self, group) if group else self
            parsed = parse_value(value, get_type_hints(type(owner))[name], key)
            groups.setdefault(group, {})[name] = parsed
        # A group's settings change together, since some hold only beside one another.
        changes = groups.pop("", {})
        for group, values in groups.items():
            changes[group] = dataclasses.replace(getattr(self, group), **values)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OCDConfig:
        """Raises OCDError for unknown keys, so that a file of another version is not half read."""
        return cls().replace(flatten(values))

    def digest(self) -> str:
        """A hash of all settings. Later ones count where they are not at their default: what was made
        before they came stays what it is."""
        settings, defaults = self.to_dict(), OCDConfig().to_dict()
        for name in LATER:
            if settings[name] == defaults[name]:
                del settings[name]
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


LATER = ("channels_last",)  # settings that came after run folders of format 2


def settings_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted setting and its value."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from settings_of(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parse_value(value: Any, annotation: Any, key: str) -> Any:
    """`value` as the field's type; text is read as the command line gives it."""
    kinds = getattr(annotation, "__args__", (annotation,))
    origin = getattr(annotation, "__origin__", None)
    try:
        if origin is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(int(part) for part in parts)
        if type(None) in kinds and (value is None or str(value).lower() == "none"):
            return None
        kind = next(kind for kind in kinds if kind is not type(None))
        if kind is bool:
            return _parse_bool(value)
        if kind is int and isinstance(value, str):
            return int(value)
        if kind is int and not isinstance(value, int):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        name = getattr(annotation, "__name__", str(annotation))
        raise OCDError(f"setting {key} is {value!r}: it must be {name}") from None


def _parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


_UNET = {
    "codec.kind": "dense",
    "denoiser.kind": "unet",
    "condition.standardize": False,
    "training.batch_size": 1,
    "training.num_noise_levels": 1,
    "training.optimizer": "adam",
    "training.weight_decay": 0.0,
    "training.lr": 1e-4,
    "training.schedule": "constant",
    "training.ema_decay": 0.9999,
    "sampling.scale_factor": 1.0,
    "sampling.spread": 1.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    # The paper's text. With T = 10 and beta up to 1e-2 the last ᾱ is 0.95: training never sees
    # anything near pure noise, while sampling starts from it (docs/deviations.md).
    "paper": _UNET
    | {
        "overfit.optimizer": "sgd",
        "overfit.num_steps": 3,
        "diffusion.num_train_steps": 10,
        "diffusion.beta_start": 1e-4,
        "diffusion.beta_end": 1e-2,
        "diffusion.prediction": "epsilon",
        "scale.normalization": "l2",
        "scale.kind": "eq8",
        "condition.activation": False,
        "denoiser.num_bottleneck_attentions": 2,
    },
    # The authors' script.
    "released": _UNET
    | {
        "overfit.optimizer": "adam",
        "overfit.lr": 5e-4,
        "overfit.num_steps": 3,
        "diffusion.prediction": "epsilon",
        "scale.normalization": "std",
        "scale.kind": "released",
        "scale.own_encoders": True,
        "denoiser.dropout": 0.4,
        "training.clip_norm": 1.0,
        "training.num_accumulated": 8,
        "training.scale_lr_factor": 5.0,
    },
}
