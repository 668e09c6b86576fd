"""CIFAR10: networks with the published names and sizes, files of several kinds, a whole small run."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import ocd
from mnist_files import png
from ocd import OCDError
from ocd.data import Examples
from ocd.runs import Run
from ocd.tasks import get_task, load_base
from ocd.tasks.images.augmentation import flip
from ocd.tasks.images.googlenet import GoogLeNet
from ocd.tasks.images.recipe import Recipe, train_by_recipe
from ocd.tasks.images.resnet import ResNet
from small_run import SMALL, shrink

pyarrow = pytest.importorskip("pyarrow")
Image = pytest.importorskip("PIL.Image")


def write_cifar(folder: Path, kind: str = "PNG", count: int = 40) -> dict[str, np.ndarray]:
    """A tiny CIFAR10 in the hub's layout; gives the pixels of each split."""
    from pyarrow import parquet

    chance, written = np.random.default_rng(0), {}
    place = folder / "uoft-cs" / "cifar10" / "plain_text"
    place.mkdir(parents=True)
    for split in ("train", "test"):
        pixels = chance.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        cells = [{"bytes": saved(picture, kind), "path": None} for picture in pixels]
        table = pyarrow.table({"img": cells, "label": [i % 10 for i in range(count)]})
        parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")
        written[split] = pixels
    return written


def saved(pixels: np.ndarray, kind: str) -> bytes:
    if kind == "PNG":
        return png(pixels)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


# Networks


def test_googlenet_has_the_published_size_and_names() -> None:
    network = GoogLeNet()
    assert sum(p.numel() for p in network.parameters()) == 5_490_986  # "5.49 M" in the collection
    names = set(network.state_dict())
    assert not any("pixel" in name for name in names)
    for name in (
        "conv1.conv.weight", "conv1.bn.running_var", "inception3a.branch1.conv.weight",
        "inception4e.branch2.1.bn.weight", "inception5b.branch4.1.conv.weight", "fc.bias",
    ):  # fmt: skip
        assert name in names
    assert len(names) == 6 * 55 + 2  # 1 + 9 x 6 convolutions with their norms, and the head
    assert network.fc.weight.shape == (10, 1024)


def plain_googlenet(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published network written out, from a state dict of its names."""

    def convolution(x: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        norm = [
            state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.relu(F.batch_norm(x, *norm, eps=1e-3))

    mean, deviation = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
    x = torch.stack([(images[:, c] - mean[c]) / deviation[c] for c in range(3)], dim=1)
    x = convolution(x, "conv1")
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        if block in ("4a", "5a"):
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        of = f"inception{block}"
        x = torch.cat(
            [
                convolution(x, f"{of}.branch1"),
                convolution(convolution(x, f"{of}.branch2.0"), f"{of}.branch2.1"),
                convolution(convolution(x, f"{of}.branch3.0"), f"{of}.branch3.1"),
                convolution(F.max_pool2d(x, 3, stride=1, padding=1), f"{of}.branch4.1"),
            ],
            dim=1,
        )
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_loaded_googlenet_answers_as_the_network_written_out(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    source = GoogLeNet()
    source.train()(torch.rand(8, 3, 32, 32))  # statistics that are not 0 and 1
    state = source.state_dict()
    path = tmp_path / f"googlenet{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    base = GoogLeNet()
    load_base(base, path)
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        found = base.eval()(images)
        assert torch.allclose(found, plain_googlenet(state, images), atol=1e-4)


def plain_resnet(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """ResNet-20 written out, the shortcuts as a padding of channels."""

    def norm(x: Tensor, name: str) -> Tensor:
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts)

    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = torch.stack([(images[:, c] - mean[c]) / deviation[c] for c in range(3)], dim=1)
    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for stage, number in ((s, n) for s in (1, 2, 3) for n in (0, 1, 2)):
        of = f"layer{stage}.{number}"
        stride = 2 if stage > 1 and number == 0 else 1
        y = F.relu(
            norm(F.conv2d(x, state[f"{of}.conv1.weight"], stride=stride, padding=1), f"{of}.bn1")
        )
        y = norm(F.conv2d(y, state[f"{of}.conv2.weight"], padding=1), f"{of}.bn2")
        if stride == 2:
            kept = torch.zeros_like(y)
            quarter = y.shape[1] // 4
            kept[:, quarter:-quarter] = x[:, :, ::2, ::2]
            x = kept
        x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def test_resnet_loads_published_weights_without_their_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = ResNet(20)
    assert sum(p.numel() for p in source.parameters()) == 269_722
    source.train()(torch.rand(8, 3, 32, 32))
    # As published: no counts of batches; and as DataParallel saves it.
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "r.safetensors")
    base = ResNet(20)
    load_base(base, tmp_path / "r.safetensors")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(base.eval()(images), plain_resnet(state, images), atol=1e-4)
    with pytest.raises(OCDError, match="6n \\+ 2 layers"):
        ResNet(21)


def test_a_state_dict_that_holds_more_than_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(OCDError, match="not a state dict of tensors alone"):
        load_base(nn.Linear(2, 2), path)
    for wrong, named in (({"epoch": 3}, "epoch"), ({1: torch.zeros(2)}, "1")):
        torch.save(wrong, path)
        with pytest.raises(OCDError, match=f"\\(names and tensors\\), because of {named}"):
            load_base(nn.Linear(2, 2), path)
    torch.save({"state_dict": nn.Linear(2, 2).state_dict()}, path)
    load_base(nn.Linear(2, 2), path)


# Data and training


def test_files_are_read_as_they_are_and_their_kind_is_said(tmp_path: Path) -> None:
    written = write_cifar(tmp_path / "png")
    task = get_task("cifar10")
    data = task.load(task.options(train_size=12), tmp_path / "png")
    expected = torch.from_numpy(written["train"][:12]).permute(0, 3, 1, 2) / 255
    assert torch.equal(data.train.inputs, expected) and data.notes == ()
    write_cifar(tmp_path / "jpeg", "JPEG")
    data = task.load(task.options(), tmp_path / "jpeg")
    assert data.notes == (
        "images are JPEG files, 40 to train and 40 to test, not the originals as they were published: "
        "a network that was trained on those meets a shift",
    )


def test_flip_mirrors_half_of_the_images() -> None:
    images = torch.rand(200, 3, 4, 5)
    found = flip(images, torch.Generator().manual_seed(0))
    mirrored = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(found, images, strict=True)])
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(found, images, strict=True)])
    assert (mirrored ^ kept).all() and 70 < mirrored.sum() < 130


def test_the_recipe_learns_and_depends_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    classes = torch.arange(64) % 2
    images = torch.rand(64, 3, 8, 8) * 0.5 + 0.5 * classes[:, None, None, None]
    finals = []
    for seed in (0, 0, 1):
        base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        said: list[str] = []
        recipe = Recipe(epochs=4, batch_size=16, pixels=1)
        train_by_recipe(base, Examples(images, classes), recipe, seed, said.append)
        finals.append(base(images))
    assert torch.equal(finals[0], finals[1]) and not torch.equal(finals[0], finals[2])
    assert (finals[0].argmax(dim=1) == classes).float().mean() > 0.9
    assert len(said) == 4 and said[-1].startswith("base: epoch 4 of 4")


def test_a_run_on_cifar10_and_new_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    write_cifar(tmp_path)
    torch.manual_seed(0)
    save_file(ResNet(20).state_dict(), tmp_path / "resnet20.safetensors")
    settings = SMALL | {"network": "resnet20", "base": tmp_path / "resnet20.safetensors"}
    settings |= {"layer": "linear", "encoder": "trunk", "train_size": 24, "test_size": 8}
    settings |= {"train_corruption": "mixed", "corruption": "jpeg,2", "training.num_steps": 4}
    settings |= {"selection.num_draws": 2, "selection.num_examples": 2, "common_move": "never"}
    texts = {name: str(value) for name, value in settings.items()}
    run = Run.create("cifar10", tmp_path / "run", data_dir=tmp_path, settings=texts)
    run.predict(0)
    assert {"base", "ocd", "ocd_ensemble_5"} <= run.report()["methods"].keys()
    encoder = next(run.fits(0))[1].encoder
    assert encoder is not None and encoder.num_features == 64
    assert torch.equal(encoder.trunk.conv1.weight, run.base(0).conv1.weight)  # it starts from there
    assert run.data.notes == (
        "training images are corrupted on purpose: mixed",
        "test images are corrupted on purpose: jpeg,2",
    )
    (tmp_path / "resnet20.safetensors").unlink()  # the run folder is all that is needed
    fitted = ocd.load(run.root)
    images = run.data.test.inputs[:5]
    with torch.no_grad():
        expected = run.base(0)(images).softmax(dim=1)
    answers = fitted.predict(images)
    assert torch.allclose(answers.base, expected, atol=1e-5)
    assert "automobile" in " ".join(answers.frame().columns)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet18"}, "network is 'resnet18': use one of googlenet, resnet20"),
        ({"encoder": "large"}, "encoder is 'large': use small or trunk"),
        ({"corruption": "snow,1"}, "corruption is 'snow,1': use none, mixed, or NAME,SEVERITY"),
        ({"shift": -1}, "shift is -1"),
    ],
)
def test_options_that_are_wrong_give_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(OCDError, match=message):
        get_task("cifar10").options(**options)
