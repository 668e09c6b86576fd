"""A fit in several processes, as those see it that do not lead it."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from torch.utils.data import Dataset

from ocd.data import wait_for
from ocd.fitting.steps import Fitting
from ocd.hub import load_checkpoint
from ocd.lessons import Workdir

Fit = TypeVar("Fit", bound=Fitting)


def follow(fit: Fit, dataset: Dataset[Any], work: Workdir) -> Fit:
    """Take part in a fit that the first process decides: wait for its plan, overfit units, train with
    it, wait until it has chosen how draws are taken, and be what it has saved."""

    def say(line: str) -> None:
        print(f"process {work.share}: {line}", file=sys.stderr, flush=True)

    wait_for(lambda: work.is_planned, "the plan of the first process", say)
    fit.overfit(dataset, work, progress=False)
    fit.train(dataset, work, progress=False)
    wait_for(lambda: work.is_finished, "what the first process chooses", say)
    saved = load_checkpoint(work.checkpoint, fit.base, fit.encoder, fit.outputs)
    fit.hypernetwork, fit.frozen, fit.notes = saved.network, saved.frozen, saved.notes
    fit.fingerprint, fit.made_for = saved.fingerprint, saved.made_for
    return fit
