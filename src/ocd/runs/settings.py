"""What `--set key=value` changes: the task's options, those of a run, and OCDConfig's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import torch

from ocd.config import OCDConfig, check_setting, parse_value, settings_of
from ocd.errors import OCDError
from ocd.tasks import Task

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"common_move": "never", "sampling.confidence": 0.0, "training.keep_best": False},
    "common": {},
    "unseen": {"common_move": "never"},
    "both": {},
}
"""Fits beside the main one, and what they change: OCD as version 0.1 had it, with the common move, with
lessons that the base has not seen, and with both. The main fit is one of the last two."""
CROSS_FITTED = ("unseen", "both")
QUICK: dict[str, Any] = {"baselines": "few", "num_bases": 1, "alternative": False}
"""What a quick run changes of a run's options. OCD itself is fitted as in the full run, so that its own
numbers are those of one seed of that."""


@dataclass(frozen=True)
class RunOptions:
    """What `--set` can change of a run itself."""

    num_draws: int = field(default=5, metadata={"help": "draws of the ensemble"})
    other_draws: tuple[int, ...] = field(
        default=(), metadata={"help": "draws of other ensembles beside that one, such as 5,20"}
    )
    alternative: bool = field(
        default=True, metadata={"help": "also fit the second-best layer, an ablation of the paper"}
    )
    baselines: str = field(
        default="all",
        metadata={
            "help": "what OCD is compared with: all, more (also the label network, for as long as OCD "
            "took), paper (those of the paper), few (those that cost seconds) or none"
        },
    )
    num_bases: int = field(default=5, metadata={"help": "bases of the deep ensemble; 1 leaves it out"})
    held_out: float = field(
        default=0.0,
        metadata={"help": "share of the training examples kept from the base, for OCD alone"},
    )
    encode_x: bool = field(
        default=True, metadata={"help": "put x into the condition, by the task's encoder"}
    )
    augment: bool = field(
        default=True, metadata={"help": "overfit on augmented examples, by the task's transform"}
    )
    variants: bool = field(
        default=False,
        metadata={
            "help": "also fit OCD as version 0.1 did (no common move, moves in any case), with the "
            "common move, with lessons that the base has not seen (cross-fitting), and with both"
        },
    )
    cross_fit: bool = field(
        default=False,
        metadata={
            "help": "make each lesson on a base that was trained without it (as many bases more as "
            "cross_fitting.num_folds), where the base of the run is trained here and on all examples"
        },
    )
    quick: bool = field(
        default=False,
        metadata={"help": "a first answer, as by --quick: one seed, baselines=few, no other layer"},
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "other_draws", tuple(self.other_draws))  # JSON has no tuples
        if self.num_draws < 1:
            raise OCDError(f"num_draws is {self.num_draws}: at least one draw is needed")
        if any(count < 1 or count >= self.num_draws for count in self.other_draws):
            listed = ",".join(map(str, self.other_draws))
            raise OCDError(f"other_draws is {listed}: from 1 to below num_draws, {self.num_draws}")
        if self.num_bases < 1:
            raise OCDError(f"num_bases is {self.num_bases}: the base itself is one already")
        if self.baselines not in ("all", "more", "paper", "few", "none"):
            raise OCDError(f"baselines is {self.baselines!r}: use all, more, paper, few or none")
        if not 0 <= self.held_out < 1:
            raise OCDError(f"held_out is {self.held_out:g}: it must be a share, from 0 to below 1")
        if self.device not in ("auto", "cpu", "cuda"):
            raise OCDError(f"device is {self.device!r}: use auto, cpu or cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise OCDError("device is 'cuda', but this PyTorch sees none: use auto or cpu")

    @property
    def has_baselines(self) -> bool:
        """Whether baselines beyond the paper's are trained."""
        return self.baselines in ("few", "all", "more")

    def torch_device(self) -> torch.device:
        """The device that is asked for; auto takes a GPU where PyTorch sees one."""
        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_settings(
    task: Task, preset: str, settings: Mapping[str, str]
) -> tuple[Task, Any, RunOptions, OCDConfig]:
    """Sort `--set key=value` into the task's options, the run's, and OCDConfig's dotted settings.

    Returns the task as these options have it too. Raises OCDError for a key that none of them has.
    """
    own = {entry.name for entry in dataclasses.fields(task.options)}
    of_run = {entry.name for entry in dataclasses.fields(RunOptions)}
    known = [*own, *of_run, *(key for key, _ in settings_of(OCDConfig()))]
    for key in settings:
        check_setting(key, known)
    options = task.options(**_parsed(task.options, own, settings))
    task = specialised(task, options)
    config = OCDConfig.preset(preset).replace({"layer": task.layer})
    config = config.replace(task.settings if preset == "fast" else task.preset_settings.get(preset, {}))
    run_values: dict[str, Any] = dict(task.run_settings)
    if preset != "fast":  # neither the paper nor the released code has x in the condition, or shifts
        run_values |= {"encode_x": False, "augment": False}
    given = _parsed(RunOptions, of_run - own, settings)
    if given.get("quick"):
        _check_quick(preset)
        run_values |= QUICK
    run_options = RunOptions(**run_values | given)
    for name, why in task.refused.items():
        if getattr(run_options, name):
            raise OCDError(f"{task.name} takes no {name}: {why}")
    dotted = {key: value for key, value in settings.items() if key not in own | of_run}
    return task, options, run_options, config.replace(dotted)


def _check_quick(preset: str) -> None:
    if preset != "fast":
        raise OCDError(
            f"a quick run has the preset fast: {preset} trains a U-Net, which takes hours; leave out "
            "--quick or --preset"
        )


def specialised(task: Task, options: Any) -> Task:
    """The task for these options, if they decide its loss, metrics or settings."""
    return task.specialise(options) if task.specialise is not None else task


def _parsed(home: type[Any], names: Collection[str], settings: Mapping[str, str]) -> dict[str, Any]:
    """Those of the settings that are fields of `home`, as the fields' types."""
    hints = get_type_hints(home)
    return {key: parse_value(text, hints[key], key) for key, text in settings.items() if key in names}
