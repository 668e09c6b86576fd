"""What the page says is what the run predicted, for every kind of input; what cannot be is one line."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

pytest.importorskip("gradio")

from houses import houses
from ocd import OCDError
from ocd.applying import Answers
from ocd.cli.app import app
from ocd.data import file_digest, read_tensors
from ocd.demo import Address, serve, serving
from ocd.demo.page import Page
from ocd.demo.panels import make_panel
from ocd.demo.pieces import short
from ocd.demo.reading import said_first
from ocd.demo.shown import Question, ShownRun
from ocd.demo.windows import IN_DEVIATIONS, numbers_of
from ocd.evaluation import SEPARATION_METRICS
from ocd.runs import Run
from ocd.tasks import Answer, NewRows, fields_of, get_task, pose_around, values_of
from ocd.tasks.tables.features import Features
from ocd.tasks.tables.reader import TableReader
from ocd.tasks.views.blender import circle_of_poses
from scenes import write_scene
from small_run import SMALL
from sounds import write_sound, write_voices
from tiny_body import sentences, write_body

TINY = {
    "baselines": "none", "num_bases": 1, "num_draws": 4, "denoiser.width": 16,
    "selection.num_draws": 4, "selection.num_examples": 2, "training.num_steps": 12,
    "training.batch_size": 4, "training.validate_every": 6, "sampling.confidence": 0.5,
}  # fmt: skip


def homes(count: int, seed: int) -> pd.DataFrame:
    """Without what is no feature."""
    return houses(count, seed).drop(columns=["id", "grade"])


def made(root: Path, task: str, settings: dict[str, object], data_dir: Path | None = None) -> Run:
    texts = {name: str(value) for name, value in settings.items()}
    run = Run.create(task, root / "run", "fast", data_dir, [0], texts)
    run.predict(0)
    return run


def digits_run(root: Path) -> Run:
    return made(root, "digits", SMALL | {"base_epochs": 3})


def table_run(root: Path) -> Run:
    for name, count, seed in (("train", 160, 0), ("test", 30, 1)):
        homes(count, seed).to_csv(root / f"{name}.csv", index=False)
    paths = {"path": root / "train.csv", "test_path": root / "test.csv", "target": "price"}
    more = {"width": 8, "blocks": 1, "base_epochs": 3, "other_draws": "", "cross_fitting.num_folds": 2}
    return made(root, "table", TINY | more | paths | {"kind": "regression"})


def views_run(root: Path) -> Run:
    sizes = {"size": 12, "depths": 6, "encodings": 3, "width": 16, "grid": 8, "base_steps": 20}
    more = {"base_rays": 64, "film_frames": 0, "overfit.excerpt": 64, "overfit.num_steps": 2}
    return made(root, "nerf-lego", TINY | sizes | more, write_scene(root))


def texts_run(root: Path) -> Run:
    pytest.importorskip("setfit")
    for name, count, seed in (("train", 40, 1), ("test", 20, 2)):
        rows = [(text, ("bad", "good")[label]) for text, label in sentences(count, seed)]
        pd.DataFrame(rows, columns=["text", "label"]).to_csv(root / f"{name}.csv", index=False)
    paths = {"train": root / "train.csv", "test": root / "test.csv", "body": write_body(root / "body")}
    more = {"iterations": 1, "shots": 6, "variants": False, "cross_fitting.num_folds": 2}
    return made(root, "text", TINY | more | paths)


def series_run(root: Path) -> Run:
    chance = np.random.default_rng(0)
    wave = 20 + np.sin(np.arange(700) / 4) + 0.1 * chance.normal(size=700)
    frame = pd.DataFrame({"day": range(700), "wave": wave, "walk": chance.normal(size=700).cumsum()})
    frame.to_csv(root / "mine.csv", index=False)
    sizes = {"lookback": 16, "horizon": 5, "train_size": 120, "test_size": 20, "base_steps": 20}
    return made(root, "series", TINY | sizes | {"file": "mine.csv"}, root)


def sounds_run(root: Path) -> Run:
    pytest.importorskip("soundfile")
    write_voices(root / "mine")
    sizes = {"features": 8, "frame": 4, "units": 5, "blocks": 1, "chunk": 20, "speakers": 2}
    more = {"seconds": 0.4, "base_steps": 6, "base_batch": 2, "base_seconds": 0.25, "voices": "mine"}
    return made(root, "voices-mix", TINY | sizes | more | {"num_train": 6, "num_test": 4}, root)


def pictures_run(root: Path) -> Run:
    """A tiny random ViT in the place of a frozen network, and noise on a colour for each class."""
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.ViTConfig(
        **sizes, intermediate_size=16, image_size=16, patch_size=8, num_labels=3
    )
    transformers.ViTForImageClassification(config).save_pretrained(root / "vit")
    size = {"height": 16, "width": 16}
    transformers.ViTImageProcessor(size=size).save_pretrained(root / "vit")
    chance = np.random.default_rng(0)
    for split, name, number in product(("train", "test"), ("red", "green"), range(8)):
        pixels = chance.integers(0, 100, (20, 24, 3)) + 150 * np.eye(3, dtype=int)[int(name == "green")]
        (root / split / name).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(root / split / name / f"{number}.png")
    paths = {"train": root / "train", "test": root / "test", "model": root / "vit"}
    return made(root, "images", TINY | paths | {"cross_fitting.num_folds": 2})


RUNS: dict[str, Callable[[Path], Run]] = {
    "digits": digits_run, "table": table_run, "views": views_run, "texts": texts_run,
    "sounds": sounds_run, "pictures": pictures_run, "series": series_run,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny run by its kind of input, made when it is first asked for."""

    @cache
    def run(kind: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_HUB_OFFLINE", "1")
            return RUNS[kind](tmp_path_factory.mktemp(kind)).root

    return run


@pytest.fixture(scope="module", params=RUNS)
def page(request: Any, runs: Callable[[str], Path]) -> Page:
    return Page(ShownRun.open(runs(request.param)))


def loss_of(found: Answers, outputs: Tensor, truth: Tensor) -> float:
    """What the run's own loss is, from what the page has."""
    if found.answer.kind == "classes":
        return -math.log(float(outputs[0, int(truth)]))
    if found.answer.kind == "voices":
        per_example = SEPARATION_METRICS["negative_si_sdr"].per_example
        assert per_example is not None
        return float(per_example(outputs, truth[None])[0])
    return float((outputs[0] - truth).square().mean())


def test_a_test_example_is_answered_as_the_run_predicted_it(page: Page) -> None:
    shown = page.shown
    kept = read_tensors(shown.root / "predictions" / "seed-0.safetensors")
    for place in (0, len(shown.test) - 1):
        question = shown.question(place)
        found = shown.answer(question, shown.num_draws)
        assert question.truth is not None
        for name, outputs in (
            ("base", found.base),
            ("ocd_ensemble_" + str(shown.num_draws), found.ocd),
        ):
            expected = float(kept[f"loss/{name}"][place])
            assert loss_of(found, outputs, question.truth) == pytest.approx(
                expected, rel=2e-3, abs=1e-5
            )


def test_the_label_is_shown_and_never_seen(page: Page) -> None:
    whole = page.shown.question(1)
    without = Question(whole.rows)
    first, second = (page.shown.answer(one, 3) for one in (whole, without))
    assert torch.equal(first.draws, second.draws)
    told, silent = page.said(whole, 3, 0), page.said(without, 3, 0)
    assert "Test example 1" in told and "Your own input" in silent
    words = ("Right answer", "right view", "the voice itself")
    assert any(word in told for word in words) and not any(word in silent for word in words)


def test_all_draws_are_shown_and_the_seed_counts(page: Page) -> None:
    question = page.shown.question(0)
    few, more, other = (page.said(question, *ask) for ask in ((2, 0), (7, 0), (7, 1)))
    assert few != more != other
    if "draw 1" in few:  # of numbers they are dots
        assert "draw 2" in few and "draw 3" not in few and "draw 7" in more
    else:
        assert few.count('class="draw"') == 2 and more.count('class="draw"') == 7


def files(root: Path) -> dict[str, str]:
    found = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): file_digest(path) for path in found}


def test_nothing_is_changed_in_the_run(page: Page) -> None:
    before = files(page.shown.root)
    again = Page(ShownRun.open(page.shown.root))
    again.start(again.shown.question(0), 3, 0)
    again.picked(1, 2, 5)
    assert files(page.shown.root) == before and len(before) > 5


def test_lists_are_in_the_order_of_their_scores(page: Page) -> None:
    kept = read_tensors(page.shown.root / "predictions" / "seed-0.safetensors")
    changes = kept[f"loss/ocd_ensemble_{page.shown.num_draws}"] - kept["loss/base"]
    moved = changes.abs() > 1e-5 * kept["loss/base"].abs().clamp_min(1)
    assert len(page.shown.most_changed()) == min(12, int(moved.sum()))
    for listed in (page.shown.most_uncertain(), page.shown.most_changed()):
        scores = [one.score for one in listed]
        assert scores == sorted(scores, reverse=True)
        assert len({one.place for one in listed}) == len(listed)
    for one in page.shown.most_changed():
        assert one.score == pytest.approx(abs(one.base_loss - one.ocd_loss), rel=1e-4, abs=1e-7)


def test_a_picked_example_is_shown_by_the_panel_and_its_values_give_it_again(page: Page) -> None:
    place = 1
    if type(page.panel).__name__ == "RowPanel":  # one without a missing number
        data = homes(30, seed=1)
        place = int(data["rooms"].notna().to_numpy().nonzero()[0][0])
    question, answer, *values = page.picked(place, 3, 0)
    assert isinstance(question, Question) and f"Test example {place}" in answer
    assert len(values) == len(page.panel.components)
    read = {
        "DrawingPanel": "drawn", "TextPanel": "written", "RowPanel": "row", "PosePanel": "moved",
        "SeriesPanel": "written",
    }.get(type(page.panel).__name__)  # fmt: skip
    if read is None:  # a mixture is heard, not set, and of a photograph features are kept alone
        assert values == [None] or (not values and "<audio" in answer)
        return
    plain = [getattr(value, "value", value) for value in values]
    again = getattr(page.panel, read)(*plain).inputs
    first = question.rows.inputs
    assert again.shape[-1] == first.shape[-1]
    # Angles are whole degrees.
    if read == "moved":
        assert (again[0, :3, 2] - first[0, :3, 2]).norm() < 0.05
    elif read == "row":
        assert (again - first).abs().max() < 0.05
    else:
        width = min(again.shape[1], first.shape[1])
        assert torch.allclose(again[:, :width].float(), first[:, :width].float(), atol=1e-6)


def test_a_place_that_is_not_there_is_one_line(page: Page) -> None:
    question, said, *_ = page.picked(len(page.shown.test), 3, 0)
    assert question is None and 'role="alert"' in said and "choose one from 0 to" in said
    assert page.said(None, 3, 0).count("<p") == 1


# ---- panels -----------------------------------------------------------------------------


def test_uploads_are_scaled_turned_round_or_refused(
    tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    from PIL import Image

    panel: Any = Page(ShownRun.open(runs("digits"))).panel
    dark = np.full((32, 32, 3), 255, np.uint8)
    dark[:16] = 0
    Image.fromarray(dark).save(tmp_path / "up.png")
    plain = panel.uploaded(str(tmp_path / "up.png"), False).inputs
    assert plain.shape == (1, 1, 8, 8) and plain[0, 0, :4].max() == 0 and plain[0, 0, 4:].min() == 1
    assert torch.equal(panel.uploaded(str(tmp_path / "up.png"), True).inputs, 1 - plain)
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(OCDError, match="not a readable image"):
        panel.uploaded(str(tmp_path / "no.png"), False)


def test_a_photograph_is_answered_as_the_run_saw_it(runs: Callable[[str], Path]) -> None:
    root = runs("pictures")
    shown = ShownRun.open(root)
    panel: Any = Page(shown).panel
    for place, name in ((0, "green"), (8, "red")):  # folders in the order of their names
        rows = panel.uploaded(str(root.parent / "test" / name / "0.png"))
        assert torch.allclose(rows.inputs, shown.question(place).rows.inputs, atol=1e-5)
    (root.parent / "no.png").write_text("no image")
    with pytest.raises(OCDError, match="no.png"):
        panel.uploaded(str(root.parent / "no.png"))


def test_sounds_that_do_not_fit_are_refused(tmp_path: Path, runs: Callable[[str], Path]) -> None:
    panel: Any = Page(ShownRun.open(runs("sounds"))).panel
    write_sound(tmp_path / "long.wav", np.linspace(-0.1, 0.1, 7000, dtype=np.float32))
    rows = panel.uploaded(str(tmp_path / "long.wav"))
    assert isinstance(rows, NewRows) and rows.inputs.shape == (1, 7000)
    assert rows.remarks == [(0, "0.9 s long, where the run learnt from mixtures of 0.4 s")]
    write_sound(tmp_path / "short.wav", np.ones(100, np.float32) / 2)
    with pytest.raises(OCDError, match="0.01 s of sound, where 0.25 to 60 s can be taken"):
        panel.uploaded(str(tmp_path / "short.wav"))


@pytest.mark.parametrize("place", range(12))
def test_a_row_of_features_is_the_row_of_the_table_again(place: int) -> None:
    train = homes(200, seed=3).drop(columns="price")
    train.loc[:3, "town"] = "Ufa"
    reader = TableReader(Features.fit(train, max_categories=3), Answer("number", ("price",)))
    row = train.iloc[[place]]
    features = torch.from_numpy(reader.features(row))
    values = values_of(reader, features)
    assert list(values) and {field.name for field in fields_of(reader)} == set(values)
    if pd.isna(row["rooms"].iloc[0]):
        assert values["rooms"] is None
    else:
        assert values["rooms"] == pytest.approx(row["rooms"].iloc[0], abs=1e-3)
    written = float(row["rent"].iloc[0].replace("$", "").replace(",", ""))
    assert values["rent"] == pytest.approx(written, rel=1e-3)
    again = reader.take([values]).inputs
    assert torch.allclose(again, features, atol=5e-3)


def test_a_columns_range_is_that_of_the_training_rows() -> None:
    train = homes(300, seed=4).drop(columns="price")
    reader = TableReader(Features.fit(train, max_categories=3), Answer("number", ("price",)))
    fields = {field.name: field for field in fields_of(reader)}
    rooms = fields["rooms"]
    assert rooms.kind == "number" and (rooms.low, rooms.high) == pytest.approx((1, 8), abs=0.01)
    assert rooms.step == 1 and rooms.usual == (1, 8)
    rent = train["rent"].str.replace("[$,]", "", regex=True).astype(float)
    assert fields["rent"].usual == pytest.approx(tuple(rent.quantile([0.01, 0.99])), rel=0.2)
    assert fields["town"].kind == "category" and {"Oslo", "Rome"} <= set(fields["town"].choices)
    assert fields["built"].kind == "date"


def test_a_camera_is_where_the_circle_has_it() -> None:
    like = torch.eye(4)[None].clone()
    like[0, :3, 3] = torch.tensor([3.0, 0.0, 2.0])
    circle = circle_of_poses(like, 12)
    height = math.asin(2 / math.sqrt(13))
    for number, pose in enumerate(circle):
        assert torch.allclose(pose_around(number * math.pi / 6, height, math.sqrt(13)), pose, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (-1e-9, "0"), (math.nan, "unknown"), (35682.4, "35,682"), (1.879, "1.879"),
     (0.03786, "0.0379"), (2.6e-6, "2.6e\u201106"), (36.000001, "36"), (4.5, "4.500")],
)  # fmt: skip
def test_numbers_have_the_digits_that_tell(value: float, said: str) -> None:
    assert short(value) == said


# ---- what cannot be ---------------------------------------------------------------------


def one_line(arguments: list[str]) -> str:
    found = CliRunner().invoke(app, ["demo", *arguments])
    assert isinstance(found.exception, OCDError), found.output
    assert "\n" not in str(found.exception)
    return str(found.exception)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, ("of the mean", "gain")),
        ({"joint": {"statement": "worse", "sentence": "of draws"}}, ("of draws", "worse")),
        (
            {"distribution": {"statement": "wrong", "sentence": "of intervals"}}
            | {"asked": {"goal": "distribution", "statement": "worse", "sentence": "of the CRPS"}},
            ("of the CRPS", "worse"),
        ),
        ({"asked": {"goal": "answer", "statement": "gain"}}, ("of the mean", "gain")),
    ],
)
def test_the_band_has_the_verdict_on_what_was_asked_for(
    parts: dict[str, Any], said: tuple[str, str]
) -> None:
    first = said_first({"statement": "gain", "sentence": "of the mean"} | parts)
    assert (first["sentence"], first["statement"]) == said


def test_a_folder_without_a_run_and_one_that_is_not_trained(tmp_path: Path) -> None:
    assert "is no run folder" in one_line([str(tmp_path), "--port", "7123"])
    texts = {name: str(value) for name, value in SMALL.items()}
    Run.create("digits", tmp_path / "run", seeds=[0], settings=texts)
    said = one_line([str(tmp_path / "run"), "--port", "7123"])
    assert "is not trained yet (seed 0): go on with `ocd run`" in said


def test_a_port_that_is_taken_a_host_that_is_not_here_and_wrong_options(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert re.search(f"127.0.0.1:{port} cannot be used", one_line([str(tmp_path), "--port", port]))
    assert "cannot be used" in one_line([str(tmp_path), "--host", "192.0.2.1"])
    assert "from 1 to 65535" in one_line([str(tmp_path), "--port", "0"])
    assert "NAME:PASSWORD" in one_line([str(tmp_path), "--user", "eve"])


def test_gradio_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(OCDError, match="pip install -c constraints.txt '.\\[demo\\]'"):
        serve(tmp_path, Address())


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """Within, a file or folder has another name."""
    path.rename(path.with_name("elsewhere"))
    yield
    path.with_name("elsewhere").rename(path)


def test_a_visitor_needs_the_password(runs: Callable[[str], Path]) -> None:
    import httpx

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told: list[str] = []
    address = Address(port=port, user="team:a:secret")
    blocks = serve(runs("digits"), address, ready=told.append, block=False)
    try:
        with httpx.Client(base_url=told[0], trust_env=False) as visitor:
            assert visitor.get("/config").status_code == 401
            login = {"username": "team", "password": "a:wrong"}
            assert visitor.post("/login", data=login).status_code == 400
            assert visitor.post("/login", data=login | {"password": "a:secret"}).status_code == 200
            assert "OCD: digits" in visitor.get("/config").text
    finally:
        blocks.close()


def test_a_run_whose_data_are_gone_answers_new_inputs(runs: Callable[[str], Path]) -> None:
    root = runs("views")
    with gone(root.parent / "lego"):
        page = Page(ShownRun.open(root))
    assert "transforms_train.json" in page.shown.missing and not len(page.shown.test)
    assert not page.shown.most_uncertain() and page.number is None
    rows = page.panel.moved(30, 20, 4.0)  # type: ignore[attr-defined]
    assert "Your own input" in page.said(Question(rows), 2, 0)


def test_a_recording_is_separated_where_the_clips_are_gone(
    tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    root = runs("sounds")
    with gone(root.parent / "mine"):
        page = Page(ShownRun.open(root))
    assert "mine" in page.shown.missing and "\n" not in page.shown.missing
    write_sound(tmp_path / "new.wav", np.sin(np.arange(3000, dtype=np.float32) / 5) / 4)
    rows = page.panel.uploaded(str(tmp_path / "new.wav"))  # type: ignore[attr-defined]
    assert "Your own input" in page.said(Question(rows), 2, 0)


def test_a_task_that_takes_no_new_inputs_has_no_page() -> None:
    """completion: no reader, and no voices."""
    run = SimpleNamespace(data=SimpleNamespace(reader=None), task=get_task("completion"))
    shown: Any = SimpleNamespace(root=Path("runs/halves"), loaded=SimpleNamespace(run=run))
    with pytest.raises(OCDError, match="task completion takes no new inputs, so there is no page"):
        make_panel(shown)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("6,771 7,767", [6.771, 7.767]),
        ("6,771;-7,767;8\n9,5", [6.771, -7.767, 8, 9.5]),
        ("6.771, 7.767, 8", [6.771, 7.767, 8]),
        ("1,2,3", [1, 2, 3]),
        (" 1.5;2e3,;-3\t4 ,", [1.5, 2000, -3, 4]),
        ("", []),
    ],
)
def test_commas_before_decimals_and_between_values_are_told_apart(words, values):
    assert numbers_of(words) == values


@pytest.mark.parametrize(
    "words", ["1,2, 3,4", "1,2,3 4,5,6", "1.500,25 2", "1.5,2.5 3.5,4.5", "6,5 7.5"]
)
def test_a_comma_that_may_be_either_is_one_line(words):
    with pytest.raises(OCDError, match=r"at value \d, '.*', a comma may stand before decimals or bet"):
        numbers_of(words)


def test_a_window_is_written_or_uploaded_in_its_own_unit(
    tmp_path: Path, runs: Callable[[str], Path]
) -> None:
    page = Page(ShownRun.open(runs("series")))
    panel, values = page.panel, [20 + 0.1 * number for number in range(18)]
    written = panel.written("wave", ", ".join(map(str, values)))
    table = pd.DataFrame({"wave": values, "walk": 0.0})
    table.to_csv(tmp_path / "new.csv", index=False)
    uploaded = panel.uploaded("wave", str(tmp_path / "new.csv"))
    assert torch.allclose(written.inputs, uploaded.inputs, atol=1e-5)
    commas = panel.written("wave", "; ".join(str(value).replace(".", ",") for value in values))
    assert torch.equal(commas.inputs, written.inputs)
    assert uploaded.remarks == [
        (0, "no column says when a row is: rows are taken to be in the order of time")
    ]
    assert "no column says when a row is" in page.said(Question(uploaded), 3, 0)
    unit, shown = panel.show(Question(uploaded))
    assert unit == "wave" and [float(v) for v in shown.split()] == pytest.approx(values[2:], rel=1e-4)
    said = page.said(Question(uploaded), 3, 0)
    found = page.shown.answer(Question(uploaded), 3)
    assert short(float(found.base[0, -1])) in said and abs(float(found.base.mean()) - 20) < 10
    for words, wrong in (("1 2", "2 values are given: 16"), ("1 x 2", "value 2 is 'x', no number")):
        with pytest.raises(OCDError, match=wrong):
            panel.written("wave", words)
    with pytest.raises(OCDError, match="value 17 is not a finite number"):
        panel.written("wave", " ".join(["1"] * 16 + ["nan"]))
    with pytest.raises(OCDError, match="choose a series first"):
        panel.uploaded(IN_DEVIATIONS, str(tmp_path / "new.csv"))
