"""One verb of a run by several processes: what each of them waits for, and how they are started.

    ocd overfit DIR --shard 2/8        # this process is the second of eight, on any machine
    ocd overfit DIR --num-processes 8  # eight processes on this machine

What is done once (a base, a choice of layer, a plan, a training) is done by whoever is there first; the
others wait for its files, and go on with it where that process has died (ocd.runs.phases). Units
(examples to overfit, methods that predict) are taken by all (ocd.data.units).
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ocd.data import Shard, file_digest, wait_for
from ocd.evaluation import Together
from ocd.lessons import Workdir

if TYPE_CHECKING:
    from ocd.runs.run import Run


def await_end(work: Workdir, team: Shard) -> None:
    """Wait until the first process of a launch has saved what all have trained."""

    def say(line: str) -> None:
        print(f"process {team}: {line}", file=sys.stderr, flush=True)

    wait_for(lambda: work.is_finished, f"the first process to finish {work.member}", say)


def together_of(run: Run, seed: int) -> Together:
    """Where the processes that predict a seed put what each method says; one that is alone too, so that
    any number of them may go on with it."""
    # Of these weights: a run that is trained anew has other answers.
    weights = _of_seed(run.root / "checkpoint", seed, "/*.safetensors")
    weights += _of_seed(run.root / "base", seed, ".safetensors")
    digest = hashlib.sha256("".join(map(file_digest, weights)).encode()).hexdigest()[:16]
    return Together(run.unfinished(seed) / f"methods-{digest}", run.share)


def _of_seed(folder: Path, seed: int, ending: str) -> list[Path]:
    """The files of a seed and of its roles, `seed-1` and `seed-1-tuned`, and not those of `seed-10`."""
    return sorted([*folder.glob(f"seed-{seed}{ending}"), *folder.glob(f"seed-{seed}-*{ending}")])


def do_shared(folder: Path, verb: str, share: Shard | None) -> None:
    """overfit or predict, as one of several processes; None: as torchrun says, or alone. What units
    hold is then the same bits, whatever the number of processes and of their threads."""
    from ocd.runs.run import Run

    run = Run.open(folder)
    run.share, run.is_shared = share or run.share, True
    run.do(verb)
