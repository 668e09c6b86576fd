"""A user's own network as the base of images: from a file or an installed module, loaded or trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ocd
from ocd import OCDError
from ocd.runs import Run
from ocd.tasks import get_task
from small_run import SMALL

OWN = """
from torch import nn

def network(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, num_classes))

def wide(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def other(num_classes):
    return nn.Linear(5, num_classes)

def two(one, more):
    return None

text = "text"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("loaded", [True, False])
def test_images_go_through_a_network_of_ones_own(
    tmp_path: Path, own: Path, loaded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SMALL | {"module": f"{own}:network", "layer": "1"}
    if loaded:
        torch.manual_seed(1)
        weights = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
        save_file(weights.state_dict(), tmp_path / "mine.safetensors")
        settings |= {"base": tmp_path / "mine.safetensors"}
    texts = {name: str(value) for name, value in settings.items()}
    run = Run.create("digits", tmp_path / "run", settings=texts)
    run.predict(0)
    assert f"executing {own} for the base" in capsys.readouterr().err
    images = run.data.test.inputs
    answers = ocd.load(run.root).predict(images)
    with torch.no_grad():
        expected = run.base(0)(images).softmax(dim=1)
        assert torch.allclose(answers.base, expected, atol=1e-5)
        if loaded:
            assert torch.allclose(answers.base, weights(images).softmax(dim=1), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing.py:network", "nothing.py: no such file"),
        ("nowhere.at.all:network", "'nowhere.at.all' cannot be imported"),
        ("mine.py:nothing", "has no function 'nothing'"),
        ("mine.py:text", "is no function that makes a network"),
        ("mine.py:wide", "answers 2 inputs with (2, 7), not (2, 10)"),
        ("mine.py:other", "cannot take inputs of shape (1, 8, 8): "),
        ("mine.py:two", "mine.py:two(10) cannot be called so"),
        ("mine.py", "cannot be imported: FILE.py:function"),
        ("broken.py:network", "broken.py cannot be executed: "),
    ],
)
def test_what_is_no_such_network_gives_one_clear_line(
    tmp_path: Path, own: Path, function: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    where = function if function.startswith("nowhere") else str(tmp_path / function)
    task = get_task("digits")
    options = task.options(module=where)
    data = task.load(options, None)
    with pytest.raises(OCDError) as caught:
        task.make_base(options, data)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_is_executed_once(tmp_path: Path, own: Path) -> None:
    task = get_task("digits")
    options = task.options(module=f"{own}:network")
    data = task.load(options, None)
    first = type(task.make_base(options, data))
    assert type(task.make_base(options, data)) is first
    assert sum(name.startswith("ocd_own_") and str(own) in name for name in sys.modules) == 1
