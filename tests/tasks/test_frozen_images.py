"""Frozen bodies: features computed once, heads as the network has them, folders, new images."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ocd
from ocd import OCDError
from ocd.data import Examples
from ocd.runs import Run
from ocd.runs.examples import load_data
from ocd.tasks import get_task
from ocd.tasks.images import features
from ocd.tasks.images.body import STAND_IN, load_body
from ocd.tasks.images.feature_reader import FeatureReader
from ocd.tasks.images.features import kept_features
from ocd.tasks.images.files import class_folders, folder_files, parquet_files
from ocd.tasks.images.heads import Heads, train_probe
from small_run import SMALL, shrink

transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_model(folder: Path, kind: str) -> Path:
    """A tiny random network of transformers, with its image processor, as a local folder."""
    torch.manual_seed(0)
    sizes = {"image_size": 16, "patch_size": 8, "num_labels": 7}
    if kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7
        )
        model = transformers.ResNetForImageClassification(config)
    elif kind == "vit":
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZE, **sizes))
    else:
        config = transformers.DeiTConfig(**SIZE, **sizes)
        model = transformers.DeiTForImageClassificationWithTeacher(config)
    # Random heads see hardly anything of an image otherwise.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    model.save_pretrained(folder)
    processor = transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor.save_pretrained(folder)
    return folder


def write_images(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Noise on a colour of its class, a folder a class."""
    chance = np.random.default_rng(seed)
    for name, colour in {"green": (0, 150, 0), "red": (150, 0, 0), "blue": (0, 0, 150)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = chance.integers(0, 100, (20, 24, 3)) + np.asarray(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")
    return folder


# Bodies


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("deit", ("cls_classifier", "distillation_classifier")),
        ("vit", ("classifier",)),
        ("resnet", ("classifier.1",)),
    ],
)
def test_features_and_heads_answer_as_the_whole_network(
    tmp_path: Path, kind: str, heads: tuple[str, ...]
) -> None:
    body = load_body(str(save_model(tmp_path / kind, kind)))
    assert body.heads == heads and body.width == 16
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (30, 20, 3), dtype=np.uint8))
              for n in range(3)]  # fmt: skip
    pixels = body.pixels(images)
    assert pixels.shape == (3, 3, 16, 16)
    found = body.features(pixels).clone()
    assert found.shape == ((3, 2, 16) if kind == "deit" else (3, 16))
    rest = Heads(tuple(name.replace(".", "_") for name in heads), 16, 7)
    rest.load_state_dict(
        {
            f"{name.replace('.', '_')}.{part}": getattr(body.network.get_submodule(name), part)
            for name in heads
            for part in ("weight", "bias")
        }
    )
    with torch.no_grad():
        logits = body.network(pixels).logits
        assert torch.allclose(rest(found), logits, atol=1e-5)
        assert logits.std(dim=0).max() > 1e-3  # the images are told apart


def test_the_processor_is_part_of_what_a_body_is(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "vit")
    before = load_body(str(folder)).digest
    assert load_body(str(folder)).digest == before
    (settings,) = folder.glob("*processor_config.json")
    settings.write_text(settings.read_text().replace("0.5", "0.1"))
    assert load_body(str(folder)).digest != before


def test_a_network_without_a_head_is_known_again_and_one_that_lacks_more_is_refused(
    tmp_path: Path,
) -> None:
    folder = save_model(tmp_path / "model", "vit")
    weights = load_file(folder / "model.safetensors")
    bare = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_body(str(folder)).digest == load_body(str(folder)).digest
    less = {name: value for name, value in bare.items() if "attention" not in name}
    save_file(less, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OCDError, match="lacks weights: .* in all"):
        load_body(str(folder))


def test_clip_has_its_head_at_the_end(tmp_path: Path) -> None:
    config = transformers.CLIPConfig(
        vision_config=SIZE | {"image_size": 16, "patch_size": 8}, text_config=SIZE, num_labels=5
    )
    transformers.CLIPForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    assert load_body(str(tmp_path)).heads == ("classifier",)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OCDError, match="^model '.*nothing' cannot be loaded: "):
        load_body(str(tmp_path / "nothing"))


def test_the_stand_in_sees_more_than_noise() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    body = load_body(STAND_IN)
    images = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    found = body.features(body.pixels(images))
    assert found.shape == (2, 1280) and not torch.allclose(found[0], found[1], atol=0.1)
    low = load_body(STAND_IN, "bfloat16").features(body.pixels(images))
    assert torch.allclose(low, found, atol=0.5) and not torch.equal(low, found)


# Features


def test_features_are_computed_once_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    files = folder_files(write_images(tmp_path / "images"), ["blue", "green", "red"])
    whole = kept_features(body, files, None, "float32")
    monkeypatch.setattr(features, "PART", 16)
    monkeypatch.setattr(features, "BATCH", 8)
    path = tmp_path / "run" / "train.safetensors"
    seen: list[int] = []
    compute = type(body).features

    def counted(self, pixels):
        seen.append(len(pixels))
        if sum(seen) == 24:
            raise KeyboardInterrupt  # in the second part
        return compute(self, pixels)

    monkeypatch.setattr(type(body), "features", counted)
    with pytest.raises(KeyboardInterrupt):
        kept_features(body, files, path, "float32")
    found = kept_features(body, files, path, "float32")
    assert sum(seen) == 24 + 20  # the first sixteen are not computed again
    assert torch.allclose(found.inputs, whole.inputs, atol=1e-6)
    assert found.targets.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    kept_features(body, files, path, "float32")
    assert sum(seen) == 44
    assert not [one for one in path.parent.iterdir() if "part" in one.name]
    with pytest.raises(
        OCDError, match="has features of something else \\(precision float32 -> float16"
    ):
        kept_features(body, files, path, "float16")


def test_workers_say_which_image_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH", 4)  # so that there are workers
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    folder = write_images(tmp_path / "images")
    (folder / "red" / "05.png").write_bytes(b"")
    files = folder_files(folder, class_folders(folder))
    path = tmp_path / "run" / "train.safetensors"
    with pytest.raises(OCDError, match="red/05.png: the file is empty$"):
        kept_features(body, files, path, "float32")
    (folder / "red" / "05.png").unlink()  # what a person does then
    mended = folder_files(folder, class_folders(folder))
    assert len(kept_features(body, mended, path, "float32")) == 35
    assert {one.name for one in path.parent.iterdir()} == {
        "train.safetensors", "train.json", ".train.json.lock"
    }  # fmt: skip


def test_hidden_folders_and_other_files_are_no_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    hidden = folder / "red" / ".thumbs"
    hidden.mkdir()
    (hidden / "x.png").write_bytes((folder / "blue" / "00.png").read_bytes())
    (folder / "red" / "notes.txt").write_text("not an image")
    files = folder_files(folder, class_folders(folder))
    assert len(files) == 6
    assert files.notes == (
        f"1 files below {folder} are no images by their names, and left out: red/notes.txt",
    )


def test_test_images_that_are_training_images_are_a_warning(tmp_path: Path) -> None:
    folder, model = write_images(tmp_path / "images", 2), save_model(tmp_path / "model", "vit")
    task = get_task("images")
    options = task.options(train=str(folder), test=str(folder), model=str(model))
    (said,) = load_data(task, options, None, tmp_path / "kept").warnings
    assert said.startswith("6 of 6 test examples are among the training examples, 6 of them with the")
    for size in (0, -1, 7):
        with pytest.raises(OCDError, match=f"is {size}: it must be from 1 to 6"):
            task.load(dataclasses.replace(options, train_size=size), None)


def test_features_that_do_not_fit_are_named(tmp_path: Path) -> None:
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    with torch.no_grad():
        body.network.vit.layernorm.weight.mul_(1e6)
    files = folder_files(write_images(tmp_path / "images", 2), ["blue", "green", "red"])
    with pytest.raises(OCDError, match="are not finite in float16: --set precision=float32"):
        kept_features(body, files, None, "float16")


# Heads


def test_a_probe_is_a_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(0)
    classes = torch.arange(300) % 3
    inputs = 50 * (torch.randn(300, 5) + torch.eye(3, 5)[classes])  # any size of features
    heads = Heads(("classifier",), 5, 3)
    train_probe(heads, Examples(inputs, classes), 200, 0, lambda line: None)
    fitted = linear_model.LogisticRegression().fit(inputs.numpy() / 50, classes.numpy())
    expected = torch.from_numpy(fitted.predict_proba(inputs.numpy() / 50)).float()
    with torch.no_grad():
        found = heads(inputs).softmax(dim=1)
    assert (found - expected).abs().mean() < 0.03


def test_two_heads_answer_with_their_mean_and_half_precision_will_do() -> None:
    heads, inputs = Heads(("one", "two"), 4, 3), torch.randn(5, 2, 4)
    expected = (heads.one(inputs[:, 0]) + heads.two(inputs[:, 1])) / 2
    assert torch.allclose(heads(inputs), expected)
    assert torch.allclose(heads(inputs.half()), expected, atol=1e-2)


# Whole runs


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_folders_of_images_and_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    shrink(monkeypatch)
    kind = "deit" if precision == "float32" else "vit"
    settings = {key: value for key, value in SMALL.items() if key not in ("train_size", "test_size")}
    settings |= {
        "train": write_images(tmp_path / "train"),
        "test": write_images(tmp_path / "test", 5, seed=1),
        "model": save_model(tmp_path / "model", kind),
        "layer": "cls_classifier" if kind == "deit" else "classifier",
        "precision": precision,
        "base_epochs": 3,
        "cross_fitting.num_folds": 2,
    }
    texts = {name: str(value) for name, value in settings.items()}
    run = Run.create("images", tmp_path / "run", settings=texts)
    run.predict(0)
    run.report()
    assert sorted(path.name for path in (tmp_path / "run" / "features").glob("[!.]*")) == [
        "test.json", "test.safetensors", "train.json", "train.safetensors"
    ]  # fmt: skip
    fitted = ocd.load(run.root)
    folder = tmp_path / "test"
    (rows,) = fitted.read(folder, 100)
    assert rows.ids[0] == "blue/00.png" and len(rows) == 15
    answers = fitted.predict([Image.open(folder / name) for name in rows.ids])
    with torch.no_grad():
        expected = run.base(0)(run.data.test.inputs).softmax(dim=1)
    assert torch.allclose(answers.base, expected, atol=1e-4)
    assert rows.inputs.dtype == run.data.test.inputs.dtype
    arrays = np.stack([np.asarray(Image.open(folder / name)) for name in rows.ids])
    assert torch.allclose(fitted.predict(arrays).base, expected, atol=1e-4)
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(OCDError, match="cannot be loaded"):
        ocd.load(run.root).predict(arrays)


def test_what_is_one_image_and_what_is_none(tmp_path: Path) -> None:
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    reader = FeatureReader(body.name, body.digest, body.heads, body.width, ("a", "b"))
    picture = Image.new("RGB", (24, 20), (200, 30, 30))
    expected = body.features(body.pixels([picture]))
    assert torch.equal(reader.take(picture).inputs, expected)
    assert torch.equal(reader.take([torch.tensor(np.asarray(picture))]).inputs, expected)
    with pytest.raises(OCDError, match="images is \\(B, H, W, 3\\), this one \\(20, 24, 3\\)"):
        reader.take(np.asarray(picture))
    with pytest.raises(OCDError, match="image 1: an array"):
        reader.take(["a.png"])
    with pytest.raises(OCDError, match="image 1: an array"):
        reader.take(np.zeros((1, 0, 0, 3)))
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(OCDError, match="bad.parquet cannot be read as parquet"):
        list(reader.read(tmp_path / "bad.parquet", 5))


def test_labels_of_the_test_folder_change_no_feature(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 4)
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    files = folder_files(folder, class_folders(folder))
    swapped = folder_files(folder, ["red", "green", "blue"])
    one, other = (kept_features(body, f, None, "float32") for f in (files, swapped))
    assert torch.equal(one.inputs, other.inputs) and not torch.equal(one.targets, other.targets)


def test_folders_that_do_not_fit_give_one_line(tmp_path: Path) -> None:
    train, test = write_images(tmp_path / "train", 2), write_images(tmp_path / "test", 2)
    task = get_task("images")

    def load(**options: object) -> None:
        task.load(task.options(**options), None)

    with pytest.raises(OCDError, match="^train is not set: --set train=FOLDER"):
        load()
    with pytest.raises(OCDError, match="nowhere: no such folder"):
        load(train=str(tmp_path / "nowhere"), test=str(test))
    with pytest.raises(OCDError, match="has 0 folders: one with images for each class"):
        load(train=str(train / "red"), test=str(test))
    (test / "red").rename(test / "reed")
    with pytest.raises(OCDError, match="no class 'reed' in the training images.*'red'"):
        load(train=str(train), test=str(test))
    (test / "reed").rename(test / "red")
    (train / "empty").mkdir()
    with pytest.raises(OCDError, match="empty: there are no images"):
        load(train=str(train), test=str(test))


def saved(image: object, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[attr-defined]
    return buffer.getvalue()


def strange_files() -> dict[str, tuple[bytes, str | None]]:
    """What people have: the file, and the line that says why it is refused; None where it works."""
    red = Image.new("RGB", (24, 20), (200, 30, 30))
    turned = Image.Exif()
    turned[0x0112] = 6
    ink = np.zeros((20, 24, 4), dtype=np.uint8)
    ink[5:15, 5:15, 3] = 255
    grey16 = Image.fromarray(np.full((20, 24), 40000, dtype=np.uint16))
    return {
        "grey.png": (saved(red.convert("L"), "PNG"), None),
        "cmyk.jpg": (saved(red.convert("CMYK"), "JPEG"), None),
        "16bit.png": (saved(grey16, "PNG"), None),
        "palette.png": (saved(red.convert("P"), "PNG"), None),
        "transparent.png": (saved(red.convert("RGBA"), "PNG"), None),
        "ink.png": (
            saved(Image.fromarray(ink, "RGBA"), "PNG"),
            "ink.png: black on a transparent ground",
        ),
        "bilevel.png": (saved(red.convert("1"), "PNG"), None),
        "turned.jpg": (saved(red, "JPEG", exif=turned.tobytes()), None),
        "damaged.png": (saved(red, "PNG")[:60], "damaged.png: not a readable image"),
        "text.png": (b"no image at all", "text.png: not a readable image"),
        "exif.png": (
            saved(red, "PNG", exif=b"garbagegarbage"),
            "exif.png: not a readable image",
        ),
        "clear.png": (
            saved(Image.new("RGBA", (24, 20), (0, 0, 0, 0)), "PNG"),
            "clear.png: black on a transparent ground",
        ),
        "empty.png": (b"", "empty.png: the file is empty"),
        "moving.gif": (
            saved(red, "GIF", save_all=True, append_images=[Image.new("RGB", (24, 20))]),
            "moving.gif: an animation of 2 pictures: give one",
        ),
    }


@pytest.mark.parametrize("name", strange_files())
def test_strange_files_work_or_are_named(tmp_path: Path, name: str) -> None:
    content, refused = strange_files()[name]
    folder = write_images(tmp_path / "images", 1)
    (folder / "red" / name).write_bytes(content)
    body = load_body(str(save_model(tmp_path / "model", "vit")))
    files = folder_files(folder, class_folders(folder))
    if refused is None:
        assert kept_features(body, files, None, "float32").inputs.isfinite().all()
        return
    with pytest.raises(OCDError) as caught:
        kept_features(body, files, None, "float32")
    assert refused in str(caught.value) and "\n" not in str(caught.value)


def test_tiny_imagenet_reads_the_hubs_layout(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    place = tmp_path / "zh-plus" / "tiny-imagenet" / "data"
    place.mkdir(parents=True)
    picture = saved(Image.new("RGB", (64, 64), (9, 99, 199)), "JPEG")
    for name, count in (("train-100-per-class.parquet", 6), ("valid-00000-of-00001.parquet", 3)):
        cells = [{"bytes": picture, "path": None}] * count
        parquet.write_table(pyarrow.table({"image": cells, "label": range(count)}), place / name)
    task = get_task("tiny-imagenet")
    model = str(save_model(tmp_path / "model", "deit"))
    data = task.load(task.options(model=model, train_size=4), tmp_path)
    assert data.train.inputs.shape == (4, 2, 16) and data.test.targets.tolist() == [0, 1, 2]
    assert "linear probe on features of" in data.notes[-1]
    assert "no time of a method has the body's pass in it" in data.notes[-1]
    base = task.make_base(task.options(), data)
    assert base.cls_classifier.weight.shape == (200, 16)
    assert isinstance(base.distillation_classifier, nn.Linear)
    with pytest.raises(OCDError, match="is 9: it must be from 1 to 6"):
        task.load(task.options(model=model, train_size=9), tmp_path)
    assert len(parquet_files(place / "valid-00000-of-00001.parquet", "image", "label")) == 3
