"""Are there examples enough for the bases of a run? Said before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ocd.errors import OCDError
from ocd.lessons import fold_parts

if TYPE_CHECKING:
    from ocd.runs.folder import RunFolder


def check_folds(run: RunFolder) -> None:
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
                    f"each of {len(parts)} bases is trained without one fold of the {len(targets)} "
                    f"training examples, and without a fold of {len(part)} of seed {seed} the others are "
                    f"of {left} class, where {fewest} are needed: give each class two examples at least "
                    f"that are no copies, or fit without bases for the folds ({without})"
                )
