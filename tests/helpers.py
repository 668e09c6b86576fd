"""What several test modules share: real digits, a small trained base, settings that fit in a second."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nets import NUM_CLASSES, Noisy, Pooled, TwoInputs
from ocd import OCD, Examples, OCDConfig
from ocd.data import Inputs, tensors
from ocd.lessons import Workdir
from ocd.tasks import get_task
from ocd.training import Trainer

DIGITS = get_task("digits")
LOSS = DIGITS.loss

FAST = {
    "layer": "fc1",
    "overfit.lr": 0.02,
    "collection.storage": "on_the_fly",
    "denoiser.width": 32,
    "training.num_steps": 20,
    "training.batch_size": 16,
    "training.validate_every": 10,
}
"""`fast`, shrunken: rank-one codes of fc1, made on the fly."""

STORED = {"collection.storage": "store", "collection.shard_rows": 16}
PCA = {"layer": "conv2", "codec.components": 6.0}

UNET = {
    **FAST,
    "layer": "conv1",  # its matrix is 8x9, so that the U-Net's side is 10
    "denoiser.channels": 8,
    "training.batch_size": 2,
    "training.num_steps": 4,
    "training.validation_share": 0.0,
    "training.ema_decay": 0.5,
}
"""For the presets `paper` and `released`."""


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


# Tiny bases of every kind of inputs


class Encoder(nn.Module):
    """Encodes x of any form: (B, 4)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 4)

    def forward(self, *parts: Tensor, **named: Tensor) -> Tensor:
        whole = [*parts, *(named[key] for key in sorted(named))]
        encoded: Tensor = self.linear(torch.cat([part.flatten(1) for part in whole], dim=1)).tanh()
        return encoded


@dataclass(frozen=True)
class Tiny:
    """A classifier of three classes, the layer that moves, and the shape of one example."""

    make: Any
    layer: str
    shape: Any

    def base(self, seed: int = 0) -> nn.Module:
        """In train mode, as a careless user leaves it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            base: nn.Module = self.make()
            return base

    def inputs(self, count: int, seed: int = 1) -> Inputs:
        generator = torch.Generator().manual_seed(seed)

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(count, *shape, generator=generator)

        if isinstance(self.shape, dict):
            return {name: draw(shape) for name, shape in self.shape.items()}
        if isinstance(self.shape, list):
            return tuple(draw(shape) for shape in self.shape)
        return draw(self.shape)

    def examples(self, count: int, seed: int = 1) -> Examples:
        """With classes that are a function of the inputs."""
        inputs = self.inputs(count, seed)
        flat = torch.cat([part.flatten(1) for part in tensors(inputs)], dim=1)
        return Examples(inputs, flat[:, :NUM_CLASSES].argmax(dim=1))

    def encoder(self) -> Encoder:
        size = sum(part[0].numel() for part in tensors(self.inputs(1)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return Encoder(size)

    def ocd(self, settings: dict[str, Any] | None = None, seed: int = 0) -> OCD:
        """Not fitted yet."""
        small = {**FAST, "layer": self.layer, "overfit.lr": 0.1, "denoiser.width": 16, "seed": seed}
        small |= {"training.num_steps": 10, **(settings or {})}
        settled = OCDConfig().replace(small)
        return OCD(self.base(), loss=LOSS, config=settled, encoder=self.encoder())


TINY = {
    "linear": Tiny(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, NUM_CLASSES)), "0", (5,)
    ),
    "conv": Tiny(lambda: Pooled(nn.Conv2d(2, 4, 3), 4, (2, 3)), "body", (2, 6, 5)),
    "norms": Tiny(Noisy, "fc", (2, 7, 6)),
    "tuple": Tiny(TwoInputs, "layer", [(4,), (3,)]),
    "dict": Tiny(TwoInputs, "layer", {"right": (3,), "left": (4,)}),
}
"""linear, tuple, dict: rank-one codes; conv: PCA; norms: batch norm, dropout and in-place ReLUs."""


def part_of(examples: Examples, start: int, stop: int | None) -> Examples:
    return Examples(*examples.rows(slice(start, stop)))


def joined(*parts: Inputs) -> Inputs:
    """Batches of one form, one behind the other."""
    first: Any = parts[0]
    columns: Any = parts
    if isinstance(first, dict):
        return {name: torch.cat([part[name] for part in columns]) for name in first}
    if isinstance(first, tuple):
        return tuple(torch.cat(column) for column in zip(*columns, strict=True))
    return torch.cat(columns)


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
