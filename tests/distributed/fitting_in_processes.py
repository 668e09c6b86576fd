"""What each process of a training runs, started as torchrun does: `python fitting_in_processes.py DIR`.

train   the training of a fit whose lessons are made already; stops after STOP_AT steps if that is set
fit     a whole fit in Python, and a prediction
run     a run folder, up to its predictions
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import TINY
from ocd import OCD, OCDError
from ocd.data import write_tensors
from ocd.distributed import launched
from ocd.lessons import Workdir
from ocd.runs import Run
from ocd.training import Trainer
from small_run import shrink

SETTINGS = {"training.num_steps": 30, "training.batch_size": 24, "seed": 3}
COUNT = 120


def fit_of(settings: dict[str, object]) -> OCD:
    """The fit whose training is compared; NORMED=1 in the environment: its encoder has a batch norm."""
    tiny = TINY["linear"]
    ocd = tiny.ocd(SETTINGS | settings)
    if os.environ.get("NORMED") == "1":
        with torch.random.fork_rng():
            torch.manual_seed(7)
            # No bias before the norm: its gradient is rounding alone, and Adam makes steps of that.
            ocd.encoder = nn.Sequential(
                nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)
            )
    return ocd


def main(what: str, root: Path, settings: dict[str, object]) -> None:
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    shrink(patch)
    tiny = TINY["linear"]
    if what == "run":
        Run.open(root).do("predict")
        return
    ocd, examples = fit_of(settings), tiny.examples(COUNT)
    if what == "fit":
        ocd.fit(examples, root, progress=False)
        outputs = ocd.predict(tiny.inputs(9, seed=4), draws=3).outputs
        write_tensors(root / f"predicted-{launched().number}.safetensors", {"outputs": outputs})
        return
    if stop_at := int(os.environ.get("STOP_AT", "0")):
        step = Trainer._after_step

        def stopping(self: Trainer, losses: dict[str, float]) -> None:
            step(self, losses)
            if self.step == stop_at:
                os._exit(3)

        patch.setattr(Trainer, "_after_step", stopping)
    ocd.train(examples, Workdir(root, share=launched()), progress=False)


if __name__ == "__main__":
    storage, transform = sys.argv[3:5]
    try:
        main(sys.argv[1], Path(sys.argv[2]), {"collection.storage": storage, "common_move": transform})
    except OCDError as error:  # as the command does
        print(f"ocd: {error}", file=sys.stderr)
        sys.exit(2)
