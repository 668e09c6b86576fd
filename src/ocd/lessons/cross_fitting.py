"""Cross-fitting: each example's lesson is made on a base that was not trained on it.

    folds = fold_bases(problem, fit_base, config, seed, work)   # one base without each fold

Where the base was trained on the lessons themselves, hardly any of its errors are left in them. A
callable of the user therefore trains K bases, each without one fold of the examples; the examples of a
fold are described by, and overfitted on, the base that has not seen them. Trained bases lie in the run
folder; an interrupted fit trains only those that are missing.

A move of weights means the same for two bases only where their units do. Bases that start from the same
weights and see nearly the same data are alike enough at the last layer, others need not be. One fold is
therefore kept from the generator, and with it its base: what is learnt on other bases has to gain on
this one (ocd.prediction.sampling), or nothing is moved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import Dataset

from ocd.base import agree, base_digest, check_independent, digest_of, independent_copy, unwrapped
from ocd.data import (
    Inputs,
    call,
    copied,
    dataset_size,
    fetch_rows,
    in_parts,
    in_stratified_parts,
    progress_bar,
    read_json,
    read_state,
    resumable,
    seeded,
    to_device,
    write_json,
    write_state,
)
from ocd.errors import OCDError
from ocd.lessons.config import CrossFittingConfig
from ocd.lessons.folds import Fold, only
from ocd.lessons.problem import Problem

FitBase = Callable[[Dataset[Any]], nn.Module]
"""(dataset) -> a base of the same architecture as the user's, trained on this dataset alone."""


def fold_bases(
    problem: Problem,
    fit_base: FitBase,
    config: CrossFittingConfig,
    seed: int,
    folder: Path,
    key: str,
    progress: bool = True,
) -> list[Fold]:
    """A base for each fold of the problem's examples, trained without it; in `folder`, where those of
    an earlier process are read. `key`: a hash of base and data.

    Raises OCDError where `fit_base` gives another architecture, and for a folder of another fit.
    """
    parts = fold_parts(problem.dataset, problem.belongs, config, seed)
    _open(folder, {"key": key, "made_by": digest_of(fit_base), "num_folds": config.num_folds})
    _train_missing(problem, fit_base, parts, folder, config.num_processes, progress)
    return [
        Fold(replace(only(problem, part), base=_read(problem, _path(folder, number))), part)
        for number, part in enumerate(parts)
    ]


def fold_parts(
    dataset: Dataset[Any], belongs: Tensor | None, config: CrossFittingConfig, seed: int
) -> list[Tensor]:
    """Which examples each fold holds, by chance, in their order. `belongs` (N,): a number for those
    that belong together. Raises OCDError where there are too few for the folds, two examples each."""
    total = dataset_size(dataset)
    if total < 2 * config.num_folds:
        raise OCDError(
            f"{total} examples make no {config.num_folds} folds: give {2 * config.num_folds} at least"
            f"{_fewer_folds(total // 2)}, or fit without bases for the folds"
        )
    made = _parts(dataset, belongs, config, seed)
    if len(made) < config.num_folds:
        raise OCDError(
            f"examples that belong together make {len(made)} folds, not {config.num_folds}: give more"
            f"{_fewer_folds(len(made))}, or fit without bases for the folds"
        )
    return [part.sort().values for part in made]


def _fewer_folds(most: int) -> str:
    return f", set cross_fitting.num_folds to {most} at most" if most >= 2 else ""


def _parts(
    dataset: Dataset[Any], belongs: Tensor | None, config: CrossFittingConfig, seed: int
) -> list[Tensor]:
    total, generator = dataset_size(dataset), seeded(seed, 25)
    if not config.stratify:
        return in_parts(total, config.num_folds, generator, belongs)
    _, classes = fetch_rows(dataset, torch.arange(total))
    if not isinstance(classes, Tensor) or classes.dim() != 1 or classes.is_floating_point():
        raise OCDError("cross_fitting.stratify is for targets that are classes, one an example")
    return in_stratified_parts(classes.cpu(), config.num_folds, generator, belongs)


def _open(folder: Path, made_of: dict[str, Any]) -> None:
    path = folder / "folds.json"
    if not path.exists():
        write_json(path, made_of)
    elif read_json(path) != made_of:
        raise OCDError(
            f"{path} belongs to bases of another base, dataset, fit_base or number of folds: use "
            "another folder, or delete this one"
        )


def _path(folder: Path, number: int) -> Path:
    return folder / f"base-{number}.pt"


def _train_missing(
    problem: Problem,
    fit_base: FitBase,
    parts: list[Tensor],
    folder: Path,
    num_processes: int,
    progress: bool,
) -> None:
    """Train the bases that are not in the folder yet, one at a time or several."""
    missing = [number for number in range(len(parts)) if not _path(folder, number).exists()]
    if not missing:
        return
    wanted = _Served.of(problem.base)
    jobs = []
    for number in missing:
        others = torch.cat([part for place, part in enumerate(parts) if place != number])
        dataset = only(problem, others.sort().values).dataset
        jobs.append((fit_base, dataset, wanted, _path(folder, number)))
    with progress_bar("train bases without a fold", len(jobs), progress) as advance:
        if num_processes == 1:
            made: list[nn.Module] = []
            for job in jobs:
                base = _train(*job)
                _check_apart(problem.base, wanted, base, made, job[-1])
                made.append(base)
                advance(1)
            return
        with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
            for future in [pool.submit(_train, *job) for job in jobs]:
                future.result()
                advance(1)


@dataclass(frozen=True)
class _Served:
    """What is known of the base that is served: the names and shapes of its state, its digest, and a
    copy of its state."""

    form: dict[str, Any]
    digest: str
    state: dict[str, Any]

    @classmethod
    def of(cls, base: nn.Module) -> _Served:
        return cls(_form(base), base_digest(base), copy.deepcopy(unwrapped(base).state_dict()))


def _check_apart(
    served: nn.Module, before: _Served, base: nn.Module, made: list[nn.Module], path: Path
) -> None:
    """Raises OCDError where a base was not trained apart from the one that is served and from those
    before it. The served base gets back what it was."""
    if base_digest(served) != before.digest:
        unwrapped(served).load_state_dict(before.state)
        path.unlink()
        raise OCDError("fit_base changed the base that is served: it must train a new network")
    if any(base is other for other in made):
        path.unlink()
        raise OCDError(
            "fit_base gave the same module twice, which has seen the folds of both: it must make a new "
            "network in each call"
        )


def _train(fit_base: FitBase, dataset: Dataset[Any], wanted: _Served, path: Path) -> nn.Module:
    with (
        torch.random.fork_rng(),
        torch.enable_grad(),
        resumable(path.with_name(f"{path.stem}-unfinished")),
    ):
        return _kept(fit_base(dataset), dataset, wanted, path)


def _kept(base: nn.Module, dataset: Dataset[Any], wanted: _Served, path: Path) -> nn.Module:
    """The base that was trained, once it is in its file."""
    if not isinstance(base, nn.Module):
        raise OCDError(f"fit_base gave a {type(base).__name__}: it must return the trained module")
    base = unwrapped(base)
    if _form(base) != wanted.form:
        raise OCDError(
            "fit_base gave a base with other parameters than the one that is served: it must train "
            "the same architecture"
        )
    if base_digest(base) == wanted.digest:
        raise OCDError(
            "fit_base gave a base with the weights of the one that is served: it must train a new "
            "network on the dataset that it is given"
        )
    few, _ = fetch_rows(dataset, torch.arange(2))
    few = to_device(few, next(base.parameters()).device)
    kept = {"state": base.state_dict(), "inputs": few, "answers": _answers(base, few)}
    write_state(path, kept)
    return base


@torch.no_grad()
def _answers(base: nn.Module, inputs: Inputs) -> list[Tensor]:
    """What a base says, in eval mode: the tensors of its answer."""
    leaves = tree_leaves(call(base.eval(), copied(inputs)))
    return [leaf.cpu() for leaf in leaves if isinstance(leaf, Tensor)]


def _form(base: nn.Module) -> dict[str, Any]:
    """Names and shapes of a base's state."""
    state = unwrapped(base).state_dict()
    return {
        name: tuple(value.shape) if isinstance(value, Tensor) else None for name, value in state.items()
    }


def _read(problem: Problem, path: Path) -> nn.Module:
    """The user's base with the weights of another. Raises OCDError where it does not answer as that
    one did."""
    base = independent_copy(unwrapped(problem.base))
    saved = read_state(path, problem.device)
    base.load_state_dict(saved["state"])
    check_independent(base, problem.base, saved["inputs"])
    ours, theirs = _answers(base, saved["inputs"]), [one.cpu() for one in saved["answers"]]
    same = [one.shape for one in ours] == [one.shape for one in theirs]
    if not same or not all(agree(*pair, loose=True) for pair in zip(ours, theirs, strict=True)):
        path.unlink()
        raise OCDError(
            "fit_base gave a base that answers otherwise than the served one does with its weights: it "
            "must train the same architecture (activations, constants, order of layers)"
        )
    return base
