"""A run folder: one task, some seeds, the five verbs. Every verb goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ocd.config import OCDConfig, flatten
from ocd.decisions import Workdir
from ocd.errors import OCDError
from ocd.files import read_json, write_json
from ocd.inputs import Examples, to_device
from ocd.layers import find_layer
from ocd.model import OCD
from ocd.progress import Log
from ocd.selection import select_layer
from ocd.store import write_tensors
from ocd.tasks import get_task
from ocd.tasks.base import Task, TaskData, load_base
from ocd.tasks.evaluation import evaluate
from ocd.tasks.settings import RunOptions, read_settings

FORMAT_VERSION = 1
VERBS = ("select", "overfit", "train", "predict", "report")


@dataclass
class Run:
    """A run folder and what it was made for."""

    root: Path
    task: Task
    preset: str
    seeds: list[int]
    data_dir: Path | None
    options: Any
    run_options: RunOptions
    config: OCDConfig
    command: str

    # ------------------------------------------------------------ folder

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
    ) -> Run:
        """A new run folder, or the same one again. Raises OCDError where it holds another run."""
        task = get_task(task_name)
        options, run_options, config = read_settings(task, preset, settings or {})
        run = cls(root, task, preset, list(seeds), data_dir, options, run_options, config, command)
        path = root / "config.json"
        if path.exists():
            run._check_same(read_json(path))
        run._check_data()
        run._check_layer()
        write_json(path, run._as_dict())
        return run

    @classmethod
    def open(cls, root: Path) -> Run:
        """The run in a folder. Raises OCDError where there is none, or one of another format."""
        path = root / "config.json"
        if not path.exists():
            raise OCDError(f"{root} is no run folder (it has no config.json): start with `ocd run`")
        saved = read_json(path)
        if saved.get("format_version") != FORMAT_VERSION or "task" not in saved:
            raise OCDError(f"{path} is not a run of format {FORMAT_VERSION}: use another folder")
        task = get_task(saved["task"])
        return cls(
            root,
            task,
            saved["preset"],
            saved["seeds"],
            Path(saved["data_dir"]) if saved["data_dir"] else None,
            task.options(**saved["options"]),
            RunOptions(**saved["run_options"]),
            OCDConfig.from_dict(saved["config"]),
            saved["command"],
        )

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
            "examples": {"train": len(self.data.train), "test": len(self.data.test)},
            "metrics": metrics,
            "command": self.command,
        }

    def _check_same(self, saved: dict[str, Any]) -> None:
        """More seeds may be added to a run; nothing else may change."""
        mine = self._as_dict()
        for name in ("task", "preset", "options", "run_options", "config"):
            old, new = _comparable(saved.get(name)), _comparable(mine[name])
            if old == new:
                continue
            changed = name
            if isinstance(old, dict) and isinstance(new, dict):
                keys = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
                changed = ", ".join(f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in keys)
            raise OCDError(
                f"{self.root} holds another run ({changed}): give another --out, or delete it"
            )
        self.seeds = sorted({*saved["seeds"], *self.seeds})

    def _check_data(self) -> None:
        if not len(self.data.train) or not len(self.data.test):
            raise OCDError(f"task {self.task.name} has no examples to train on or to test")

    def _check_layer(self) -> None:
        """An unknown layer is known before the base is trained and before anything is written."""
        if self.config.layer != "auto":
            find_layer(self.task.make_base(self.options, self.data), self.config.layer)

    @cached_property
    def data(self) -> TaskData:
        return self.task.load(self.options, self.data_dir)

    @cached_property
    def base_examples(self) -> Examples:
        """What the base is trained on: all training examples, less those kept for OCD."""
        return self._split()[0]

    @cached_property
    def examples(self) -> Examples:
        """What is overfitted: all training examples, or those kept from the base."""
        return self._split()[1]

    def _split(self) -> tuple[Examples, Examples]:
        train, share = self.data.train, self.run_options.held_out
        if not share:
            return train, train
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        kept = int(share * len(train))
        return Examples(*train.rows(order[kept:])), Examples(*train.rows(order[:kept]))

    # ------------------------------------------------------------- verbs

    def base(self, seed: int) -> nn.Module:
        """The trained base of a seed; trained (or loaded) once and kept in base/."""
        path = self.root / "base" / f"seed-{seed}.safetensors"
        base = self.task.make_base(self.options, self.data).to(self.run_options.torch_device())
        if path.exists():
            load_base(base, path)
            return base.eval()
        with self._phase("base", seed):
            data = TaskData(self.base_examples, self.data.test)
            self.task.train_base(base, data, self.options, seed, _say)
        write_tensors(path, base.state_dict())
        return base.eval()

    def select(self, seed: int) -> None:
        """Eq. 3 for every layer, also where the layer is named: the report shows the scores."""
        path = self._selection_path(seed)
        if path.exists():
            return
        base = self.base(seed)
        selection = self.config.selection
        few = slice(0, selection.num_examples)
        with self._phase("select", seed):
            inputs, targets = self.examples.rows(few)
            device = self.run_options.torch_device()
            inputs, targets = to_device(inputs, device), targets.to(device)
            scores = select_layer(base, self.task.loss, inputs, targets, selection, seed=seed)
        named = self.config.layer
        chosen = scores.layer(self.config.rank) if named == "auto" else named
        others = [name for name in scores.ranked() if name != chosen]
        why = "named in the settings" if named != "auto" else f"rank {self.config.rank} of Eq. 3"
        self._log(seed).write("note", text=f"layer {chosen}: {why}")
        write_json(
            path,
            {
                **dataclasses.asdict(scores),
                "num_draws": selection.num_draws,
                "num_examples": min(selection.num_examples, len(self.examples)),
                "relative_size": selection.relative_size,
                "chosen": chosen,
                "alternative": others[0] if others else None,
            },
        )

    def overfit(self, seed: int) -> None:
        self.select(seed)
        for role, ocd, work in self._fits(seed):
            if (work.checkpoint / "config.json").exists():  # it is trained already
                continue
            if ocd.is_overfitted(self.examples, work):
                continue
            with self._phase("overfit" if role == "main" else "alternative", seed):
                ocd.overfit(self.examples, work)

    def train(self, seed: int) -> None:
        self.overfit(seed)
        for role, ocd, work in self._fits(seed):
            if (work.checkpoint / "config.json").exists():
                continue
            with self._phase("train" if role == "main" else "alternative", seed):
                ocd.train(self.examples, work)

    def predict(self, seed: int) -> None:
        """Every method of the table on the test examples."""
        path = self.root / "predictions" / f"seed-{seed}.json"
        if path.exists():
            return
        self.train(seed)
        fitted = {}
        for role, ocd, work in self._fits(seed):
            decisions = read_json(work.decisions)
            fitted[role] = (
                OCD.from_pretrained(work.checkpoint, ocd.base, loss=ocd.loss, encoder=ocd.encoder),
                dataclasses.replace(self.config.overfit, lr=decisions["lr"], form=decisions["form"]),
            )
        with self._phase("predict", seed):
            results, tensors = evaluate(
                self.task, self.data.test, self.examples, fitted, self.run_options.num_draws
            )
        write_tensors(path.with_suffix(".safetensors"), tensors)
        write_json(path, results)

    def report(self) -> dict[str, Any]:
        from ocd.report import write_report

        return write_report(self.root)

    def do(self, verb: str) -> None:
        """One verb for all seeds; what it needs is done first."""
        if verb == "report":
            self.report()
            return
        for seed in self.seeds:
            getattr(self, verb)(seed)

    # ----------------------------------------------------------- details

    def _fits(self, seed: int) -> Iterator[tuple[str, OCD, Workdir]]:
        """The fits of a seed: the layer of the run, and the alternative layer where wanted."""
        selection = read_json(self._selection_path(seed))
        layers = {"main": selection["chosen"]}
        if self.run_options.alternative and selection["alternative"]:
            layers["alternative"] = selection["alternative"]
        base = self.base(seed)
        for role, layer in layers.items():
            member = f"seed-{seed}" if role == "main" else f"seed-{seed}-alternative"
            config = self.config.replace({"layer": layer, "seed": seed})
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                encoder = self.task.make_encoder(self.options) if self.run_options.encode_x else None
            augment = self.run_options.augment
            transform = self.task.make_transform(self.options) if augment else None
            ocd = OCD(base, loss=self.task.loss, config=config, encoder=encoder, transform=transform)
            yield role, ocd, Workdir(self.root, member, {"seed": seed, "role": role})

    def _selection_path(self, seed: int) -> Path:
        return self.root / "selection" / f"seed-{seed}.json"

    def _log(self, seed: int) -> Log:
        return Log(self.root / "metrics.jsonl", {"seed": seed, "role": "main"})

    @contextmanager
    def _phase(self, name: str, seed: int) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:  # an interrupted phase logs its part; only a killed one cannot
            seconds = time.perf_counter() - start
            self._log(seed).write("phase", phase=name, seconds=round(seconds, 3))


def _say(line: str) -> None:
    """Progress of a base's training, for a person at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def _comparable(value: Any) -> Any:
    """JSON has no tuples; nested settings are compared by their dotted names."""
    if isinstance(value, dict):
        return {k: list(v) if isinstance(v, tuple) else v for k, v in flatten(value).items()}
    return value
