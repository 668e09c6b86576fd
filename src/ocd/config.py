"""All settings in one frozen object, the three presets, and changes by name.

    config = OCDConfig.preset("fast").replace({"training.num_steps": 400, "layer": "fc1"})

An experiment is a difference from a preset. `ocd settings TASK` lists every setting with its meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from ocd.errors import OCDError, nearest
from ocd.generator import (
    CodecConfig,
    ConditionConfig,
    DenoiserConfig,
    DiffusionConfig,
    GeneratorConfig,
    ScaleConfig,
)
from ocd.lessons import (
    USES,
    CollectionConfig,
    CrossFittingConfig,
    LessonConfig,
    OverfitConfig,
    SelectionConfig,
)
from ocd.prediction import SamplingConfig
from ocd.training import TrainingConfig, check_goal


@dataclass(frozen=True)
class OCDConfig:
    """Everything that decides a fit."""

    layer: str = "auto"
    """A layer's name, or auto (Eq. 3)."""
    seed: int = 0
    """Seed of everything random in a fit."""
    channels_last: bool = False
    """Whether the base runs on images (B, C, H, W) that lie channels last in memory, in which many
    convolutions are faster, on a CPU too. Its answers change by rounding alone."""
    common_move: str = "auto"
    """Whether the layer is first fine-tuned once for all, and the generator learns what is left to each
    input: auto (where that lowers the loss of lessons that it was not fitted on), always or never."""
    goal: str = "answer"
    """What draws are for: answer (their mean), distribution (where targets may be, by a proper score),
    or auto (distribution where a target has several numbers in the outputs' shape, and the loss shows
    that the outputs are the target itself; docs/draws.md). A distribution needs such outputs, in its
    unit: a log rate, a logit or the parameters of a distribution would be compared with what they are
    not, and a note warns."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    overfit: OverfitConfig = field(default_factory=OverfitConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    cross_fitting: CrossFittingConfig = field(default_factory=CrossFittingConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.layer, str):
            raise OCDError(f"layer is {self.layer!r}: it must be a name, or auto")
        if self.common_move not in USES:
            raise OCDError(f"common_move is {self.common_move!r}: use one of {', '.join(USES)}")
        for entry in fields(self):
            value: Any = getattr(self, entry.name)
            wanted: Any = entry.default_factory
            if isinstance(wanted, type) and not isinstance(value, wanted):
                raise OCDError(
                    f"{entry.name} is a {type(value).__name__}: it must be a {wanted.__name__}; change "
                    f'single settings by OCDConfig().replace({{"{entry.name}.<setting>": value}})'
                )
        check_goal(self.goal, self.diffusion.solver, self.training.score_weight)

    @property
    def lessons(self) -> LessonConfig:
        """What decides the lessons (Eq. 1 and Eq. 3)."""
        return LessonConfig(
            self.selection, self.overfit, self.collection, self.codec, self.seed, self.channels_last,
            self.common_move, self.cross_fitting,
        )  # fmt: skip

    @property
    def generator(self) -> GeneratorConfig:
        """What decides the generator (Eq. 4-8). A task loss brings the correction with it."""
        correction = self.training.task_loss_weight > 0
        return GeneratorConfig(
            self.codec, self.condition, self.denoiser, self.diffusion, self.scale, correction
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
            check_setting(key, known)
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
        """Every setting, nested by group, as JSON has it."""
        nested: dict[str, Any] = {}
        for key, value in settings_of(self):
            group, _, name = key.rpartition(".")
            place = nested.setdefault(group, {}) if group else nested
            place[name] = list(value) if isinstance(value, tuple) else value
        return nested

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OCDConfig:
        """Raises OCDError for unknown keys, so that a file of another version is not half read."""
        return cls().replace(flatten(values))


def check_setting(key: str, known: Iterable[str]) -> None:
    """Raises OCDError for an unknown setting, with what became of it or the nearest names."""
    known = list(known)
    if key in known:
        return
    if key in REMOVED or key.partition(".")[0] in REMOVED:
        reason = REMOVED.get(key) or REMOVED[key.partition(".")[0]]
        raise OCDError(f"the setting {key!r} was removed in version 1.0: {reason}")
    raise OCDError(f"there is no setting {key!r}{nearest(key, known)}")


REMOVED = {
    "controls": "it is called baselines",
    "rank": "name the layer; `ocd select` shows the scores of all layers",
    "selection.absolute_size": "perturbations are relative to each layer's weights (docs/selection.md)",
    "selection.redraw": "weights are perturbed, not drawn anew (docs/selection.md)",
    "selection.excerpt": "it is an eighth of overfit.excerpt",
    "overfit.momentum": "use overfit.optimizer sgd, adam or polyak",
    "overfit.form": "deltas are rank one where that is exact, and dense elsewhere",
    "overfit.max_skipped": "a fit stops if more than 5 % of the examples are not finite",
    "collection.on_the_fly_cost": "deltas are made on the fly if that costs at most 4 forward passes",
    "collection.num_copies": "a store holds each example once; on_the_fly augments anew in every batch",
    "collection.num_calibration": "statistics are taken from 2,048 examples",
    "codec.max_components": "a share of the energy asks for at most 256 components",
    "condition.max_features": "parts of I(x) with more than 1,024 numbers are pooled",
    "denoiser.num_blocks": "the MLP has two blocks; set denoiser.width",
    "denoiser.multipliers": "the U-Net has the paper's six levels; set denoiser.channels",
    "denoiser.attention_sizes": "the U-Net has attention at side 16, as in the paper",
    "diffusion.eta": "sampling adds no noise on the way",
    "scale.width": "the scale network is 256 wide",
    "training.optimizer": "it is AdamW; with training.weight_decay=0 that is Adam",
    "training.excerpt": "it is a quarter of overfit.excerpt",
    "training.clip_norm": "gradients are clipped to norm 1",
    "training.num_accumulated": "set training.batch_size, which has the same gradient",
    "training.patience": "training runs to its end; training.keep_best keeps the best weights",
    "training.mixed_precision": "training is in bfloat16 on a GPU, in full precision on a CPU",
    "training.checkpoint_every": "a checkpoint is written every 200 steps",
    "training.log_every": "the log has a line every 20 steps",
    "distillation": "use diffusion.solver=dpm with diffusion.num_sampling_steps=5, or mode='mean'",
    "sampling.skip": "every example is moved",
}
"""Settings, and groups of them, that were removed, and what to do in their place."""


def settings_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted setting and its value."""
    for entry in fields(config):
        if entry.metadata.get("internal"):
            continue
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
            parts = value.split(",") if isinstance(value, str) and value else value
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
        name = getattr(annotation, "__name__", str(annotation)).replace(" | None", " or none")
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
    "training.weight_decay": 0.0,
    "training.lr": 1e-4,
    "training.schedule": "constant",
    "training.ema_decay": 0.9999,
    "training.keep_best": False,
    "common_move": "never",
    "sampling.scale_factor": 1.0,
    "sampling.spread": 1.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    # The paper's text. With T = 10 and beta up to 1e-2 the last ᾱ is 0.95: training never sees
    # anything near pure noise, while sampling starts from it (docs/deviations.md).
    "paper": _UNET
    | {
        "selection.race": False,
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
        "selection.race": False,
        "overfit.optimizer": "adam",
        "overfit.lr": 5e-4,
        "overfit.num_steps": 3,
        "diffusion.prediction": "epsilon",
        "scale.normalization": "std",
        "scale.kind": "released",
        "scale.own_encoders": True,
        "denoiser.dropout": 0.4,
        "training.batch_size": 8,  # theirs: eight accumulated batches of one, the same gradient
        "training.scale_lr_factor": 5.0,
    },
}
