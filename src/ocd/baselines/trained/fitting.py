"""Train a baseline in a work folder of its own, and load it again.

A finished folder holds `checkpoint/NAME/config.json`. It names the weights, or says why the training
failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from ocd.baselines.trained.drawn import OutputDiffusion
from ocd.baselines.trained.examples import LabelledExamples
from ocd.baselines.trained.kinds import DRAWN, network_kind
from ocd.baselines.trained.networks import SharedWeight, make_network
from ocd.baselines.trained.objectives import make_objective
from ocd.baselines.trained.predictor import TrainedBaseline
from ocd.data import (
    Inputs,
    dataset_size,
    file_digest,
    load_strictly,
    progress_bar,
    read_json,
    write_json,
    write_tensors,
)
from ocd.errors import OCDError
from ocd.lessons import (
    NUM_GROUPS,
    Fold,
    FoldedLessons,
    LessonSource,
    Overfitter,
    Workdir,
    find_common_move,
    groups_of,
    in_order,
)
from ocd.model import OCD
from ocd.training import Trainer, TrainingConfig, TrainingFiles, task_excerpt

UNBOUNDED = 2**62
"""Lessons by which a search is not bounded."""


@dataclass(frozen=True)
class MainFit:
    """The finished fit of OCD that a baseline is trained beside.

    `work`: the fit's own folder. `dataset`: the examples with the targets that OCD learned from.
    `labelled`: the same examples with their labels, where OCD learned from other targets. They are for
    the label network, which has no base.
    """

    ocd: OCD
    work: Workdir
    dataset: Dataset[Any]
    labelled: Dataset[Any] | None = None


def fit_baseline(
    kind: str, fit: MainFit, work: Workdir, num_steps: int | None = None, progress: bool = True
) -> None:
    """Train a baseline into the folder `work`; resumes where it was interrupted.

    `num_steps`: another number of steps than OCD's. The number with which a training began is kept.
    A training that diverges is finished too; `training_failure` says why it has no weights. Raises
    OCDError where this OCD has no such baseline.
    """
    if network_kind(kind) == "fine_tuned_layer":
        _tune_layer(fit, work, progress)
        return
    ocd = fit.ocd
    record, source = ocd.lessons(fit.dataset, fit.work)
    examples = _examples(kind, source, fit.labelled)
    overfitter = examples.overfitter
    few, _ = overfitter.fetch(torch.arange(min(2, dataset_size(fit.dataset))), torch.Generator())
    network = make_network(kind, ocd, few)
    objective = make_objective(kind, overfitter, ocd)
    config = _with_num_steps(ocd.config.training, num_steps, work)
    key = f"{kind} {record.key['all']}"
    files = TrainingFiles(work.log(), work.checkpoint / "training.pt", key)
    trainer = Trainer(network, examples, objective, config, ocd.config.seed, files)
    trainer.resume()
    try:
        with progress_bar(f"train {kind}", trainer.config.num_steps, progress) as advance:
            trained = trainer.run(advance)
    except OCDError as error:  # one baseline that diverges must not cost the whole table
        write_json(work.checkpoint / "config.json", {"baseline": kind, "failed": str(error)})
        return
    if isinstance(trained, OutputDiffusion):
        _choose_sampling(trained, trainer, examples)
    weights = work.checkpoint / "model.safetensors"
    write_tensors(weights, trained.state_dict())
    finished = {"baseline": kind, "weights": file_digest(weights), "num_steps": trainer.step}
    write_json(work.checkpoint / "config.json", finished)


def _choose_sampling(trained: OutputDiffusion, trainer: Trainer, examples: LessonSource) -> None:
    """On the examples that judge OCD's draws: not trained on, and not those that chose the weights."""
    judges = trainer.held_out[~torch.isin(trainer.held_out, trainer.choosing)]
    if not len(judges):
        return
    batches, kept = [], []
    for few in judges.split(trainer.config.batch_size):
        few = in_order(examples, few)
        rows = examples.rows(few, torch.Generator())
        pairs = [(rows, few)]
        if len(rows) < len(few):  # some are not finite: which, they say one by one
            pairs = [(examples.rows(one, torch.Generator()), one) for one in few.split(1)]
        batches += [rows for rows, _ in pairs if len(rows)]
        kept += [examples.examples[places] for rows, places in pairs if len(rows)]
    if batches:
        belongs = examples.overfitter.problem.belongs
        together = None if belongs is None else belongs[torch.cat(kept)]
        trained.choose_sampling(batches, examples.overfitter.loss, together)


def _tune_layer(fit: MainFit, work: Workdir, progress: bool) -> None:
    """Fine-tune the layer once for all, on OCD's examples. The learning rate and the number of steps,
    none at all among them, are chosen on lessons that are kept apart (ocd.lessons.common_move)."""
    ocd = fit.ocd
    record, source = ocd.lessons(fit.dataset, fit.work)
    assert record.plan is not None
    problem = replace(source.overfitter.problem, start=None, fit_base=None)
    frozen = Overfitter.of_plan(problem, record.plan, ocd.config.lessons).frozen
    seed, excerpt = ocd.config.seed, task_excerpt(ocd.config.overfit.excerpt)
    frozen.capture(problem.fetch(torch.arange(min(2, dataset_size(problem.dataset))))[0])
    move = find_common_move(
        groups_of(problem, frozen, NUM_GROUPS, seed), "auto", excerpt, seed, UNBOUNDED, progress
    )
    network = SharedWeight(frozen)
    if move.delta is not None:
        network.weight.data.copy_(move.delta.view_as(network.weight))
    weights = work.checkpoint / "model.safetensors"
    write_tensors(weights, network.state_dict())
    record.note(move.note.replace("common move", "layer fine-tuned once"))
    finished = {"baseline": "fine_tuned_layer", "weights": file_digest(weights), "note": move.note}
    write_json(work.checkpoint / "config.json", finished)


def training_failure(work: Workdir) -> str | None:
    """Why the training of a finished baseline failed; None if it did not."""
    reason: str | None = read_json(work.checkpoint / "config.json").get("failed")
    return reason


def load_baseline(kind: str, ocd: OCD, inputs: Inputs, work: Workdir) -> TrainedBaseline:
    """The baseline that `fit_baseline` left in `work`. `inputs`: two examples or more.

    Raises OCDError for weights that are missing, damaged, or of another baseline.
    """
    saved = read_json(work.checkpoint / "config.json")
    network = make_network(kind, ocd, inputs)
    load_strictly(network, work.checkpoint / "model.safetensors", saved["weights"])
    return TrainedBaseline(kind, ocd, network.eval())


def _examples(kind: str, source: LessonSource, labelled: Dataset[Any] | None) -> LessonSource:
    """What a baseline learns from: OCD's overfitted examples, or examples with their labels."""
    network, overfitter = network_kind(kind), source.overfitter
    if network in DRAWN and isinstance(source, FoldedLessons):  # each on a base that has not seen it
        folds: list[tuple[Fold, LessonSource]] = [
            (fold, LabelledExamples(of.overfitter, with_condition=True)) for fold, of in source.folds
        ]
        return replace(source, folds=folds)
    if network == "delta_regression":
        return source
    if network == "label_network" and labelled is not None:
        overfitter = replace(overfitter, problem=replace(overfitter.problem, dataset=labelled))
    return LabelledExamples(overfitter, with_condition=network != "label_network")


def _with_num_steps(config: TrainingConfig, num_steps: int | None, work: Workdir) -> TrainingConfig:
    """The settings with the number of steps that this training began with, if it has one of its own."""
    if num_steps is None:
        return config
    steps = work.checkpoint / "steps.json"
    if not steps.exists():
        write_json(steps, {"num_steps": num_steps})
    return replace(config, num_steps=read_json(steps)["num_steps"])
