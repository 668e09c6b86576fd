"""A training step waits for nothing that its device computes: a GPU is kept busy."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import STORED, prepared, trainer_of
from ocd.training import Trainer

OF_THE_PROCESSOR = {
    ("sources.py", "rows"),  # of which examples it is known that they are finite
    ("memory.py", "_learn"),  # of which examples the base was asked for
    ("memory.py", "_unknown"),
    ("store.py", "rows"),  # which file each row is in
    ("averaging.py", "update"),  # how many steps were averaged
    ("swa_utils.py", "update_parameters"),
}
"""Functions whose values are on the processor whatever the device: reading them waits for nothing."""


class Reads(TorchDispatchMode):
    """Notes where a value is read out of a tensor: .item(), float(), bool(), .cpu()."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[tuple[str, str]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        to = kwargs.get("device")
        if name == "_local_scalar_dense" or (name == "_to_copy" and str(to) == "cpu"):
            frames = [
                (Path(frame.filename).name, frame.name)
                for frame in traceback.extract_stack()
                if "/ocd/" in frame.filename or "swa_utils" in frame.filename
            ]
            self.places.add(frames[-1])
        return function(*args, **kwargs)


def trainer(root: Path, settings: dict) -> Trainer:
    ocd, work, examples = prepared(root, settings | {"training.num_steps": 40})
    return trainer_of(ocd, examples, work)


@pytest.mark.parametrize(
    "settings",
    [STORED, {"collection.storage": "on_the_fly"}, {"training.task_loss_weight": 1.0}],
    ids=["stored", "fresh", "task loss"],
)
def test_a_step_reads_no_value_of_the_device(tmp_path: Path, settings: dict) -> None:
    found = trainer(tmp_path, settings)
    epoch = -(-len(found.indices) // found.config.batch_size)
    for _ in range(epoch + 1):  # by then every example was overfitted once
        found._train_step()
        found.step += 1
    with Reads() as reads:
        found._train_step()
    assert reads.places <= OF_THE_PROCESSOR


def test_reads_are_seen(tmp_path: Path) -> None:
    """What the test above relies on: at the end of a step that is logged the losses are read."""
    found = trainer(tmp_path, {})
    losses = found._train_step()
    found.step = found.config.num_steps
    with Reads() as reads:
        found._after_step(losses)
    assert {("finite.py", "check"), ("trainer.py", "<dictcomp>")} <= reads.places


def test_weights_stay_where_they_were_before_a_step_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trainer(tmp_path, {})
    found._train_step()
    before = [parameter.detach().clone() for parameter in found.network.parameters()]
    losses = found._losses
    monkeypatch.setattr(found, "_losses", lambda *given: {"loss": torch.nan * losses(*given)["loss"]})
    found._train_step()
    monkeypatch.setattr(found, "_losses", losses)
    found._train_step()  # nor do later ones move them
    for parameter, value in zip(found.network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
