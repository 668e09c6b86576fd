"""A fitted OCD in use: many threads, copies, foreign folders, and what a work folder belongs to."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig, OCDError
from ocd.fitting import few_examples

SHORT = {"training.num_steps": 3, "overfit.lr": 0.05}


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.drop, self.head = nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)
        self.register_buffer("shift", torch.zeros(2), persistent=False)
        self.power = 1.0

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(torch.tanh(self.fc(x)))
        return self.head(hidden).abs().pow(self.power) + self.shift


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def examples(count: int = 24, factor: float = 1.0) -> Examples:
    torch.manual_seed(1)
    return Examples(torch.randn(count, 4), factor * torch.randn(count, 2))


def config(**changes: Any) -> OCDConfig:
    return OCDConfig(layer="fc").replace(SHORT | changes)


def fitted(base: nn.Module | None = None, **parts: Any) -> OCD:
    ocd = OCD(net() if base is None else base, loss=squares, config=config(), **parts)
    return ocd.fit(examples(), progress=False)


# Threads and copies


def test_predictions_of_many_threads_while_the_base_is_used_and_trained() -> None:
    base = net()
    ocd, inputs = fitted(base), examples(40).inputs
    expected = ocd.predict(inputs, draws=2).outputs
    own = copy.deepcopy(base).eval()(inputs).detach()
    wrong: list[str] = []

    def predicts() -> None:
        for _ in range(8):
            if not torch.allclose(ocd.predict(inputs, draws=2).outputs, expected, atol=1e-6):
                wrong.append("prediction")

    def uses() -> None:
        for step in range(60):
            base.train(step % 2 == 0)
            answer = base(inputs)
            if not base.training and not torch.allclose(answer, own, atol=1e-6):
                wrong.append("base")

    threads = [threading.Thread(target=work) for work in (predicts, predicts, predicts, uses)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not any("forward" in vars(module) or module._forward_hooks for module in base.modules())


def test_a_copy_predicts_alike_and_has_a_base_of_its_own() -> None:
    ocd, inputs = fitted(), examples().inputs
    expected = ocd.predict(inputs, draws=2).outputs
    for other in (copy.deepcopy(ocd), pickle.loads(pickle.dumps(ocd))):
        assert torch.equal(other.predict(inputs, draws=2).outputs, expected)
        with torch.no_grad():
            other.base.fc.weight.zero_()
    assert torch.equal(ocd.predict(inputs, draws=2).outputs, expected)


def test_a_base_that_its_user_changes_is_looked_at_anew() -> None:
    base = net()
    ocd, inputs = fitted(base), examples().inputs
    before = ocd.predict(inputs, draws=1).base
    base.power = 2.0
    after = ocd.predict(inputs, draws=1).base
    assert before is not None and after is not None
    torch.testing.assert_close(after, base.eval()(inputs).detach())
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_a_wrapped_base_is_that_inside(wrap: Any) -> None:
    inputs = examples().inputs
    plain, wrapped = fitted(net()), fitted(wrap(net()))
    assert torch.equal(plain.predict(inputs).outputs, wrapped.predict(inputs).outputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_base_in_another_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    data = examples()
    other = Examples(data.inputs.to(dtype), data.targets.to(dtype))
    base = net().to(dtype)
    ocd = OCD(base, loss=squares, config=config()).fit(other, tmp_path, progress=False)
    prediction = ocd.predict(other.inputs, draws=2)
    assert prediction.outputs.dtype == dtype and prediction.outputs.isfinite().all()
    again = OCD.from_pretrained(tmp_path / "checkpoint", base)
    assert torch.equal(again.predict(other.inputs, draws=2).outputs, prediction.outputs)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_examples(count: int) -> None:
    ocd = OCD(net(), loss=squares, config=config()).fit(examples(count), progress=False)
    prediction = ocd.predict(examples(5).inputs, draws=2)
    assert prediction.scale is not None and prediction.scale.max() < 10


# What a work folder and a checkpoint belong to


class Weighted(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight), persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.weight * squares(outputs, targets)


def twice(outputs: Tensor, targets: Tensor) -> Tensor:
    return 2 * squares(outputs, targets)


def changed(name: str) -> tuple[nn.Module, Any, Examples]:
    """Base, loss and data of a fit, of which one thing is another."""
    base, loss, data = net(), Weighted(1.0), examples()
    if name == "the last target":
        data.targets[-1] += 1
    if name == "the last input":
        data.inputs[-1] += 1
    if name == "a buffer of the loss":
        loss = Weighted(2.0)
    if name == "the loss":
        loss = twice
    if name == "a buffer that is not saved":
        base.shift += 1
    if name == "a weight":
        base.head.weight.data[0, 0] += 1
    return base, loss, data


CHANGES = ("the last target", "the last input", "a buffer of the loss", "the loss",
           "a buffer that is not saved", "a weight")  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_work_folder_is_not_taken_for_anothers(name: str, tmp_path: Path) -> None:
    base, loss, data = changed("nothing")
    OCD(base, loss=loss, config=config()).fit(data, tmp_path, progress=False)
    base, loss, data = changed("nothing")
    OCD(base, loss=loss, config=config()).fit(data, tmp_path, progress=False)  # the same: resumes
    base, loss, data = changed(name)
    with pytest.raises(OCDError, match="belongs to a run with another"):
        OCD(base, loss=loss, config=config()).fit(data, tmp_path, progress=False)


def test_a_base_with_the_same_weights_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    ocd = fitted()
    ocd.save_pretrained(tmp_path)
    OCD.from_pretrained(tmp_path, net())
    other = net()
    other.power = 2.0
    with pytest.raises(OCDError, match="answers otherwise"):
        OCD.from_pretrained(tmp_path, other)


def test_another_librarys_files_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(OCDError, match="another library's model"):
        fitted().save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"


# The rehearsal


class Untrainable(nn.Module):
    """An encoder that fails with gradients only, which is when the generator is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("no gradients here")
        return self.fc(x)


LONG = {"training.num_steps": 21, "training.max_epochs": 0}


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few steps are worth a trial first."""
    monkeypatch.setattr("ocd.fitting.rehearsal.MANY_STEPS", 20)


@pytest.mark.usefixtures("rehearsed")
def test_a_step_that_fails_at_the_end_fails_before_anything_is_collected(tmp_path: Path) -> None:
    long = config(**LONG, **{"collection.storage": "store"})
    ocd = OCD(net(), loss=squares, config=long, encoder=Untrainable())
    with pytest.raises(RuntimeError, match="no gradients here"):
        ocd.fit(examples(), tmp_path, progress=False)
    assert not (tmp_path / "deltas").exists()


@pytest.mark.usefixtures("rehearsed")
def test_the_rehearsal_changes_nothing_of_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    long = config(**LONG)
    data = examples()
    base = net()
    state = torch.get_rng_state()
    tried: list[object] = []
    monkeypatch.setattr("ocd.model.few_examples", lambda *of: tried.append(of) or few_examples(*of))
    first = OCD(base, loss=squares, config=long).fit(data, progress=False)
    assert torch.equal(torch.get_rng_state(), state) and len(tried) == 1
    monkeypatch.setattr("ocd.fitting.rehearsal.MANY_STEPS", 200)
    plain = OCD(net(), loss=squares, config=long).fit(data, progress=False)
    assert len(tried) == 1
    assert torch.equal(first.predict(data.inputs).outputs, plain.predict(data.inputs).outputs)


@pytest.mark.usefixtures("rehearsed")
def test_the_rehearsal_takes_examples_with_a_finite_loss() -> None:
    data = examples(60)
    data.inputs[0] = torch.nan
    data.targets[1] = torch.inf
    long = config(**LONG)
    ocd = OCD(net(), loss=squares, config=long).fit(data, progress=False)
    assert ocd.predict(data.inputs[2:4]).outputs.isfinite().all()


def test_an_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="base is a int"):
        OCD(3)  # type: ignore[arg-type]


def test_a_save_that_was_interrupted_can_be_made_again(tmp_path: Path) -> None:
    ocd = fitted()
    ocd.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()  # it is written last
    ocd.save_pretrained(tmp_path)
    inputs = examples().inputs
    again = OCD.from_pretrained(tmp_path, net())
    assert torch.equal(again.predict(inputs).outputs, ocd.predict(inputs).outputs)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.factor = nn.Linear(4, 2), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.fc(x)


def test_a_single_number_moves_from_fit_to_predict() -> None:
    base, data = Scaled(), examples()
    ocd = OCD(base, loss=squares, config=OCDConfig(layer="factor").replace(SHORT))
    prediction = ocd.fit(data, progress=False).predict(data.inputs, draws=2)
    ratio = prediction.outputs / base.fc(data.inputs).detach()
    torch.testing.assert_close(ratio[..., 0], ratio[..., 1], rtol=1e-3, atol=1e-4)
    assert (ratio - 1.5).abs().max() > 1e-4


def test_no_finite_loss_at_all_is_said_of_all_examples() -> None:
    data = examples(40)
    data.inputs.fill_(torch.nan)
    long = config(**{"training.num_steps": 200})
    with pytest.raises(OCDError, match="40 of 40 examples"):
        OCD(net(), loss=squares, config=long).fit(data, progress=False)
