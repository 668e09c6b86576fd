"""One verb of a run by several processes: what each of them waits for, and how they are started.

    ocd overfit DIR --shard 2/8        # this process is the second of eight, on any machine
    ocd overfit DIR --num-processes 8  # eight processes on this machine

What is done once (a base, a choice of layer, a plan) is done by the first process; the others wait for
its files. Units (examples to overfit, methods that predict) are taken by all (ocd.data.units). The
first process ends with what has to be made of all units.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ocd.data import Shard, file_digest, wait_for
from ocd.evaluation import Together
from ocd.lessons import Workdir
from ocd.runs.comparing import missing_file

if TYPE_CHECKING:
    from ocd.runs.run import Run


def await_selection(run: Run, seed: int) -> None:
    """Wait until the first process has the base, and the scores of its layers."""
    paths = (run.base_path(seed), run.selection_path(seed))
    _await(
        run.share, lambda: all(path.exists() for path in paths), "the base and the choice of a layer"
    )


def await_plan(run: Run, work: Workdir) -> None:
    """Wait until the first process has decided all that the lessons of a fit depend on."""
    _await(run.share, lambda: work.is_planned, f"the plan of {work.plan.parent.name}")


def await_training(run: Run, seed: int) -> None:
    """Wait until everything is trained that predicts."""
    last = run.root / "predictions" / f"seed-{seed}.safetensors"
    has_reference = run.data.reader is not None  # else there are no new inputs to be judged by it

    def is_trained() -> bool:
        if last.exists():  # and so is everything
            return True
        missing = missing_file(run, seed)
        return missing == str(last) and (run.reference_path(seed).exists() or not has_reference)

    _await(run.share, is_trained, "the training")


def together_of(run: Run, seed: int) -> Together | None:
    """Where the processes that predict a seed put what each method says; None for one that is alone."""
    if run.share.is_alone:
        return None
    # Of these weights: a run that is trained anew has other answers.
    weights = sorted((run.root / "checkpoint").glob(f"seed-{seed}*/*.safetensors"))
    weights += sorted((run.root / "base").glob(f"seed-{seed}*.safetensors"))
    digest = hashlib.sha256("".join(map(file_digest, weights)).encode()).hexdigest()[:16]
    return Together(run.unfinished(seed) / f"methods-{digest}", run.share)


def _await(share: Shard, is_ready: Callable[[], bool], what: str) -> None:
    if share.leads:
        return
    said = f"{what} by shard 0/{share.of}, which does this once"
    wait_for(is_ready, said, lambda line: print(f"shard {share}: {line}", file=sys.stderr, flush=True))


def do_shared(folder: Path, verb: str, share: Shard | None) -> None:
    """overfit or predict, as one of several processes; None: as torchrun says, or alone."""
    from ocd.runs.run import Run

    run = Run.open(folder)
    run.share = share or run.share
    run.do(verb)
