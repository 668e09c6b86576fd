"""What a run needs, looked at before a base is trained or anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ocd.base import find_layer
from ocd.errors import OCDError
from ocd.lessons import fold_parts

if TYPE_CHECKING:
    from ocd.runs.folder import RunFolder


def check_examples(run: RunFolder) -> None:
    """Raises OCDError where there are none, or too few."""
    if not len(run.data.train) or not len(run.data.test):
        raise OCDError(f"task {run.task.name} has no examples to train on or to test")
    _check_folds(run)


def check_layer(run: RunFolder) -> None:
    """Raises OCDError for an unknown layer, and says how more layers move where the task knows that."""
    if run.config.layer == "auto":
        return
    base = run.task.make_base(run.options, run.base_data)
    try:
        find_layer(base, run.config.layer)
    except OCDError as error:
        more = f"; {run.task.more_layers}" if run.task.more_layers else ""
        raise OCDError(f"{error}{more}") from error


def _check_folds(run: RunFolder) -> None:
    """Raises OCDError where a run is to make lessons on bases that have not seen them, and its examples
    make no such folds, or too few classes are left to train a base on; it names what to set."""
    chosen = {"cross_fit": run.crosses_fits, "variants": run.run_options.variants}
    without = " ".join(f"--set {name}=false" for name, is_set in chosen.items() if is_set)
    if not without:
        return
    for seed in run.seeds:
        of_seed = run.at(seed)
        try:
            parts = fold_parts(of_seed.examples, of_seed.groups, run.config.cross_fitting, seed)
        except OCDError as error:
            raise OCDError(f"{error} ({without})") from error
        fewest, targets = run.task.fewest_classes, of_seed.examples.targets
        for part in parts if fewest > 1 else ():
            rest = torch.ones(len(targets), dtype=torch.bool)
            rest[part] = False
            left = len(targets[rest].unique())
            if left < fewest:
                raise OCDError(
                    f"{len(parts)} bases are trained, each without one fold of the {len(targets)} "
                    f"training examples: without a fold of {len(part)} (seed {seed}) the others are "
                    f"of {left} class, where {fewest} are needed; give each class two examples that "
                    f"are no copies, or fit without bases for the folds ({without})"
                )
