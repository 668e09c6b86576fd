"""The baselines of a run: those that are trained beside the generator, and other bases."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.baselines import (
    DRAWN,
    EQUAL_TIME,
    TRAINED,
    MainFit,
    fine_tune,
    fit_baseline,
    reason_unavailable,
)
from ocd.data import (
    Batch,
    Examples,
    Job,
    dataset_size,
    fetch_rows,
    read_json,
    seeded,
    take_excerpt,
    to_device,
    write_tensors,
)
from ocd.lessons import FitBase, Workdir
from ocd.model import OCD
from ocd.runs.phases import do_jobs, phase_job
from ocd.runs.progress import say_progress
from ocd.tasks import TaskData
from ocd.training import task_excerpt

if TYPE_CHECKING:
    from ocd.runs.run import Run

FEW = ("fine_tuned_layer",)
"""Those of the trained baselines that cost seconds."""


def train_baselines(run: Run, seed: int) -> None:
    """Train the baselines and the other bases of a seed that are not trained yet, each in a folder or
    file of its own; several processes take one each."""
    kinds = [kind for kind in baseline_kinds(run) if not baseline_work(run, kind, seed).is_finished]
    jobs: list[Job] = []
    if kinds:
        fits = {role: (ocd, work) for role, ocd, work in run.fits(seed)}
        ocd, main = fits["main"]
        fitted = run.load(ocd, main)
        kinds = [kind for kind in kinds if reason_unavailable(kind, fitted) is None]
        jobs = [_training(run, kind, seed, fitted, main) for kind in kinds]
    of_equal_time = [job for kind, job in zip(kinds, jobs, strict=True) if kind == EQUAL_TIME]
    others = [job for kind, job in zip(kinds, jobs, strict=True) if kind != EQUAL_TIME]
    do_jobs(run, [*others, *base_jobs(run, seed)])
    do_jobs(run, of_equal_time)  # which needs to know how long another took


def _training(run: Run, kind: str, seed: int, fitted: OCD, main: Workdir) -> Job:
    """The training of one kind of baseline."""
    work = baseline_work(run, kind, seed)

    def train() -> None:
        fit = MainFit(fitted, main, run.lessons(seed), labelled=run.examples)
        fit_baseline(kind, fit, work, _equal_time(run, seed) if kind == EQUAL_TIME else None)

    return phase_job(run, kind, seed, [work.checkpoint], train, lambda: work.is_finished)


def baseline_kinds(run: Run) -> list[str]:
    """The trained baselines of this run, in the order in which they are trained."""
    if run.run_options.baselines == "few":
        return [*FEW]
    drawn = DRAWN if run.task.compose is not None else ()
    kinds = [*TRAINED, *drawn, *([EQUAL_TIME] if run.run_options.baselines == "more" else [])]
    return [kind for kind in kinds if kind not in run.task.left_out]


def _equal_time(run: Run, seed: int) -> int | None:
    """The number of steps in which the label network trains for as long as OCD overfitted and trained;
    None if its first training failed."""
    shorter = read_json(baseline_work(run, "label_network", seed).checkpoint / "config.json")
    seconds = run.phase_seconds(seed)
    ours = (seconds.get("overfit") or 0) + (seconds.get("train") or 0)
    theirs = seconds.get("label_network")
    if not theirs or "num_steps" not in shorter:
        return None
    return max(1, round(ours / theirs * shorter["num_steps"]))


def base_jobs(run: Run, seed: int) -> list[Job]:
    """The trainings of the deep ensemble's other bases, from other seeds, and of the task's other kinds
    of base."""
    jobs = []
    for path in member_paths(run, seed):
        number = int(path.stem.rpartition("-")[2])
        jobs.append(_base_job(run, path, _trained_options(run), "deep_ensemble", seed, number))
    if "fine_tuned_base" not in run.task.left_out:
        path = fine_tuned_path(run, seed)
        tune = partial(_fine_tune_base, run, seed)
        jobs.append(phase_job(run, "fine_tuned_base", seed, [path], tune))
    for name, (options, path) in other_bases(run, seed).items():
        jobs.append(_base_job(run, path, options, name, seed, 0))
    return jobs


def fine_tuned_path(run: Run, seed: int) -> Path:
    """The file of the base whose layers were all fine-tuned on OCD's examples."""
    return run.root / "base" / f"seed-{seed}-fine_tuned_base.safetensors"


def _fine_tune_base(run: Run, seed: int) -> None:
    base = run.base(seed)
    device, transform = next(base.parameters()).device, run.task.make_transform(run.options)
    excerpt, config = run.task.make_excerpt(run.options), run.config

    def fetch(index: Tensor, generator: torch.Generator | None) -> Batch:
        inputs, targets = run.examples.rows(index)
        inputs, targets = to_device(inputs, device), to_device(targets, device)
        if generator is not None and transform is not None and run.run_options.augment:
            inputs = transform(inputs, generator)
        size = -(-task_excerpt(config.overfit.excerpt) // len(index))
        return take_excerpt(excerpt, inputs, targets, size, generator or seeded(seed))

    tuned = fine_tune(base, run.task.loss, len(run.examples), fetch, seed, belongs=run.groups)
    write_tensors(fine_tuned_path(run, seed), tuned.state_dict())


def base_trainer(run: Run, seed: int) -> FitBase:
    """Trains a base of the run's task on other examples, from the same seed."""
    return partial(
        _trained_base, run.task.make_base, run.task.train_base, _Quiet(run.base_data),
        _trained_options(run), seed, str(run.run_options.torch_device()),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Quiet:
    """A task's data, which a hash of what trains a base leaves out: its dataset is hashed already."""

    data: TaskData


def new_base(
    make: Any, train: Any, data: TaskData, options: Any, seed: int, device: torch.device | str
) -> nn.Module:
    """A trained base. It depends on its seed alone, also where `make` (Task.make_base) or `train` take
    their chance from torch's own generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        base: nn.Module = make(options, data).to(device)
        train(base, data, options, seed, say_progress)
    return base


def _trained_base(
    make: Any, train: Any, of: _Quiet, options: Any, seed: int, device: str, dataset: Dataset[Any]
) -> nn.Module:
    examples = (
        dataset if isinstance(dataset, Examples) else Examples(*fetch_rows(dataset, _all(dataset)))
    )
    data = dataclasses.replace(of.data, train=examples, groups=None)
    return new_base(make, train, data, options, seed, device)


def _all(dataset: Dataset[Any]) -> Tensor:
    return torch.arange(dataset_size(dataset))


def _base_job(run: Run, path: Path, options: Any, name: str, seed: int, number: int) -> Job:
    """The training of one other base. `number`: of those that differ in the seed alone."""

    def train() -> None:
        chance = 1000 * (seed + 1) + number
        task, device = run.task, run.run_options.torch_device()
        base = new_base(task.make_base, task.train_base, run.base_data, options, chance, device)
        write_tensors(path, base.state_dict())

    return phase_job(run, name, seed, [path], train, of=path.stem)


def _trained_options(run: Run) -> Any:
    """The task's options for a base that is trained here, even if the run's own base was loaded."""
    if getattr(run.options, "base", None) is None:
        return run.options
    return dataclasses.replace(run.options, base=None)


def other_bases(run: Run, seed: int) -> dict[str, tuple[Any, Path]]:
    """Name of another kind of base -> its options, and the file that it is kept in; with few baselines
    there is none."""
    if run.run_options.baselines == "few":
        return {}
    return {
        name: (
            dataclasses.replace(_trained_options(run), **changes),
            run.root / "base" / f"seed-{seed}-{name}.safetensors",
        )
        for name, changes in run.task.other_bases.items()
    }


def member_paths(run: Run, seed: int) -> list[Path]:
    """The files of the other bases of the deep ensemble."""
    numbers = range(1, run.run_options.num_bases)
    return [run.root / "base" / f"seed-{seed}-member-{n}.safetensors" for n in numbers]


def baseline_work(run: Run, kind: str, seed: int) -> Workdir:
    """The folder of one trained baseline of a seed."""
    return Workdir(run.root, f"seed-{seed}-{kind}", {"seed": seed, "role": kind})
