"""What a GPU must get right: the same answers as a processor, in spite of TF32 and of other kernels.

    python -m pytest -m gpu tests/test_on_a_gpu.py

PyTorch's own settings are left as they come: convolutions in TF32.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import reference
from helpers import LOSS, config, digits, digits_base, test_digits
from nets import Adds, AddsInPlace, Case, cross_entropy, every_case, targets
from ocd import OCD
from ocd.base import DenseDelta, FrozenBase, probe
from ocd.data import Inputs, map_tensors
from ocd.lessons import OverfitConfig, Workdir, overfit
from ocd.lessons.learning_rate import choose_lr
from ocd.runs import Run
from ocd.training import Trainer
from small_run import SMALL

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
]


def there(inputs: Inputs) -> Inputs:
    return map_tensors(lambda tensor: tensor.to(DEVICE), inputs)


def images(count: int = 256) -> tuple[Tensor, Tensor]:
    """Images of noise that is not the same everywhere, and classes that depend on it."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % 10
    patterns = torch.randn(10, 3, 32, 32, generator=generator)
    return patterns[labels] + torch.randn(count, 3, 32, 32, generator=generator), labels


def convolutions(width: int = 32) -> nn.Module:
    """Wide enough for the kernels that large networks get."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
        ).eval()  # fmt: skip


@every_case
def test_moved_answers_are_those_of_single_passes(case: Case) -> None:
    base, inputs, deltas = case.build(), case.inputs(4), case.deltas(4, 2)
    wanted = reference.run(base, case.layer, inputs, deltas)
    frozen = FrozenBase(copy.deepcopy(base).to(DEVICE), case.layer)
    probe(frozen, there(inputs))
    found = frozen.run(frozen.capture(there(inputs)), DenseDelta(deltas.to(DEVICE)))
    assert torch.allclose(found.cpu(), wanted, atol=1e-9)


@every_case
def test_overfitting_is_that_of_single_examples(case: Case) -> None:
    base, inputs, labels = case.build(), case.inputs(4), targets(4)
    make = partial(torch.optim.SGD, lr=0.1)
    trainable = base
    if case.make is AddsInPlace:
        trainable = Adds().double()
        trainable.load_state_dict(base.state_dict())
    wanted = reference.overfit(trainable, case.layer, cross_entropy, inputs, labels, make, 3)
    on_gpu, there_labels = copy.deepcopy(base).to(DEVICE), labels.to(DEVICE)
    deltas = overfit(on_gpu, case.layer, cross_entropy, there(inputs), there_labels, lr=0.1)
    assert torch.allclose(deltas.dense().cpu().view_as(wanted), wanted, atol=1e-9)


@pytest.mark.parametrize("layer", ["0", "3", "9"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_fast_ways_are_found_in_spite_of_rounding(layer: str, channels_last: bool) -> None:
    inputs, _ = images(64)
    ways = []
    for device in ("cpu", DEVICE):
        frozen = FrozenBase(convolutions().to(device), layer, channels_last)
        probe(frozen, inputs.to(device))
        ways.append((frozen.way, frozen.front(inputs.to(device)) is not None))
    assert ways[0] == ways[1]


@pytest.mark.parametrize("layer", ["3", "9"])
def test_a_learning_rate_is_found_in_spite_of_rounding(layer: str) -> None:
    inputs, labels = images()
    found = []
    for device in ("cpu", DEVICE):
        frozen = FrozenBase(convolutions().to(device), layer)
        probe(frozen, inputs.to(device))
        capture = frozen.capture(inputs.to(device))
        lr, _ = choose_lr(frozen, capture, cross_entropy, labels.to(device), OverfitConfig())
        found.append(lr)
    assert found[1] == pytest.approx(found[0], rel=0.1)


def test_proofs_leave_the_precision_as_it_was() -> None:
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    inputs, _ = images(8)
    probe(FrozenBase(convolutions().to(DEVICE), "9"), inputs.to(DEVICE))
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("settings", [{}, {"layer": "conv2", "codec.components": 6.0}])
def test_a_generator_of_a_gpu_predicts_alike_on_a_processor(settings: dict, tmp_path: Path) -> None:
    moving = {**settings, "sampling.scale_factor": 1.0, "sampling.spread": 1.0}
    ocd = OCD(digits_base().to(DEVICE), loss=LOSS, config=config(moving))
    ocd.fit(digits(), progress=False)
    inputs = test_digits().inputs
    here = ocd.predict(inputs.to(DEVICE), draws=3).outputs
    assert here.device.type == "cpu" or here.device.type == DEVICE
    ocd.save_pretrained(tmp_path)
    other = OCD.from_pretrained(tmp_path, digits_base())
    assert torch.allclose(other.predict(inputs, draws=3).outputs, here.cpu(), rtol=1e-2, atol=1e-2)


def test_a_training_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(folder: str) -> OCD:
        ocd = OCD(digits_base().to(DEVICE), loss=LOSS, config=config())
        return ocd.fit(digits(), Workdir(tmp_path / folder), progress=False)

    whole = fit("whole").predict(test_digits().inputs.to(DEVICE)).outputs.cpu()
    after, steps = Trainer._after_step, []

    def stop(trainer: Trainer, losses: dict) -> None:
        after(trainer, losses)
        steps.append(trainer.step)
        if len(steps) == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_after_step", stop)
        with pytest.raises(KeyboardInterrupt):
            fit("stopped")
    again = fit("stopped").predict(test_digits().inputs.to(DEVICE)).outputs.cpu()
    assert torch.allclose(again, whole, rtol=1e-2, atol=1e-2)


def test_a_training_step_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once every example was overfitted a first time; but for the steps that are logged."""
    step, seen = Trainer._train_step, []

    def watched(trainer: Trainer) -> dict[str, Tensor]:
        epoch = -(-len(trainer.indices) // trainer.config.batch_size)
        is_later = trainer.step > 2 * epoch
        seen.append(is_later)
        torch.cuda.set_sync_debug_mode("error" if is_later else "default")
        try:
            return step(trainer)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "_train_step", watched)
    ocd = OCD(digits_base().to(DEVICE), loss=LOSS, config=config({"training.num_steps": 40}))
    ocd.fit(digits(), Workdir(tmp_path), progress=False)
    assert any(seen)


def test_a_whole_run_with_every_baseline(tmp_path: Path) -> None:
    changes = {"alternative": True, "baselines": "all", "device": DEVICE, "train_size": 200}
    settings = {key: str(value) for key, value in (SMALL | changes).items()}
    run = Run.create("digits", tmp_path / "run", settings=settings)
    for verb in ("select", "overfit", "train", "predict", "report"):
        run.do(verb)
    assert (tmp_path / "run" / "report.md").exists()
