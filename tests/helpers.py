"""What several test modules share: real digits, a small trained base, settings that fit in a second."""

from __future__ import annotations

import copy
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd import OCD, Examples, OCDConfig
from ocd.decisions import Workdir
from ocd.tasks import get_task
from ocd.training import Trainer

DIGITS = get_task("digits")
LOSS = DIGITS.loss

FAST = {
    "layer": "fc1",
    "overfit.lr": 0.02,
    "collection.storage": "on_the_fly",
    "collection.num_calibration": 64,
    "denoiser.width": 32,
    "denoiser.num_blocks": 1,
    "training.num_steps": 20,
    "training.batch_size": 16,
    "training.validate_every": 10,
    "training.checkpoint_every": 5,
    "training.log_every": 5,
}
"""`fast`, shrunken: rank-one codes of fc1, made on the fly."""

STORED = {"collection.storage": "store", "collection.shard_rows": 16}
PCA = {"layer": "conv2", "codec.components": 6.0}

UNET = {
    **FAST,
    "layer": "conv1",  # its matrix is 8x9, so that the U-Net's side is 10
    "denoiser.channels": 8,
    "denoiser.multipliers": "1,2",
    "denoiser.attention_sizes": "5",
    "training.batch_size": 2,
    "training.num_accumulated": 2,
    "training.num_steps": 4,
    "training.checkpoint_every": 1,
    "training.validation_share": 0.0,
    "training.ema_decay": 0.5,
}
"""For the presets `paper` and `released`: a U-Net of one downsampling."""


@lru_cache
def _digits() -> Any:
    return DIGITS.load(DIGITS.options(), None)


def digits(count: int = 100) -> Examples:
    """The first training digits."""
    return Examples(*_digits().train.rows(slice(0, count)))


def test_digits(count: int = 40) -> Examples:
    return Examples(*_digits().test.rows(slice(0, count)))


test_digits.__test__ = False  # type: ignore[attr-defined]


@lru_cache
def _trained() -> nn.Module:
    options = DIGITS.options(base_epochs=2)
    base = DIGITS.make_base(options, _digits())
    DIGITS.train_base(base, _digits(), options, 0, lambda line: None)
    return base


def digits_base() -> nn.Module:
    """LeNet8 after two epochs: a fresh copy each time."""
    return copy.deepcopy(_trained())


def config(settings: dict[str, Any] | None = None, preset: str = "fast") -> OCDConfig:
    """A preset, shrunken, with further settings."""
    small = FAST if preset == "fast" else UNET
    return OCDConfig.preset(preset).replace({**small, **(settings or {})})


@lru_cache
def _fitted(items: tuple[tuple[str, Any], ...], preset: str) -> OCD:
    ocd = OCD(digits_base(), loss=LOSS, config=config(dict(items), preset))
    return ocd.fit(digits(), progress=False)


def fitted(settings: dict[str, Any] | None = None, preset: str = "fast") -> OCD:
    """An OCD fitted on a hundred digits, shared between tests that only predict with it."""
    return _fitted(tuple((settings or {}).items()), preset)


def prepared(
    root: Path, settings: dict[str, Any] | None = None, preset: str = "fast", num_examples: int = 100
) -> tuple[OCD, Workdir, Examples]:
    """An OCD with its layer selected and overfitted in `root`, so that only `train` is left."""
    ocd = OCD(digits_base(), loss=LOSS, config=config(settings, preset))
    work, examples = Workdir(root), digits(num_examples)
    ocd.overfit(examples, work, progress=False)
    return ocd, work, examples


class _Made(Exception):
    pass


def trainer_of(ocd: OCD, examples: Dataset[Any], work: Workdir) -> Trainer:
    """The Trainer that `ocd.train` makes, before it goes on from a checkpoint or takes a step."""

    def stop(trainer: Trainer) -> bool:
        raise _Made(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "resume", stop)
        try:
            ocd.train(examples, work, progress=False)
        except _Made as made:
            trainer: Trainer = made.args[0]
            return trainer
    raise AssertionError("OCD.train did not ask its Trainer to resume")


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def contents(folder: Path) -> dict[str, str]:
    """A hash of every file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
