"""A run folder: its settings, data, log, and the manifest of the files that it wrote.

config.json says what the run is, and is never changed but for added seeds; metrics.jsonl is its log;
manifest.json holds the hashes by which `ocd audit` knows the run again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import torch
from torch import Tensor, nn

from ocd.audit import data_digest, write_manifest
from ocd.config import OCDConfig
from ocd.data import Examples, Log, Shard, locked, read_json, some_of, write_json
from ocd.distributed import launched
from ocd.runs.checking import check_examples, check_layer
from ocd.runs.examples import PREPROCESSING, load_data, said_of, with_copies
from ocd.runs.logged import phase_seconds
from ocd.runs.quick import check_one_seed, left_out
from ocd.runs.same import FORMAT_VERSION, check_format, check_same, no_run, saved_as
from ocd.runs.settings import RunOptions, read_settings, specialised
from ocd.tasks import Task, TaskData, get_task, load_base, store_data, stored_data


@dataclass
class RunFolder:
    """A run folder: one task with its options and settings, and some seeds."""

    root: Path
    task: Task
    preset: str
    seeds: list[int]
    data_dir: Path | None
    options: Any
    run_options: RunOptions
    config: OCDConfig
    command: str
    wanted: list[int] = field(default_factory=list)
    """The seeds that were asked for in this call; the folder may hold more."""
    full_options: RunOptions | None = None
    """Of a quick run that was asked for in this call: the options that it would have otherwise."""
    drawn_by: int | None = None
    """The seed whose training examples these are, of a task whose seeds draw their own."""
    origin: RunFolder | None = field(default=None, repr=False)
    """The run of all seeds that this one is of."""
    share: Shard = field(default_factory=launched)
    """Which of several processes this is that work on one verb at once."""
    is_shared: bool = False
    """Whether several processes may be at the verb: its units are computed on one thread."""

    @classmethod
    def create(
        cls,
        task_name: str,
        root: Path,
        preset: str = "fast",
        data_dir: Path | None = None,
        seeds: Sequence[int] = (0,),
        settings: Mapping[str, str] | None = None,
        command: str = "",
    ) -> Self:
        """A new run folder, or one that is continued. Raises OCDError if it holds another run."""
        task = get_task(task_name)
        task, options, run_options, config = read_settings(task, preset, settings or {})
        run = cls(
            root, task, preset, list(seeds), data_dir, options, run_options, config, command, [*seeds]
        )
        if run_options.quick:
            check_one_seed(seeds)
            run.full_options = read_settings(
                get_task(task_name), preset, {**(settings or {}), "quick": "false"}
            )[2]
        path = root / "config.json"
        if path.exists():
            run._check_same(read_json(path))
        run._check_data()
        run._check_layer()
        with locked(path):
            if path.exists():  # again: other processes may have added other seeds
                run._check_same(read_json(path))
                run.enter()  # with other data it ends here, before anything is written
            write_json(path, run._as_dict())
        stored = [] if (root / PREPROCESSING).exists() else store_data(root / PREPROCESSING, run.data)
        run.enter(*stored)
        return run

    @classmethod
    def open(cls, root: Path, with_data: bool = True) -> Self:
        """The run in a folder. `with_data`: whether its examples are read when they are asked for;
        else there are none, but their form and reader are as they were (ocd.tasks.stored). Raises
        OCDError if there is no run, or one of another version."""
        path = root / "config.json"
        if not path.exists():
            raise no_run(root)
        saved = read_json(path)
        check_format(path, saved)
        task = get_task(saved["task"])
        options = saved_as(task.options, saved["options"], path)
        run = cls(
            root,
            specialised(task, options),
            saved["preset"],
            saved["seeds"],
            Path(saved["data_dir"]) if saved["data_dir"] else None,
            options,
            saved_as(RunOptions, saved["run_options"], path),
            OCDConfig.from_dict(saved["config"]),
            saved["command"],
        )
        if not with_data:
            run.data = stored_data(root / PREPROCESSING)
            run.task = dataclasses.replace(run.task, for_seed=None)  # there is nothing to draw from
        return run

    def at(self, seed: int) -> Self:
        """The run with the training examples that a seed draws; itself where all have the same."""
        if self.task.for_seed is None or self.drawn_by == seed:
            return self
        if self.origin is not None:
            raise ValueError(f"a run of seed {self.drawn_by} was asked for seed {seed}")
        made: dict[int, Self] = self.__dict__.setdefault("_of_seeds", {})
        if seed not in made:
            made[seed] = dataclasses.replace(self, drawn_by=seed, origin=self)
            made[seed].data = with_copies(self.task, self.task.for_seed(self.options, self.data, seed))
        return made[seed]

    def _as_dict(self) -> dict[str, Any]:
        metrics = {
            name: {"higher_is_better": metric.higher_is_better, "unit": metric.unit}
            for name, metric in self.task.metrics.items()
        }
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task.name,
            "preset": self.preset,
            "seeds": self.seeds,
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "options": dataclasses.asdict(self.options),
            "run_options": dataclasses.asdict(self.run_options),
            "config": self.config.to_dict(),
            **said_of(self.task, {seed: self.at(seed).data for seed in self.seeds}),
            "metrics": metrics,
            "left_out": left_out(self, self.full_options) if self.full_options else [],
            "command": self.command,
        }

    @cached_property
    def facts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the manifest records of this run: its saved settings and hashes of its data."""
        if self.origin is not None:
            return self.origin.facts
        saved = read_json(self.root / "config.json")
        names = ("task", "preset", "options", "run_options", "config")
        data = {"train": data_digest(self.data.train), "test": data_digest(self.data.test)}
        return {name: saved[name] for name in names}, data

    def enter(self, *written: Path) -> None:
        """Add files that were just written to the manifest."""
        write_manifest(self.root, *self.facts, written)

    def _check_same(self, saved: dict[str, Any]) -> None:
        """More seeds may be added to a run; nothing else may change."""
        check_same(self.root, saved, self._as_dict())
        self.seeds = sorted({*saved["seeds"], *self.seeds})

    def _check_data(self) -> None:
        check_examples(self)

    def _check_layer(self) -> None:
        check_layer(self)

    @cached_property
    def data(self) -> TaskData:
        """The task's examples, loaded once."""
        return load_data(self.task, self.options, self.data_dir, self.root)

    @cached_property
    def base_examples(self) -> Examples:
        """The examples that the base is trained on: all but those held out for OCD."""
        return self._split()[0]

    @cached_property
    def base_data(self) -> TaskData:
        """The data that a base may see: no test example, only their shapes."""
        nothing = Examples(*self.data.test.rows(slice(0, 0)))
        belongs = self.data.groups
        if belongs is not None:
            belongs = belongs[self._places()[0]]
        return dataclasses.replace(self.data, train=self.base_examples, test=nothing, groups=belongs)

    @cached_property
    def examples(self) -> Examples:
        """The examples that are overfitted: all training examples, or those held out from the base."""
        return self._split()[1]

    @property
    def crosses_fits(self) -> bool:
        """Whether lessons are made on bases that have not seen them: not where a user's own base is
        loaded, whose units those of bases trained here do not share, nor where it has not seen them."""
        own = getattr(self.options, "base", None) is not None
        return self.run_options.cross_fit and not own and not self.run_options.held_out

    @cached_property
    def groups(self) -> Tensor | None:
        """Which of `examples` belong together; None where each is its own."""
        belongs = self.data.groups
        return None if belongs is None else belongs[self._places()[1]]

    def _split(self) -> tuple[Examples, Examples]:
        train = self.data.train
        if not self.run_options.held_out:
            return train, train
        base, ours = self._places()
        return Examples(*train.rows(base)), Examples(*train.rows(ours))

    def _places(self) -> tuple[Tensor, Tensor]:
        """Which training examples the base learns from, and which OCD."""
        count, share = len(self.data.train), self.run_options.held_out
        every = torch.arange(count)
        if not share:
            return every, every
        if (early := self.data.num_early) is not None:
            return every[:early], every[max(early, count - int(share * count)) :]
        chance = torch.Generator().manual_seed(0)
        ours = some_of(every, int(share * count), chance, self.data.groups)
        if self.data.groups is None:
            chance.manual_seed(0)
            return torch.randperm(count, generator=chance)[len(ours) :], ours
        return every[~torch.isin(every, ours)], ours

    def read_base(self, path: Path, options: Any = None) -> nn.Module:
        """A trained base; `options` where they are not the run's own."""
        base = self.task.make_base(options or self.options, self.base_data).to(
            self.run_options.torch_device()
        )
        load_base(base, path)
        return base.eval()

    def phase_seconds(self, seed: int) -> dict[str, float | None]:
        """Seconds of every phase of a seed so far; None for a base that was loaded, not trained."""
        seconds = phase_seconds(self.root, seed)
        if getattr(self.options, "base", None) is not None:
            seconds["base"] = None
        return seconds

    def base_path(self, seed: int) -> Path:
        """The file of a seed's base."""
        return self.root / "base" / f"seed-{seed}.safetensors"

    def selection_path(self, seed: int) -> Path:
        """The file of a seed's scores of Eq. 3."""
        return self.root / "selection" / f"seed-{seed}.json"

    def reference_path(self, seed: int) -> Path:
        """The file of a seed's distances between training inputs."""
        return self.root / "reference" / f"seed-{seed}.safetensors"

    def log(self, seed: int) -> Log:
        """The log of a seed, in metrics.jsonl."""
        return Log(self.root / "metrics.jsonl", {"seed": seed, "role": "main"})

    def unfinished(self, seed: int) -> Path:
        """What the interrupted phases of a seed go on with (ocd.data.resuming)."""
        return self.root / "unfinished" / f"seed-{seed}"


# What a method of a run and a seed takes beside these, and what it gives.
P = ParamSpec("P")
Found = TypeVar("Found")


def of_seed(
    method: Callable[Concatenate[Any, int, P], Found],
) -> Callable[Concatenate[Any, int, P], Found]:
    """A method of a run and a seed, called on the run with the training examples of that seed."""

    @functools.wraps(method)
    def called(self: RunFolder, seed: int, *args: P.args, **named: P.kwargs) -> Found:
        return method(self.at(seed), seed, *args, **named)

    return called
