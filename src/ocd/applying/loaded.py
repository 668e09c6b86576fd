"""A run that is loaded to answer for new inputs.

    fitted = ocd.load("runs/mine")
    answers = fitted.predict(frame)      # or images, or poses: what the run's task reads
    answers.frame()                      # a row for each input, in the user's own units and class names

Neither the data that the run was trained on nor its other files are read: the base, the generator, how
inputs were read (preprocessing/) and how far training inputs lie apart (reference/).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from ocd.applying.answers import Answers, make_answers
from ocd.data import to_device
from ocd.errors import OCDError
from ocd.hub import CardFacts, PushOptions
from ocd.model import OCD
from ocd.prediction import Reference
from ocd.reporting import opening_lines, results_in_short
from ocd.runs import Run, read_reported
from ocd.tasks import Answer, NewRows, Reader, folder_name

ANSWERS = ("ensemble", "mean")


@dataclass(frozen=True)
class Ask:
    """What is asked for. `draws`: of each input, None for the run's own number. `answer`: ensemble, the
    draws joined as the task joins them, or mean, one pass with the expected delta. `seed`: of the
    draws."""

    draws: int | None = None
    answer: str = "ensemble"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise OCDError(f"answer is {self.answer!r}: use one of {', '.join(ANSWERS)}")
        if self.draws is not None and self.draws < 1:
            raise OCDError(f"draws is {self.draws}: at least one draw is needed")


@dataclass
class LoadedRun:
    """A fitted OCD with all that a run's task knows of its inputs and answers. Safe to be asked by
    several threads: they are answered one after another, each as if it were alone."""

    run: Run
    seed: int
    ocd: OCD
    reference: Reference | None
    """None of a run that reads no new inputs."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def reader(self) -> Reader:
        """Reads inputs as the run's own were read."""
        reader = self.run.data.reader
        if reader is None:
            raise OCDError(f"task {self.run.task.name} reads no new inputs, only its own examples")
        return reader

    @property
    def says(self) -> Answer:
        """What the base's outputs are."""
        return self.reader.answer

    @property
    def takes(self) -> str:
        """What `predict` and `ocd apply` read, in words."""
        return self.reader.takes

    @property
    def num_draws(self) -> int:
        """Draws where none are asked for: those of the run's own table."""
        return self.run.run_options.num_draws

    @property
    def cautions(self) -> list[str]:
        """What the run's report says against its use: no gain against the base, intervals that are
        wrong. Empty where it says nothing of the kind, or where there is no report yet."""
        if not (self.run.root / "results.json").exists():
            return []
        verdict = read_reported(self.run.root).results["verdict"]
        found = [] if verdict["statement"] == "gain" else [verdict["sentence"]]
        if verdict.get("joint", {}).get("statement") == "worse":
            found.insert(0, verdict["joint"]["sentence"])
        asked = verdict.get("asked", {})
        if asked.get("statement") == "worse" and asked.get("sentence"):
            found.insert(0, asked["sentence"])
        distribution = verdict.get("distribution", {})
        if distribution.get("statement") == "wrong":
            found.append(distribution["sentence"])
        return found

    def predict(
        self, data: Any, draws: int | None = None, answer: str = "ensemble", seed: int = 0
    ) -> Answers:
        """Answers for what a program has at hand: a data frame or dicts for a table, images, poses.

        Each input's answer depends on it and on `seed` alone, not on the others. Raises OCDError, in
        one line that says which row, for what cannot be read as the run's own inputs were.
        """
        return self.answer(self.reader.take(data), Ask(draws, answer, seed))

    def card_facts(self, licence: str | None = None) -> CardFacts:
        """What the model card of this run's generator says: its verdict first, then its tables. Raises
        OCDError where there is no report yet. `licence`: of the generator, as the hub names it."""
        results, task = read_reported(self.run.root).results, self.run.task
        examples = results["examples"]
        return replace(
            self.ocd.card_facts(),
            title=f"OCD on `{task.name}`, layer `{results['layer']}`",
            data=f"{task.data}; {examples['train']:,} training and {examples['test']:,} test examples",
            verdict="\n\n".join(opening_lines(results["verdict"])),
            results=results_in_short(results),
            licence=licence,
            tags=(folder_name(task.name),),
        )

    def push_to_hub(
        self, repo_id: str, licence: str | None = None, **options: Unpack[PushOptions]
    ) -> str:
        """Push the generator of this seed with a card that has the run's verdict and tables (see
        OCD.push_to_hub)."""
        return self.ocd.push_to_hub(repo_id, self.card_facts(licence), **options)

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The rows of a file or folder from `start` on, `size` at a time."""
        return self.reader.read(source, size, start)

    def answer(self, rows: NewRows, ask: Ask) -> Answers:
        """Answers for rows that a reader gave, or for the run's own inputs."""
        mode = "mean" if ask.answer == "mean" else "draws"
        with self._lock:
            found = self.ocd.predict(rows.inputs, ask.draws or self.num_draws, mode, ask.seed)
            near = self._near(rows)
        return make_answers(rows, found, self.run.task.join_draws, self.says, near)

    def _near(self, rows: NewRows) -> tuple[Tensor, Tensor]:
        """Distances to the training inputs, and shares of these that are nearer; not known of a run
        without a reference."""
        if self.reference is None:
            unknown = torch.full((len(rows),), math.nan)
            return unknown, unknown
        fitted = self.ocd.generator()
        return self.reference.judge(fitted, to_device(rows.inputs, fitted.frozen.device))


def load(
    folder: str | Path, seed: int | None = None, device: str | None = None, with_data: bool = False
) -> LoadedRun:
    """The fitted OCD of a run folder. `seed`: one of the run's, the first where it is None. `device`:
    auto, cpu or cuda, as the run was made where it is None. `with_data`: whether the run's own examples
    are read too (`run.data`); a run that reads no new inputs can be loaded only so.

    Raises OCDError where the folder is no run, the seed is not trained yet, or the run is of an earlier
    version.
    """
    run = Run.open(Path(folder), with_data)
    if device is not None:
        run.run_options = type(run.run_options)(**{**vars(run.run_options), "device": device})
    chosen = run.seeds[0] if seed is None else seed
    if chosen not in run.seeds:
        listed = ", ".join(map(str, run.seeds))
        raise OCDError(f"{folder} has no seed {chosen}; there are: {listed}")
    if not run.base_path(chosen).exists() or not run.selection_path(chosen).exists():
        raise OCDError(f"{folder} is not trained yet (seed {chosen}): go on with `ocd run`")
    _, ocd, work = next(run.fits(chosen))
    reads = run.data.reader is not None
    if not work.is_finished or (reads and not run.reference_path(chosen).exists()):
        raise OCDError(f"{folder} is not trained yet (seed {chosen}): go on with `ocd run`")
    fitted = run.load(ocd, work)
    with torch.no_grad():
        return LoadedRun(run, chosen, fitted, run.reference(chosen) if reads else None)
