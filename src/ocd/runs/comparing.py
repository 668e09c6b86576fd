"""Everything that was fitted in a run, ready to predict with every method of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ocd.baselines import (
    TrainedBaseline,
    base_outputs,
    load_baseline,
    reason_unavailable,
    training_failure,
)
from ocd.data import dataset_size
from ocd.evaluation import Comparison, FittedBaselines, MethodSettings, OCDFits, TrainingData
from ocd.lessons import FoldedLessons, LessonSource, StoredLessons
from ocd.model import OCD
from ocd.runs.baselines import baseline_kinds, baseline_work, fine_tuned_path, member_paths, other_bases
from ocd.runs.settings import VARIANTS

if TYPE_CHECKING:
    from ocd.runs.run import Run


def make_comparison(run: Run, seed: int) -> Comparison:
    """Everything that was fitted for a seed, ready to predict."""
    run = run.at(seed)
    fits = {role: (ocd, work) for role, ocd, work in run.fits(seed)}
    ocd, main = fits["main"]
    fitted = run.load(ocd, main)
    _, source = ocd.lessons(run.lessons(seed), main)
    stored = source.reader if isinstance(source, StoredLessons) and ocd.transform is None else None
    if dataset_size(source.overfitter.problem.dataset) != len(run.lessons(seed)):
        stored = None  # of some examples, which have other numbers there
    options = run.run_options
    return Comparison(
        criteria=run.task,
        fits=OCDFits(
            fitted,
            source.overfitter.config,
            run.load(*fits["alternative"]) if "alternative" in fits else None,
            stored,
            {role: run.load(*fits[role]) for role in (*VARIANTS, *run.task.variants) if role in fits},
        ),
        training=TrainingData(run.lessons(seed), run.base_examples, _unseen_residuals(source)),
        settings=MethodSettings(options.num_draws, options.other_draws, options.baselines, seed),
        baselines=_load_baselines(run, fitted, seed),
        seconds=run.phase_seconds(seed),
    )


def _unseen_residuals(source: LessonSource) -> Tensor | None:
    """Targets minus outputs of the base that has not seen them, (N, ...), in the order of the examples;
    None where lessons are not cross-fitted, or have classes."""
    if not isinstance(source, FoldedLessons) or not source.reserves:
        return None
    found = []
    for fold, _ in source.folds:
        inputs, targets = fold.problem.fetch(torch.arange(len(fold.index)))
        outputs = base_outputs(fold.problem.base, inputs).cpu()
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape:
            return None
        found.append(targets.cpu() - outputs)
    return torch.cat(found)[torch.cat([fold.index for fold, _ in source.folds]).argsort()]


def _load_baselines(run: Run, fitted: OCD, seed: int) -> FittedBaselines:
    """What was trained beside a fitted OCD; nothing if the run compares with no such baselines."""
    if not run.run_options.has_baselines:
        return FittedBaselines(skipped=run.task.left_out)
    few = run.examples.rows(slice(0, 2))[0]
    trained: dict[str, TrainedBaseline] = {}
    skipped: dict[str, str] = {}
    for kind in baseline_kinds(run):
        work = baseline_work(run, kind, seed)
        if reason := reason_unavailable(kind, fitted) or training_failure(work):
            skipped[kind] = reason
        else:
            trained[kind] = load_baseline(kind, fitted, few, work)
    paths = member_paths(run, seed)
    others = {
        name: run.read_base(path, options) for name, (options, path) in other_bases(run, seed).items()
    }
    if "fine_tuned_base" not in run.task.left_out:
        others["fine_tuned_base"] = run.read_base(fine_tuned_path(run, seed))
    return FittedBaselines(
        trained,
        ensemble=[fitted.base, *map(run.read_base, paths)] if paths else (),
        other_bases=others,
        skipped=skipped | run.task.left_out,
    )


def missing_file(run: Run, seed: int) -> str | None:
    """The first missing file of those that predicting a seed needs; None if none is missing."""
    run = run.at(seed)
    base, selection = run.base_path(seed), run.selection_path(seed)
    for path in (base, selection):
        if not path.exists():
            return str(path)
    fits = list(run.fits(seed))
    works = [work for _, _, work in fits]
    if run.run_options.has_baselines and works[0].is_finished:
        _, ocd, main = fits[0]
        fitted = run.load(ocd, main)
        kinds = [kind for kind in baseline_kinds(run) if reason_unavailable(kind, fitted) is None]
        works += [baseline_work(run, kind, seed) for kind in kinds]
    paths = [work.checkpoint / "config.json" for work in works]
    if run.run_options.has_baselines:
        paths += member_paths(run, seed)
        paths += [] if "fine_tuned_base" in run.task.left_out else [fine_tuned_path(run, seed)]
        paths += [path for _, path in other_bases(run, seed).values()]
    paths.append(run.root / "predictions" / f"seed-{seed}.safetensors")
    return next((str(path) for path in paths if not path.exists()), None)
