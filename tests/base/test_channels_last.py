"""Images that lie channels last in memory: another layout, the same answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import LOSS, config, digits, digits_base
from nets import CASES, Case, every_case, get_case, state_of
from ocd import OCD, overfit
from ocd.base import DenseDelta, FrozenBase, Way, probe, run_without_delta
from ocd.data import Inputs, copied, tensors
from ocd.errors import OCDError
from ocd.tasks.images.classification import train_classifier

LAST: dict[str, Any] = {"channels_last": True}


def image(channels: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(4, channels, 6, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_alone_is_changed(channels: int) -> None:
    images = image(channels)
    last = copied(images, channels_last=True)
    assert torch.equal(last, images)
    assert last.stride() == (6 * 5 * channels, 1, 5 * channels, channels)
    assert copied(images).stride() == images.stride()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_copied_has_memory_of_its_own(channels_last: bool, channels: int) -> None:
    # Images of one channel look alike in both layouts: nothing would be copied by `contiguous`.
    images = image(channels)
    for given in (images, copied(images, channels_last=True)):
        made = copied(given, channels_last)
        made.zero_()
        assert given.ne(0).any()


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_all_parts_of_the_inputs_that_are_images(form: str) -> None:
    parts = {"image": image(3), "vector": torch.ones(4, 2), "volume": torch.ones(4, 2, 3, 3, 3)}
    inputs: Inputs = parts if form == "dict" else tuple(parts.values())
    for before, after in zip(tensors(inputs), tensors(copied(inputs, True)), strict=True):
        assert torch.equal(before, after)
        assert (after.stride() == before.stride()) == (before.dim() != 4)


@every_case
@pytest.mark.parametrize("draws", [1, 3])
def test_every_base_answers_the_same(case: Case, draws: int) -> None:
    base, inputs = case.build(), case.inputs(4)
    delta = DenseDelta(case.deltas(4, draws))
    outputs = []
    for channels_last in (False, True):
        frozen = FrozenBase(base, case.layer, channels_last=channels_last)
        probe(frozen, inputs)
        assert frozen.widen == case.widens
        capture = frozen.capture(inputs)
        outputs.append((capture.output, capture.layer_output, frozen.run(capture, delta)))
    for plain, last in zip(*outputs, strict=True):
        torch.testing.assert_close(plain, last, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [case.name for case in CASES if "conv2d" in case.name])
def test_nothing_of_base_and_inputs_is_changed(name: str) -> None:
    case = get_case(name)
    base, inputs = case.build().train(), case.inputs(4)
    state, before, strides = state_of(base), inputs.clone(), inputs.stride()
    frozen = FrozenBase(base, case.layer, channels_last=True)
    probe(frozen, inputs)
    frozen.run(frozen.capture(inputs), DenseDelta(case.deltas(4, 2)))
    run_without_delta(base, inputs, channels_last=True)
    assert state_of(base) == state
    assert torch.equal(inputs, before)
    assert inputs.stride() == strides


class Seen(list[bool]):
    """A list that views of a base share with it: they copy lists themselves, and nothing else."""


class Watched(nn.Module):
    """Writes down how the images that reach its convolution lie; `behind` is a second one."""

    def __init__(self, channels: int, in_place: bool = False) -> None:
        super().__init__()
        self.in_place = in_place
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.behind = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.seen = Seen()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.stride() == copied(x, channels_last=True).stride())
        x = x.mul_(0.5) if self.in_place else x
        moved = self.behind(torch.relu(self.conv(x)))
        if moved.stride(0):  # a replay's place holder has no memory of its own
            self.seen.append(moved.is_contiguous(memory_format=torch.channels_last))
        return self.head(moved.mean((2, 3)))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("widen", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layer", ["conv", "behind", "head"])
def test_every_pass_has_the_layout(layer: str, channels: int, widen: bool, in_place: bool) -> None:
    base, images = Watched(channels, in_place), image(channels)
    weight = base.get_submodule(layer).weight
    for draws in (1, 2):
        frozen = FrozenBase(base, layer, Way("shift", widen), channels_last=True)
        capture = frozen.capture(images)
        frozen.run(capture, DenseDelta(torch.zeros(4, draws, *weight.shape)))
    frozen.run_full(images, DenseDelta(torch.zeros(4, 1, *weight.shape)))
    run_without_delta(base, images, channels_last=True)
    assert len(base.seen) >= 6
    assert all(base.seen)


class Views(nn.Module):
    """Flattens with `view`, which needs pixels in their usual order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        return self.fc(features.view(len(features), -1))


class GoesByMemory(Views):
    """Takes the pixels as they lie in memory, so that their layout matters."""

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.conv(x))
        return self.fc(torch.as_strided(features, (len(features), 4 * 6 * 6), (4 * 6 * 6, 1)))


@pytest.mark.parametrize("net, reason", [(Views, "fails .*view size"), (GoesByMemory, "other outputs")])
def test_a_base_that_needs_the_usual_layout_is_told_so(
    net: type[nn.Module], reason: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    examples = digits(40)
    with pytest.raises(OCDError, match=reason) as error:
        overfit(net(), "fc", LOSS, examples.inputs, examples.targets, lr=0.1, channels_last=True)
    assert "\n" not in str(error.value)
    assert "set channels_last to false" in str(error.value)
    with pytest.raises(OCDError, match=reason):
        OCD(net(), loss=LOSS, config=config(LAST | {"layer": "fc"})).fit(examples, tmp_path)


class Segments(nn.Module):
    """Answers with an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.conv(x)))


def view_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.view(len(outputs), -1).square().mean(dim=1)


@pytest.mark.parametrize("layer", ["conv", "last"])
def test_answers_lie_as_the_loss_expects_them(layer: str) -> None:
    base, images = Segments(), image(1)
    overfit(base, layer, view_loss, images, torch.zeros(4), lr=0.1, channels_last=True)
    frozen = FrozenBase(base, layer, channels_last=True)
    capture = probe(frozen, images)
    delta = DenseDelta(torch.zeros(3, 2, *frozen.weight_shape))
    answers = [capture.output, frozen.run(capture, delta), run_without_delta(base, images, True)]
    assert all(answer.is_contiguous() for answer in answers)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("seed", range(5))
def test_rounding_of_half_precision_is_no_other_answer(dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    base = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).to(dtype)  # fmt: skip
    probe(FrozenBase(base, "6", channels_last=True), torch.randn(3, 3, 16, 16).to(dtype))


def test_memory_that_runs_out_is_not_blamed_on_the_layout() -> None:
    class Full(Watched):
        def forward(self, x: Tensor) -> Tensor:
            if x.stride(1) == 1:
                raise MemoryError("out of memory")
            return super().forward(x)

    with pytest.raises(MemoryError):
        probe(FrozenBase(Full(3), "conv", channels_last=True), image(3))


def test_a_base_that_fails_either_way_says_why_itself() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as error:
        probe(FrozenBase(Views(), "fc", channels_last=True), torch.zeros(3, 1, 5, 5))
    assert not isinstance(error.value, OCDError)


def test_deltas_are_the_same() -> None:
    examples, made = digits(40), []
    for channels_last in (False, True):
        made.append(
            overfit(
                digits_base().double(), "fc1", LOSS, examples.inputs.double(), examples.targets,
                lr=0.1, optimizer="sgd", channels_last=channels_last,
            )
        )  # fmt: skip
    torch.testing.assert_close(made[0].delta.dense(), made[1].delta.dense(), rtol=1e-8, atol=1e-10)
    assert made[0].delta.dense().norm() > 0


def settings_of(ocd: OCD) -> tuple[Any, ...]:
    return ocd.config.channels_last, ocd.fitted()[1].channels_last


def test_a_fit_uses_it_and_a_saved_one_remembers_it(tmp_path: Path) -> None:
    examples, outputs = digits(60), []
    for channels_last in (False, True):
        ocd = OCD(digits_base(), loss=LOSS, config=config({"channels_last": channels_last}))
        ocd.fit(examples, progress=False)
        assert settings_of(ocd) == (channels_last, channels_last)
        outputs.append(ocd.predict(examples.inputs, draws=2))
    assert (outputs[0].base - outputs[1].base).abs().max() < 1e-4
    ocd.save_pretrained(tmp_path)
    again = OCD.from_pretrained(tmp_path, digits_base())
    assert settings_of(again) == (True, True)
    assert torch.equal(again.predict(examples.inputs, draws=2).outputs, outputs[1].outputs)


def test_it_is_a_setting_like_any_other() -> None:
    assert config().channels_last is False
    assert config().replace({"channels_last": "true"}).channels_last is True
    assert replace(config(), channels_last=True).to_dict() != config().to_dict()


def test_training_a_base_takes_the_layout_too() -> None:
    examples, states = digits(40), []
    examples = replace(examples, inputs=examples.inputs.double(), targets=examples.targets % 3)
    for channels_last in (False, True):
        base = Watched(1).double()
        train_classifier(
            base, examples, epochs=1, seed=0, progress=lambda line: None, batch_size=8,
            channels_last=channels_last,
        )  # fmt: skip
        assert len(base.seen) == 2 * 5
        assert all(base.seen) == channels_last
        states.append(base.state_dict())
    for name, plain in states[0].items():
        torch.testing.assert_close(plain, states[1][name], rtol=1e-6, atol=1e-8)
