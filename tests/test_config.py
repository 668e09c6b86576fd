"""One object holds all settings; presets are differences that have names."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator

import pytest

from ocd import OCDConfig, OCDError
from ocd.config import PRESETS, REMOVED, flatten, parse_value, settings_of
from ocd.runs.settings_help import field_docs

SETTINGS = dict(settings_of(OCDConfig()))


def another(key: str, value: object) -> object:
    """A legal value of a setting that is not the one it has."""
    words = {
        "layer": "fc1", "overfit.lr": 0.1, "overfit.optimizer": "adam", "overfit.chunk_size": 7,
        "denoiser.dropout": 0.1,
        "collection.storage": "store", "codec.kind": "pca", "denoiser.kind": "unet",
        "denoiser.embedding": 64, "diffusion.prediction": "epsilon", "diffusion.solver": "dpm",
        "scale.normalization": "std", "scale.kind": "log", "training.schedule": "constant",
        "training.ema_decay": 0.5, "training.validation_share": 0.5, "sampling.coverage": 0.5,
        "sampling.confidence": 0.9, "common_move": "never", "goal": "distribution",
    }  # fmt: skip
    if key in words:
        return words[key] if words[key] != value else "joint"
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 8)
    return 0.5 if value is None else value + 1  # type: ignore[operator]


def test_table_of_the_presets():
    """The rows of the design's table, each a named field."""
    presets = {name: dict(settings_of(OCDConfig.preset(name))) for name in PRESETS}
    table = {
        # paper, released, fast
        "overfit.optimizer": ("sgd", "adam", "sgd"),
        "overfit.num_steps": (3, 3, 3),
        "overfit.lr": (None, 5e-4, None),
        "diffusion.num_train_steps": (10, 1000, 1000),
        "diffusion.beta_start": (1e-4, 1e-6, 1e-6),
        "diffusion.beta_end": (1e-2, 1e-2, 1e-2),
        "diffusion.num_sampling_steps": (10, 10, 10),
        "diffusion.prediction": ("epsilon", "epsilon", "x0"),
        "scale.normalization": ("l2", "std", "l2_unit_variance"),
        "denoiser.kind": ("unet", "unet", "mlp"),
        "denoiser.channels": (128, 128, 128),
        "denoiser.dropout": (0.0, 0.4, 0.0),
        "denoiser.num_bottleneck_attentions": (2, 1, 1),
        "codec.kind": ("dense", "dense", "auto"),
    }
    for key, values in table.items():
        assert tuple(presets[name][key] for name in ("paper", "released", "fast")) == values, key
    assert presets["paper"]["scale.kind"] == "eq8"
    assert presets["paper"]["training.lr"] == 1e-4
    released = presets["released"]
    assert released["scale.kind"] == "released"
    assert released["training.scale_lr_factor"] == 5
    assert released["training.batch_size"] == 8
    assert released["training.ema_decay"] == 0.9999
    assert presets["fast"]["scale.kind"] in ("joint", "log")


@pytest.mark.parametrize("name", PRESETS)
def test_every_difference_of_a_preset_is_a_setting(name):
    assert PRESETS[name].keys() <= SETTINGS.keys()
    made = dict(settings_of(OCDConfig.preset(name)))
    assert {key for key in made if made[key] != SETTINGS[key]} <= PRESETS[name].keys()


def test_unknown_preset():
    with pytest.raises(OCDError, match="no preset 'quick': use one of fast, paper, released"):
        OCDConfig.preset("quick")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("training.num_step", "'training.num_steps'"),
        ("overfit.learning_rate", "overfit."),
        ("lyer", "'layer'"),
    ],
)
def test_unknown_setting_names_the_nearest(key, near):
    with pytest.raises(OCDError, match=f"no setting '{key}'; did you mean .*{near}"):
        OCDConfig().replace({key: 1})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.num_steps", "many", "training.num_steps is 'many': it must be int"),
        ("training.num_steps", 2.5, "training.num_steps is 2.5: it must be int"),
        ("training.lr", "fast", "training.lr is 'fast': it must be float"),
        ("training.keep_best", "maybe", "'maybe': it must be bool"),
        ("overfit.chunk_size", "x", "overfit.chunk_size is 'x': it must be int or none"),
        ("overfit.optimizer", "lbfgs", "overfit.optimizer is 'lbfgs': use one of"),
        ("overfit.num_steps", 0, "at least 1"),
        ("collection.storage", "ram", "collection.storage is 'ram': use one of"),
        ("codec.components", 0, "must be positive"),
        ("diffusion.num_sampling_steps", 1001, "between 1 and num_train_steps = 1000"),
        ("diffusion.prediction", "v", "diffusion.prediction is 'v': use one of"),
        ("scale.kind", "exp", "scale.kind is 'exp': use one of"),
        ("training.batch_size", 0, "training.batch_size is 0: it must be at least 1"),
        ("denoiser.kind", "gan", "denoiser.kind is 'gan': use one of"),
    ],
)
def test_a_wrong_value_is_named(key, value, message):
    with pytest.raises(OCDError, match=message) as caught:
        OCDConfig().replace({key: value})
    assert "\n" not in str(caught.value)


def test_text_is_read_as_the_field_is():
    made = OCDConfig().replace(
        {"training.lr": "1e-3", "training.keep_best": "yes", "condition.output": "no",
         "overfit.lr": "0.5", "overfit.chunk_size": "none", "layer": "fc1"}
    )  # fmt: skip
    assert made.training.lr == 1e-3
    assert made.training.keep_best is True
    assert made.condition.output is False
    assert made.overfit.lr == 0.5
    assert made.overfit.chunk_size is None
    assert made.layer == "fc1"
    assert OCDConfig() == OCDConfig.preset("fast")  # nothing was changed in place


def test_text_of_several_numbers():
    """As `ocd settings` prints them: also where there are none."""
    for text, expected in (("5,20", (5, 20)), ("7", (7,)), ("", ())):
        assert parse_value(text, tuple[int, ...], "other_draws") == expected
    for wrong in ("1,x", "1,,2", ","):
        with pytest.raises(OCDError, match=f"setting other_draws is '{wrong}': it must be tuple"):
            parse_value(wrong, tuple[int, ...], "other_draws")


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_hold_only_together_may_come_in_any_order(order):
    settings = {"diffusion.num_train_steps": 5, "diffusion.num_sampling_steps": 5}
    made = OCDConfig().replace(dict(list(settings.items())[::order]))
    assert (made.diffusion.num_train_steps, made.diffusion.num_sampling_steps) == (5, 5)
    assert OCDConfig.from_dict(made.to_dict()) == made


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip_through_json(name):
    made = OCDConfig.preset(name).replace({"layer": "fc1", "seed": 3})
    assert OCDConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_file_of_another_version_is_not_half_read():
    values = OCDConfig().to_dict()
    values["training"]["warmup"] = 10
    with pytest.raises(OCDError, match="no setting 'training.warmup'"):
        OCDConfig.from_dict(values)


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_saved_and_read_back(key):
    made = OCDConfig().replace({key: another(key, SETTINGS[key])})
    assert made.to_dict() != OCDConfig().to_dict()
    assert OCDConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_settings_are_the_flattened_fields():
    assert flatten(OCDConfig().to_dict()).keys() == SETTINGS.keys()


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        OCDConfig().layer = "fc1"  # type: ignore[misc]


# Settings that are gone, or have another name


@pytest.mark.parametrize("key", REMOVED)
def test_a_removed_setting_is_refused_with_what_to_do_instead(key):
    """Also those of a group that was removed whole."""
    for name in [key] if "." in key else [key, f"{key}.num_steps"]:
        with pytest.raises(OCDError) as caught:
            OCDConfig().replace({name: 1})
        assert str(caught.value) == (f"the setting {name!r} was removed in version 1.0: {REMOVED[key]}")
        assert "\n" not in str(caught.value) and len(REMOVED[key]) > 10


def test_no_setting_is_both_removed_and_there():
    assert not REMOVED.keys() & {*SETTINGS, *(key.partition(".")[0] for key in SETTINGS)}


def test_what_to_do_instead_of_a_removed_setting_is_a_setting():
    """Every dotted name in these texts is one that OCD takes."""
    named = {name for text in REMOVED.values() for name in re.findall(r"[a-z]+\.[a-z_]+", text)}
    named -= {name for name in named if name.endswith(".md")}
    assert named and named <= SETTINGS.keys()


# What the settings mean


def groups_of(config: object, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Every dotted setting and the dataclass that it is a field of."""
    for entry in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, entry.name)
        if dataclasses.is_dataclass(value):
            yield from groups_of(value, f"{prefix}{entry.name}.")
        elif f"{prefix}{entry.name}" in SETTINGS:
            yield f"{prefix}{entry.name}", type(config)


@pytest.mark.parametrize(("key", "kind"), [*groups_of(OCDConfig())])
def test_every_setting_has_a_meaning(key, kind):
    meaning = field_docs(kind)[key.rpartition(".")[2]]
    assert len(meaning) > 10 and meaning.endswith(".")
    assert "  " not in meaning and "\n" not in meaning


def test_the_meanings_are_of_all_settings():
    assert dict(groups_of(OCDConfig())).keys() == SETTINGS.keys()


@pytest.mark.parametrize(
    "group", [entry.name for entry in dataclasses.fields(OCDConfig) if entry.type.endswith("Config")]
)
def test_a_group_that_is_a_dictionary_is_one_clear_line(group: str) -> None:
    """Whatever else is looked at in a group, its kind is looked at first."""
    with pytest.raises(OCDError, match=f"{group} is a dict: it must be a [A-Z].*Config; change"):
        OCDConfig(**{group: {}})
