"""Batches read by worker processes are the ones that would have been read without them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from helpers import LOSS, STORED, config, digits, digits_base, same_state
from ocd import OCD, OCDConfig, OCDError
from ocd.tasks.images.augmentation import image_transform
from ocd.training import Trainer

TRANSFORM = image_transform(1, 1.0)


def fit(root, settings=None, dataset=None):
    ocd = OCD(digits_base(), loss=LOSS, config=config(settings), transform=TRANSFORM)
    return ocd.fit(dataset or digits(), root, progress=False)


def test_workers_change_nothing(tmp_path):
    made = [fit(tmp_path / str(workers), {"collection.num_workers": workers}) for workers in (0, 2)]
    assert same_state(*(ocd.hypernetwork.state_dict() for ocd in made))


def test_a_run_goes_on_with_them(tmp_path, monkeypatch):
    settings = {"collection.num_workers": 1}
    whole = fit(tmp_path / "whole", settings)
    step = Trainer._train_step

    def stops(self):
        if self.step == 12:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "stopped", settings)
    again = fit(tmp_path / "stopped", settings)
    assert same_state(whole.hypernetwork.state_dict(), again.hypernetwork.state_dict())


class Slow(Dataset):
    """Reads one by one, and remembers who read."""

    def __init__(self, broken=False):
        self.examples, self.broken, self.read = digits(60), broken, 0

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        self.read += 1
        if self.broken and torch.utils.data.get_worker_info() is not None:
            raise ValueError("this file is broken")
        return self.examples[index]


def test_it_is_the_workers_that_read(tmp_path):
    counts = []
    for workers in (0, 1):
        dataset = Slow()
        fit(tmp_path / str(workers), {"collection.num_workers": workers}, dataset)
        counts.append(dataset.read)
    assert counts[1] <= counts[0] - 20 * 16  # steps of a batch each


def test_an_error_in_a_worker_is_the_datasets_own(tmp_path):
    with pytest.raises(ValueError, match="this file is broken"):
        fit(tmp_path, {"collection.num_workers": 1}, Slow(broken=True))


def test_a_worker_that_dies_is_one_line(tmp_path):
    class Deadly(Slow):
        def __getitem__(self, index):
            if torch.utils.data.get_worker_info() is not None:
                import os

                os._exit(9)
            return super().__getitem__(index)

    with pytest.raises(OCDError, match=r"worker process .* failed .*num_workers to 0"):
        fit(tmp_path, {"collection.num_workers": 1}, Deadly())


def test_a_store_needs_none(tmp_path):
    made = [
        fit(tmp_path / str(workers), STORED | {"collection.num_workers": workers}) for workers in (0, 1)
    ]
    assert same_state(*(ocd.hypernetwork.state_dict() for ocd in made))


def test_a_negative_number_is_refused():
    with pytest.raises(OCDError, match="it must be at least 0"):
        OCDConfig().replace({"collection.num_workers": -1})
