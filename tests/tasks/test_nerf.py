"""Novel views: reader, rays, rendering, condition, and whole runs on a tiny scene."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ocd import OCD, OCDConfig, OCDError, overfit
from ocd.base import DenseDelta, FrozenBase, probe
from ocd.baselines import mean_delta
from ocd.cli import main
from ocd.evaluation import prepare_methods
from ocd.lessons import OverfitConfig
from ocd.lessons.per_example import overfit_chunk
from ocd.runs import Run
from ocd.runs.comparing import make_comparison
from ocd.tasks import get_task
from ocd.tasks.views.blender import circle_of_poses, read_views
from ocd.tasks.views.describing import DescribeViews
from ocd.tasks.views.nerf import some_rays, squared_error_per_view
from ocd.tasks.views.options import Options
from ocd.tasks.views.radiance import (
    Camera,
    Compositing,
    PoseEncoder,
    TinyNeRF,
    positional_encoding,
    ray_directions,
    summarise_views,
)
from ocd.tasks.views.training import train_base
from ocd.tasks.views.vgg import VGG11, load_vgg11
from scenes import ANGLE, NUM_VIEWS, ball, scene_data, some_poses, write_scene

pytest.importorskip("PIL")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_base(size: int = 8, positions: int = 8192, background: float = 0.0) -> TinyNeRF:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyNeRF(
            Camera(size, ANGLE, num_depths=6),
            num_frequencies=3,
            width=16,
            background=background,
            positions=positions,
        ).eval()


def poses(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(some_poses(count, 0.05))


# The reader


def test_views_are_laid_on_their_background(tmp_path: Path) -> None:
    scene = write_scene(tmp_path) / "lego"
    for background in (0.0, 1.0):
        views = read_views(scene, "train", 12, background)
        assert views.poses.shape == (6, 4, 4) and views.images.shape == (6, 3, 12, 12)
        assert views.angle == pytest.approx(ANGLE)
        assert (views.images[:, :, 0, 0] == background).all()
        shown = torch.from_numpy(ball(12, 2)[6, 6, :3] / 255).float()
        assert torch.allclose(views.images[2, :, 6, 6], shown)


def test_views_are_scaled_down_by_area_after_the_background(tmp_path: Path) -> None:
    scene = write_scene(tmp_path) / "lego"
    whole, half = (read_views(scene, "train", size, 0.0).images for size in (12, 6))
    assert torch.allclose(half, whole.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)), atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("camera_angle_x", "wide", "camera_angle_x is 'wide'"),
        ("camera_angle_x", 4.0, "camera_angle_x is 4.0"),
        ("frames", [], "no list of frames"),
        ("frames", [{"file_path": 3}], "frame 0: there is no file_path"),
        ("frames", [{"file_path": "a", "transform_matrix": [[1]]}], "frame 0: transform_matrix"),
        ("frames", [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}], "a.png: not a read"),
    ],
)
def test_a_wrong_scene_is_one_line(tmp_path: Path, key: str, value: object, message: str) -> None:
    scene = write_scene(tmp_path) / "lego"
    path = scene / "transforms_train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(OCDError, match=message) as caught:
        read_views(scene, "train", 12, 0.0)
    assert "\n" not in str(caught.value)


def test_a_missing_scene_broken_json_and_images_of_other_sizes(tmp_path: Path) -> None:
    from PIL import Image

    scene = write_scene(tmp_path) / "lego"
    with pytest.raises(OCDError, match="smaller than size = 13"):
        read_views(scene, "train", 13, 0.0)
    Image.new("RGB", (12, 10)).save(scene / "train" / "r_0.png")
    with pytest.raises(OCDError, match="12x10: views must be square"):
        read_views(scene, "train", 6, 0.0)
    (scene / "transforms_val.json").write_text("{")
    with pytest.raises(OCDError, match="not readable as JSON"):
        read_views(scene, "val", 6, 0.0)
    with pytest.raises(OCDError, match="no file .*transforms_train.json.*--data-dir"):
        read_views(tmp_path / "none", "train", 6, 0.0)
    task = get_task("nerf-lego")
    with pytest.raises(OCDError, match="give --data-dir"):
        task.load(task.options(), None)


def test_options_choose_scene_split_and_numbers(tmp_path: Path) -> None:
    write_scene(tmp_path, name="mine")
    task = get_task("nerf-hotdog")
    data = task.load(Options(scene="mine", size=6, test_split="val", train_size=4), tmp_path)
    assert len(data.train) == 4 and len(data.test) == NUM_VIEWS["val"]
    with pytest.raises(OCDError, match="train_size is 9: it must be from 1 to 6"):
        task.load(Options(scene="mine", size=6, train_size=9), tmp_path)
    for wrong in ({"background": "red"}, {"size": 2}, {"near": 6.0}, {"image_encoder": "cnn"}):
        with pytest.raises(OCDError, match=next(iter(wrong))):
            Options(**wrong)


# Rays and rendering


def test_rays_are_those_of_a_pinhole_camera() -> None:
    """The slow way: one pixel, one camera at a time."""
    size, cameras = 8, poses()
    pixels = torch.tensor([0, 7, 27, 63])
    rays = ray_directions(cameras, pixels, size, ANGLE)
    focal = 0.5 * size / math.tan(0.5 * ANGLE)
    for b, pose in enumerate(cameras.tolist()):
        for r, pixel in enumerate(pixels.tolist()):
            x, y = (pixel % size - size / 2) / focal, -(pixel // size - size / 2) / focal
            expected = [row[0] * x + row[1] * y - row[2] for row in pose[:3]]
            assert rays[b, r].tolist() == pytest.approx(expected, abs=1e-5)


def test_encoding_has_the_order_of_the_authors_checkpoint() -> None:
    point = torch.tensor([0.1, -0.2, 0.3])
    encoded = positional_encoding(point, 2)
    parts = [point, point.sin(), point.cos(), (2 * point).sin(), (2 * point).cos()]
    assert torch.equal(encoded, torch.cat(parts))
    state = TinyNeRF(Camera(100, ANGLE)).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "layer1.weight": (128, 63),
        "layer1.bias": (128,),
        "layer2.weight": (128, 128),
        "layer2.bias": (128,),
        "layer3.weight": (4, 128),
        "layer3.bias": (4,),
    }


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_compositing_is_the_sum_over_a_ray(background: float) -> None:
    answers = torch.randn(2, 3, 5, 4, generator=generator()).double()
    depths = torch.tensor([2.0, 2.5, 3.5, 4.0, 6.0]).double()
    colours, weights = Compositing(background)(answers, depths)
    for b in range(2):
        for r in range(3):
            light, colour = 1.0, torch.zeros(3).double()
            for d in range(5):
                step = float(depths[d + 1] - depths[d]) if d < 4 else 1e10
                alpha = 1 - math.exp(-max(0.0, float(answers[b, r, d, 3])) * step)
                colour += light * alpha * answers[b, r, d, :3].sigmoid()
                assert float(weights[b, r, d]) == pytest.approx(light * alpha, abs=1e-8)
                light *= 1 - alpha
            expected = colour + background * light
            assert torch.allclose(colours[b, r], expected, atol=1e-6)


def test_chunks_and_pixels_do_not_change_a_view() -> None:
    whole = small_base(positions=10**6)(poses())
    assert whole.shape == (3, 3, 8, 8)
    for positions in (1, 50, 700):
        assert torch.allclose(small_base(positions=positions)(poses()), whole, atol=1e-6)
    pixels = torch.tensor([[5, 3, 60], [1, 2, 3], [63, 0, 9]])
    some = small_base()(poses(), pixels)
    for b in range(3):
        assert torch.allclose(some[b], whole[b].flatten(1)[:, pixels[b]], atol=1e-6)


def test_depths_are_stratified_in_training_alone() -> None:
    base = small_base()
    assert torch.equal(base(poses()), base(poses()))
    base.train()
    assert not torch.equal(base(poses()), base(poses()))
    camera, depths = base.camera, base._depths(torch.zeros(2, 50, 3))
    stretch = (camera.far - camera.near) / camera.num_depths
    starts = torch.linspace(camera.near, camera.far, camera.num_depths)
    assert ((depths >= starts) & (depths <= starts + stretch)).all()


@pytest.mark.parametrize("positions", [30, 10**6], ids=["in chunks of rays", "in one piece"])
@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3"])
def test_draws_are_those_of_a_moved_copy(layer: str, positions: int) -> None:
    base = small_base(positions=positions).double()
    frozen, cameras = FrozenBase(base, layer), poses().double()
    capture = probe(frozen, cameras)
    assert frozen.widen and capture.positions.shape[1] == 64 * 6
    deltas = 0.1 * torch.randn(3, 2, *frozen.weight_shape, generator=generator()).double()
    for captured in (frozen.capture(cameras), frozen.capture(cameras, keep_positions=False)):
        output = frozen.run(captured, DenseDelta(deltas))
        for b in range(3):
            for k in range(2):
                moved = copy.deepcopy(base)
                with torch.no_grad():
                    moved.get_submodule(layer).weight += deltas[b, k]
                    expected = moved(cameras[b : b + 1])[0]
                assert torch.allclose(output[b, k], expected, atol=1e-10)


def test_rows_of_a_view_in_chunks_are_left_out_on_demand() -> None:
    frozen = FrozenBase(small_base(positions=30), "layer2")
    capture = frozen.capture(poses(), keep_positions=False)
    assert capture.positions.numel() == 0 and capture.layer_input.numel() == 0
    assert frozen.capture(poses()).positions.shape == (3, 64 * 6, 1, 16)


# Overfitting on rays


def test_overfitting_on_new_rays_is_what_a_loop_would_do() -> None:
    base, data = small_base().double(), scene_data()
    inputs, targets = data.train.inputs.double(), data.train.targets.double()
    config = OverfitConfig(num_steps=3, lr=5e-3, optimizer="adam", excerpt=20)
    done = overfit_chunk(
        FrozenBase(base, "layer1"), squared_error_per_view, inputs, targets, config, some_rays
    )
    assert done.capture is None and done.kept.tolist() == [0, 1, 2, 3]
    deltas = done.deltas
    for b in range(4):
        moved, random = copy.deepcopy(base).requires_grad_(False), torch.Generator().manual_seed(0)
        weight = moved.layer1.weight.requires_grad_()
        optimizer = torch.optim.Adam([weight], lr=5e-3)
        for _ in range(3):
            part, labels = some_rays(inputs, targets, 20, random)
            colours = moved(part[0][b : b + 1], part[1][b : b + 1])
            optimizer.zero_grad()
            squared_error_per_view(colours, labels[b : b + 1]).sum().backward()
            optimizer.step()
        expected = (weight - base.layer1.weight).detach()
        assert torch.allclose(deltas.dense()[b], expected, atol=1e-9)


def test_rays_belong_to_their_pixels() -> None:
    data = scene_data()
    (cameras, pixels), colours = some_rays(data.train.inputs, data.train.targets, 20, generator())
    assert torch.equal(cameras, data.train.inputs)
    assert pixels.shape == (4, 20) and len(pixels[0].unique()) == 20
    for b in range(4):
        assert torch.equal(colours[b], data.train.targets[b].flatten(1)[:, pixels[b]])
    # More than there are is all of them.
    assert some_rays(data.train.inputs, data.train.targets, 10**6, generator())[1].shape == (4, 3, 64)


# The condition


def test_summary_weighs_positions_by_their_light() -> None:
    base, cameras = small_base(positions=30), poses()
    seen = summarise_views(base, base.layer2, cameras, grid=4)
    assert seen.image.shape == (3, 3, 4, 4)
    lines = torch.tensor([1, 3, 5, 7])
    assert torch.allclose(seen.image, base(cameras)[:, :, lines][:, :, :, lines], atol=1e-6)
    pixels = (lines[:, None] * 8 + lines).flatten()
    rays = ray_directions(cameras, pixels, 8, ANGLE)
    depths = base._depths(rays)
    points = cameras[:, None, None, :3, 3] + depths[:, None] * rays[:, :, None]
    given = base.layer1(positional_encoding(points, 3)).relu()
    answer = base.layer2(given)
    weights = base.compositing(base.layer3(answer.relu()), depths)[1]
    for name, values in (("layer_input", given), ("layer_output", answer)):
        light = weights.sum(dim=(1, 2)).clamp_min(1e-6)[:, None]
        mean = (weights[..., None] * values).sum(dim=(1, 2)) / light
        assert torch.allclose(getattr(seen, name), mean, atol=1e-5)
    assert not base.layer2._forward_hooks and not base.compositing._forward_hooks


def test_described_features_follow_the_settings() -> None:
    base = small_base()
    describe = DescribeViews(Options(size=8, grid=8))
    features = describe(FrozenBase(base, "layer1"), poses())
    assert {name: value.shape[1] for name, value in features.items()} == {
        "layer_input": 21,
        "layer_output": 16,
        "output": 3 * 64,
    }
    config = OCDConfig().replace({"condition.output": False, "condition.layer_input": False})
    ocd = OCD(base, config=config, describe=describe)
    assert list(ocd.condition.features(FrozenBase(base, "layer1"), poses())) == ["layer_output"]
    nothing = config.replace({"condition.layer_output": False})
    with pytest.raises(OCDError, match="condition has no part"):
        OCD(base, config=nothing)
    assert OCD(base, config=nothing, encoder=PoseEncoder()).condition.features(None, poses()) == {}


def test_pose_features_are_a_kernel_of_the_viewing_axis() -> None:
    encoder = PoseEncoder(num_features=20_000, width=0.5)
    features = encoder(poses())
    axes = poses()[:, :3, 2]
    kernel = torch.exp(-(axes[:, None] - axes).square().sum(-1) / (2 * 0.5**2))
    assert torch.allclose(features @ features.T / 20_000, kernel, atol=0.05)
    nearer = poses().clone()
    nearer[:, :3, 3] *= 0.5
    assert torch.equal(encoder(nearer), features)


def test_vgg11_has_the_names_of_torchvision(tmp_path: Path) -> None:
    network = VGG11()
    places = [0, 3, 6, 8, 11, 13, 16, 18]
    assert list(network.state_dict()) == [
        f"features.{place}.{kind}" for place in places for kind in ("weight", "bias")
    ]
    classifier = {"classifier.0.weight": torch.zeros(2, 2)}
    save_file(network.state_dict() | classifier, tmp_path / "vgg.safetensors")
    torch.save(network.state_dict(), tmp_path / "vgg.pth")
    images = torch.rand(2, 3, 50, 50)
    expected = network.eval()(images)
    assert expected.shape == (2, 512)
    for name in ("vgg.safetensors", "vgg.pth"):
        assert torch.equal(load_vgg11(tmp_path / name)(images), expected)
    describe = DescribeViews(
        Options(size=8, grid=8, image_encoder="vgg11", vgg=str(tmp_path / "vgg.safetensors"))
    )
    assert describe(FrozenBase(small_base(), "layer1"), poses())["output"].shape == (3, 512)
    wrong = network.state_dict()
    del wrong["features.8.bias"]
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(OCDError, match="features.8.bias is missing"):
        load_vgg11(tmp_path / "wrong.pth")
    with pytest.raises(OCDError, match="no such file"):
        load_vgg11(tmp_path / "none.pth")


def test_the_film_looks_at_the_middle_from_as_far_as_the_cameras() -> None:
    cameras = poses(5)
    circle = circle_of_poses(cameras, 16)
    assert torch.allclose(
        circle[:, :3, :3] @ circle[:, :3, :3].transpose(1, 2), torch.eye(3), atol=1e-5
    )
    assert torch.allclose(torch.linalg.det(circle[:, :3, :3]), torch.ones(16), atol=1e-5)
    assert torch.allclose(circle[:, :3, 3].norm(dim=1), cameras[:, :3, 3].norm(dim=1).mean())
    # The camera looks along -z, at the origin.
    assert torch.allclose(circle[:, :3, 2], circle[:, :3, 3] / circle[:, :3, 3].norm(dim=1)[:, None])
    assert torch.allclose(circle[:, 2, 3], cameras[:, 2, 3].mean(), atol=1e-4)


# The base


def test_base_learns_and_depends_on_the_seed_alone() -> None:
    data, options = scene_data(), Options(size=8, depths=6, encodings=3, width=16, base_steps=60)
    task, state = get_task("nerf-lego"), torch.get_rng_state()
    trained = []
    for seed in (0, 0, 1):
        base = task.make_base(options, data)
        state = torch.get_rng_state()
        train_base(base, data, options, seed, lambda line: None)
        assert torch.equal(torch.get_rng_state(), state)
        trained.append(base)
    first, same, other = (base.layer1.weight for base in trained)
    assert torch.equal(first, same) and not torch.equal(first, other)
    with torch.no_grad():
        after = squared_error_per_view(trained[0](data.train.inputs), data.train.targets).mean()
        black = data.train.targets.square().mean()
    assert after < 0.5 * black


# Whole runs

TINY = {
    "size": 12, "depths": 6, "encodings": 3, "width": 16, "grid": 8, "base_steps": 80,
    "base_rays": 64, "film_frames": 3, "selection.num_draws": 4, "selection.num_examples": 2,
    "overfit.excerpt": 64, "overfit.num_steps": 2, "collection.shard_rows": 4,
    "denoiser.width": 16, "training.num_steps": 6, "training.batch_size": 4,
    "training.validate_every": 3,
}  # fmt: skip


def make(root: Path, data: Path, preset: str = "fast", **settings: object) -> Run:
    texts = {key.replace("__", "."): str(value) for key, value in (TINY | settings).items()}
    return Run.create("nerf-lego", root, preset, data, [0], texts)


def test_a_run_ends_in_a_report_with_views_and_a_film(tmp_path: Path) -> None:
    from PIL import Image

    every_ray = {"overfit__excerpt": 144, "overfit__lr": 0.001, "alternative": True}
    run = make(tmp_path / "run", write_scene(tmp_path / "data"), **every_ray)
    run.predict(0)
    results = run.report()
    for method in (
        "base", "ocd", "ocd_ensemble_5", "ocd_mean", "no_scale", "alternative_layer", "mean_delta",
        "nearest_neighbor", "random_direction", "delta_regression", "fine_tuned_layer", "overfit_test",
    ):  # fmt: skip
        assert (results["methods"][method]["mse"][0] or 0) > 0, (method, results["skipped"])
    assert next(iter(results["metrics"])) == "mse"
    for method in ("label_head", "label_network", "tent_1", "overfit_test_all_layers"):
        assert results["skipped"][method]
    bound = results["methods"]["overfit_test"]["mse"][0]
    assert bound < results["methods"]["base"]["mse"][0]
    report = (run.root / "report.md").read_text()
    assert "figures/views.png" in report and "figures/film.gif" in report
    assert "pca code: of" in report and "truncated" in report
    views = load_file(run.root / "views" / "seed-0.safetensors")
    assert views["truth"].shape == (3, 3, 12, 12) and views["film/ocd"].shape == (3, 3, 12, 12)
    assert not torch.equal(views["base"], views["ocd"])
    with Image.open(run.root / "figures" / "film.gif") as film:
        assert film.n_frames == 3


def test_test_images_never_reach_a_prediction(tmp_path: Path) -> None:
    from ocd.runs import audit_run

    run = make(tmp_path / "run", write_scene(tmp_path / "data"), training__task_loss_weight=10)
    run.predict(0)
    findings = {finding.name: finding for finding in audit_run(run).findings}
    assert findings["labels, seed 0"].passed, findings["labels, seed 0"].text
    assert findings["figures, seed 0"].passed, findings["figures, seed 0"].text
    assert findings["overlap"].passed and findings["manifest"].passed


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_other_presets_run_with_the_unet(tmp_path: Path, preset: str) -> None:
    run = make(
        tmp_path / "run", write_scene(tmp_path / "data"), preset, baselines="none", alternative=False,
        num_draws=2, denoiser__channels=8, diffusion__num_sampling_steps=2,
        overfit__lr=0.005, training__num_steps=2, training__batch_size=1, film_frames=1,
    )  # fmt: skip
    assert run.config.denoiser.kind == "unet" and run.config.codec.kind == "dense"
    assert run.config.overfit.optimizer == ("sgd" if preset == "paper" else "adam")
    run.predict(0)
    assert run.report()["methods"]["ocd"]["mse"][0] > 0


def test_overfitting_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    data = write_scene(tmp_path / "data")
    stopped, whole = (make(tmp_path / name, data, alternative=False) for name in ("a", "b"))
    for run in (stopped, whole):
        run.select(0)
    real, calls = torch.optim.Adam.step, []

    def limited(self: torch.optim.Adam, *args: object) -> object:
        calls.append(1)
        if len(calls) == 2 * 5:  # in the fifth view: one shard of four is written
            raise KeyboardInterrupt
        return real(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", limited)
        with pytest.raises(KeyboardInterrupt):
            stopped.overfit(0)
    written = sorted(path.name for path in (stopped.root / "deltas/seed-0").glob("*.json"))
    assert written == ["part-000000.json", "units.json"]
    stopped.overfit(0)
    whole.overfit(0)
    for name in ("part-000000", "part-000001"):
        one, other = (
            load_file(run.root / f"deltas/seed-0/{name}.safetensors") for run in (stopped, whole)
        )
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_mean_of_the_store_is_that_of_deltas_made_anew(tmp_path: Path) -> None:
    run = make(tmp_path / "run", write_scene(tmp_path / "data"))
    run.train(0)
    comparison = make_comparison(run, 0)
    kept = prepare_methods(comparison).for_labels(None)["mean_delta"].predictor
    frozen = comparison.fits.main.fitted()[1]
    anew = mean_delta(frozen, run.task.loss, comparison.fits.overfit, run.examples, excerpt=some_rays)
    assert torch.allclose(kept.weight, anew.weight, atol=1e-7)
    assert kept.weight.abs().sum() > 0


@pytest.mark.parametrize("common_move", ["never", "always"])
def test_conditions_are_compared_on_the_deltas_of_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    common_move: str,
) -> None:
    data = write_scene(tmp_path / "data")
    run = make(tmp_path / "run", data, baselines="none", common_move=common_move)
    run.predict(0)
    before = (run.root / "predictions" / "seed-0.json").read_bytes()
    with pytest.MonkeyPatch.context() as patch:  # no view is overfitted again

        def never(*args: object, **kwargs: object) -> None:
            raise AssertionError("overfitted again")

        patch.setattr("ocd.lessons.collection.collect", never)
        monkeypatch.setattr("sys.argv", ["ocd", "condition", str(run.root)])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    table = capsys.readouterr().out
    for title in (
        "base, no generator",
        "x alone",
        "I(x) alone",
        "a_L alone",
        "all: i_L, a_L, f(x) and x",
    ):
        assert title in table
    assert table.strip() == (run.root / "condition.md").read_text().strip()
    assert (run.root / "predictions" / "seed-0.json").read_bytes() == before
    values = json.loads((run.root / "condition.json").read_text())["variants"]
    # The generator of the run itself sees the pose alone: trained anew it answers the same.
    losses = load_file(run.root / "predictions" / "seed-0.safetensors")["loss/ocd"]
    assert values["x"][0]["draw"] == pytest.approx(losses.tolist(), rel=1e-4)
    assert values["I(x)"][0]["draw"] != values["x"][0]["draw"]


def test_overfit_of_the_library_takes_excerpts() -> None:
    data, base = scene_data(), small_base()
    arguments = (base, "layer1", squared_error_per_view, data.train.inputs, data.train.targets)
    rays = {"excerpt": some_rays, "excerpt_size": 20}
    deltas = overfit(*arguments, steps=3, lr=5e-3, optimizer="adam", **rays)
    config = OverfitConfig(num_steps=3, lr=5e-3, optimizer="adam", excerpt=20)
    frozen = FrozenBase(base, "layer1")
    same = overfit_chunk(frozen, *arguments[2:], config, some_rays).deltas
    assert torch.equal(deltas.dense(), same.dense())
    chosen = overfit(*arguments, steps=3, optimizer="sgd", **rays)
    assert (chosen.loss_after < chosen.loss_before).float().mean() > 0.5
    with pytest.raises(OCDError, match="overfit.excerpt is -1"):
        OverfitConfig(excerpt=-1)


def test_a_quick_run_leaves_out_what_the_full_run_has(tmp_path: Path) -> None:
    write_scene(tmp_path)
    runs = [make(tmp_path / f"run-{quick}", tmp_path, quick=quick) for quick in (True, False)]
    rows = []
    for run in runs:
        run.predict(0)
        found = json.loads((run.root / "predictions/seed-0.json").read_text())
        rows.append(found["methods"].keys())
    left_out = json.loads((runs[0].root / "config.json").read_text())["left_out"]
    assert rows[1] - rows[0] == set(left_out) and rows[0] < rows[1]
