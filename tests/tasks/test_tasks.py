"""Tasks: data, bases, shifts, encoders, and that nothing below them knows them."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ocd.tasks
from mnist_files import write_mnist
from ocd.data import Examples
from ocd.errors import OCDError
from ocd.tasks import CATALOG, TASKS, TaskData, get_task, load_base
from ocd.tasks.images.augmentation import distort, shift
from ocd.tasks.images.classification import log_mean_softmax, train_classifier
from ocd.tasks.images.encoder import ImageEncoder
from ocd.tasks.images.feature_reader import FeatureReader
from ocd.tasks.tables.options import TableData
from scenes import scene_data
from tiny_body import text_data

PACKAGE = Path(ocd.tasks.__file__).parents[1]
MAY_IMPORT_TASKS = {"demo", "estimators", "applying", "cli", "runs", "tasks"}


def silent(line: str) -> None:
    pass


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def digits():
    task = get_task("digits")
    options = task.options()
    return task, options, task.load(options, None)


# The registry


@pytest.mark.parametrize("name", TASKS)
def test_catalog_agrees_with_the_task(name):
    task = get_task(name)
    for key, value in dataclasses.asdict(CATALOG[name]).items():
        assert getattr(task, key) == value
        assert value, f"{name}: no {key}"


@pytest.mark.parametrize("name", TASKS)
def test_every_option_has_a_default_and_a_help(name):
    for option in dataclasses.fields(get_task(name).options):
        assert option.default is not dataclasses.MISSING
        assert option.metadata["help"]


def test_unknown_task_is_named_with_the_nearest():
    with pytest.raises(OCDError, match="'minst'.*'mnist'"):
        get_task("minst")


def test_catalog_needs_no_torch():
    code = "import sys, ocd.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def imported_modules(path: Path) -> set[str]:
    """The dotted names a module imports, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "ocd" if node.level else ""
            module = ".".join(filter(None, [module, node.module]))
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def test_core_never_imports_tasks():
    importers = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(name == "ocd.tasks" or name.startswith("ocd.tasks.") for name in imported_modules(path))
    }
    assert importers <= MAY_IMPORT_TASKS


# Data


def test_digits_split_is_fixed_and_stratified(digits):
    task, options, data = digits
    assert (len(data.train), len(data.test)) == (1197, 600)
    assert data.test.targets.bincount().min() >= 58
    assert torch.equal(task.load(options, None).test.inputs, data.test.inputs)
    assert data.train.inputs.shape[1:] == (1, 8, 8)
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 1)


def test_digits_sizes_keep_the_first_examples(digits):
    task, _, data = digits
    few = task.load(task.options(train_size=20, test_size=10), None)
    assert torch.equal(few.train.inputs, data.train.inputs[:20])
    assert torch.equal(few.test.targets, data.test.targets[:10])


@pytest.mark.parametrize("size", [0, -1, 2000])
def test_sizes_that_are_not_there_are_refused(digits, size):
    task, _, _ = digits
    with pytest.raises(OCDError, match="train_size is .*from 1 to 1197"):
        task.load(task.options(train_size=size), None)


def test_mnist_reads_the_hub_layout(tmp_path):
    written = write_mnist(tmp_path)
    task = get_task("mnist")
    data = task.load(task.options(train_size=5), tmp_path)
    assert data.train.inputs.shape == (5, 1, 28, 28)
    assert data.train.targets.tolist() == [0, 1, 2, 3, 4]
    expected = torch.from_numpy(written["test"]).unsqueeze(1) / 255
    assert torch.equal(data.test.inputs, expected)


def test_mnist_refuses_more_examples_than_there_are(tmp_path):
    write_mnist(tmp_path)
    task = get_task("mnist")
    with pytest.raises(OCDError, match="test_size is 8: it must be from 1 to 7"):
        task.load(task.options(test_size=8), tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": "img"}, "no column 'image'; there are: img, label"),
        ({"size": 32}, r"row 0: the image is 32x32 instead of 28x28"),
    ],
)
def test_mnist_names_what_is_wrong_in_the_file(tmp_path, wrong, message):
    write_mnist(tmp_path, **wrong)
    task = get_task("mnist")
    with pytest.raises(OCDError, match=message):
        task.load(task.options(), tmp_path)


def test_mnist_without_parquet_is_one_line(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "ylecun/mnist/mnist/train-00000-of-00001.parquet").write_text("no parquet")
    task = get_task("mnist")
    with pytest.raises(OCDError, match="not a readable parquet file"):
        task.load(task.options(), tmp_path)


def test_mnist_without_file_and_hub_says_where_it_looked(tmp_path, monkeypatch):
    def refuse(**_: object) -> str:
        raise ConnectionError("no network\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    task = get_task("mnist")
    with pytest.raises(OCDError) as caught:
        task.load(task.options(), tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}/ylecun/mnist/mnist/train-00000-of-00001.parquet" in message
    assert "no network" in message
    assert "\n" not in message


# Bases


def test_digits_base_trains_in_seconds(digits):
    task, _, data = digits
    options = task.options(base_epochs=10)
    base = task.make_base(options, data)
    lines: list[str] = []
    task.train_base(base, data, options, 0, lines.append)
    assert not base.training
    assert len(lines) == 10
    with torch.no_grad():
        outputs = base(data.test.inputs)
    assert task.metrics["accuracy"].fn(outputs, data.test.targets) > 93


def test_base_depends_on_the_seed_alone_and_leaves_the_random_state(digits):
    task, _, data = digits
    options = task.options(base_epochs=1)

    def trained(seed: int) -> torch.Tensor:
        base = task.make_base(options, data)
        before = torch.get_rng_state()
        task.train_base(base, data, options, seed, silent)
        assert torch.equal(torch.get_rng_state(), before)
        return nn.utils.parameters_to_vector(base.parameters())

    first = trained(0)
    assert torch.equal(first, trained(0))
    assert not torch.equal(first, trained(1))


def test_no_epochs_gives_a_new_network(digits):
    task, options, data = digits
    base = task.make_base(options, data)
    train_classifier(base, data.train, epochs=0, seed=0, progress=silent)
    assert not base.training


@pytest.mark.parametrize("name", TASKS)
def test_base_is_loaded_from_its_own_weights(tmp_path, name):
    task = get_task(name)
    path = tmp_path / "base.safetensors"
    data = scene_data() if task.has_views else None
    if task.module == "text.sets":
        data = text_data()
    if task.is_table:
        rows = Examples(torch.randn(6, 3), torch.randn(6, 1))
        data = TableData(rows, rows)
    elif task.load_kept is not None:
        reader = FeatureReader("none", "", ("classifier",), 3, ("a", "b"))
        data = TaskData(Examples(torch.randn(6, 3), torch.zeros(6)), None, reader=reader)
    source, base = task.make_base(task.options(), data), task.make_base(task.options(), data)
    save_file(source.state_dict(), path)
    task.train_base(base, None, task.options(base=str(path)), 0, silent)
    for key, value in source.state_dict().items():
        assert torch.equal(base.state_dict()[key], value)


def test_lenet5_has_the_names_and_shapes_of_the_authors():
    state = get_task("mnist").make_base(get_task("mnist").options(), None).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "conv3.weight": (120, 16, 5, 5),
        "conv3.bias": (120,),
        "fc1.weight": (84, 120),
        "fc1.bias": (84,),
        "fc2.weight": (10, 84),
        "fc2.bias": (10,),
    }


def test_a_base_that_does_not_fit_names_each_tensor_and_changes_nothing(tmp_path):
    base = get_task("digits").make_base(get_task("digits").options(), None)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    weights = {key: value + 1 for key, value in before.items()}
    weights["fc3.bias"] = weights.pop("fc2.bias")
    weights["fc1.weight"] = torch.zeros(3, 4)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(OCDError) as caught:
        load_base(base, tmp_path / "other.safetensors")
    for part in ("missing fc2.bias", "unexpected fc3.bias", "fc1.weight is (3, 4)"):
        assert part in str(caught.value)
    assert all(torch.equal(base.state_dict()[key], value) for key, value in before.items())


def test_a_base_that_cannot_be_read_is_one_line(tmp_path):
    base = nn.Linear(1, 1)
    with pytest.raises(OCDError, match="no such file"):
        load_base(base, tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(OCDError, match="not a readable safetensors file"):
        load_base(base, tmp_path / "text.safetensors")


# Loss, metrics, ensembles


@pytest.mark.parametrize("name", TASKS)
def test_loss_is_per_example_and_its_mean_the_metric(name):
    task = get_task(name)
    if task.has_views:
        outputs, targets = (torch.rand(5, 3, 8, 8, generator=generator(seed)) for seed in (0, 1))
    elif task.is_table or task.compose is not None:
        outputs, targets = (torch.randn(5, 1, generator=generator(seed)) for seed in (0, 1))
    elif task.has_voices:
        outputs, targets = (torch.randn(5, 3, 700, generator=generator(seed)) for seed in (0, 1))
    else:
        outputs, targets = torch.randn(5, 10, generator=generator()), torch.arange(5)
    loss = task.loss(outputs, targets)
    assert loss.shape == (5,)
    name_of_loss = "negative_si_sdr" if task.has_voices else "mse"
    metric = task.metrics["cross_entropy" if task.classifies else name_of_loss]
    assert metric.fn(outputs, targets) == pytest.approx(loss.mean().item())


def test_ensemble_answers_with_the_mean_probability():
    outputs = torch.randn(4, 6, 10, generator=generator())
    joined = log_mean_softmax(outputs)
    assert torch.allclose(joined.softmax(-1), outputs.softmax(-1).mean(0))
    assert torch.allclose(log_mean_softmax(outputs[:1]), outputs[0].log_softmax(-1))


# Shifts and encoders


def test_shift_moves_each_image_as_a_slow_loop_would():
    images = torch.rand(40, 2, 5, 6, generator=generator())
    shifted = shift(images, 2, generator(1))
    assert shifted.shape == images.shape
    down, right = torch.randint(5, (2, 40), generator=generator(1)).tolist()
    for row, image in enumerate(images):
        canvas = torch.zeros(2, 9, 10)
        canvas[:, 2:7, 2:8] = image
        top, left = down[row], right[row]
        assert torch.equal(shifted[row], canvas[:, top : top + 5, left : left + 6])
    assert len(set(zip(down, right, strict=True))) > 10


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_no_shift_and_no_distortion_is_no_transform(name):
    task = get_task(name)
    assert task.make_transform(task.options(shift=0, distort=0)) is None
    assert task.make_transform(task.options(shift=0, distort=0.5)) is not None
    images = torch.rand(3, 1, 8, 8)
    assert shift(images, 0, generator()) is images
    assert distort(images, 0, generator()) is images


def test_distort_moves_each_image_by_its_own_amounts_and_keeps_the_middle():
    images = torch.zeros(200, 1, 29, 29)
    images[:, :, 13:16, 13:16] = 1  # a blot in the middle stays there
    images[:, :, 3, 14] = 1  # a dot at the top moves to the sides and up and down
    moved = distort(images, 1.0, generator())
    assert torch.equal(moved, distort(images, 1.0, generator()))
    assert (moved[:, :, 14, 14] > 0.99).all()
    top = moved[:, 0, :9]
    columns = (top.sum(dim=1) * torch.arange(29)).sum(dim=1) / top.sum(dim=(1, 2))
    # ten degrees and a shear of 0.15 move a dot 11 pixels from the middle by at most 3.6 pixels
    assert (columns - 14).std() > 1 and (columns - 14).abs().max() < 4
    weak = distort(images, 0.1, generator())[:, 0, :9]
    weak_columns = (weak.sum(dim=1) * torch.arange(29)).sum(dim=1) / weak.sum(dim=(1, 2))
    assert (weak_columns - 14).std() < 0.2 * (columns - 14).std()


def test_wrong_corruptions_and_distortions_are_named():
    options = get_task("mnist").options
    with pytest.raises(OCDError, match="^corruption is 'fog,3': use none, mixed, or NAME,SEVERITY"):
        options(corruption="fog,3")
    with pytest.raises(OCDError, match="^train_corruption is 'noise': use none"):
        options(train_corruption="noise")
    with pytest.raises(OCDError, match="distort -1"):
        options(distort=-1)


@pytest.mark.parametrize(("name", "size"), [("digits", 8), ("mnist", 28)])
def test_encoder_and_transform_fit_the_images(name, size):
    task = get_task(name)
    images = torch.rand(3, 1, size, size, generator=generator())
    moved = task.make_transform(task.options())(images, generator())
    encoder = task.make_encoder(task.options(), None)
    assert moved.shape == images.shape
    assert encoder(moved).shape == (3, encoder.num_features)
    assert task.make_base(task.options(), None)(moved).shape == (3, 10)


def test_encoder_can_be_saved_and_sees_every_channel(tmp_path):
    encoder = ImageEncoder(3, 8, widths=(4, 4, 4), num_features=5).eval()
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    assert encoder(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_digits_are_those_of_scikit_learn():
    """They are read and split without importing it, which takes longer than importing torch."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    splits = train_test_split(images, labels, test_size=600, stratify=labels, random_state=0)
    data = get_task("digits").load(get_task("digits").options(), None)
    for examples, pixels, classes in ((data.train, *splits[::2]), (data.test, *splits[1::2])):
        expected = torch.from_numpy(pixels).float().div(16).reshape(-1, 1, 8, 8)
        assert torch.equal(examples.inputs, expected)
        assert torch.equal(examples.targets, torch.from_numpy(classes).long())
