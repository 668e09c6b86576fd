"""Completion and series: their data, their bases, and a run of each from end to end."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mnist_files import write_mnist
from ocd.data import in_parts, read_tensors, write_tensors
from ocd.errors import OCDError
from ocd.runs import Run
from ocd.runs.comparing import make_comparison
from ocd.tasks import get_task
from ocd.tasks.series.forecasters import KINDS, make_forecaster
from ocd.tasks.series.reading import Series, read_series, series_of_frame
from ocd.tasks.series.windows import Ends, Sizes, check_rows, is_published_ett, windows
from ocd.tasks.task import TaskData
from ocd.training.batches import choosing_among, split_indices

TINY = {
    "base_steps": "30", "num_draws": "3", "training.num_steps": "12", "training.validate_every": "6",
    "training.batch_size": "16", "denoiser.width": "32", "num_bases": "2",
}  # fmt: skip


def quiet(line: str) -> None:
    pass


def write_series(folder: Path, rows: int = 900) -> Path:
    """Two series: a wave of a day with noise, and a walk; a column of words."""
    random = np.random.default_rng(0)
    wave = np.sin(np.arange(rows) / 24 * 2 * np.pi) + 0.1 * random.normal(size=rows)
    walk = random.normal(size=rows).cumsum()
    lines = ["date,wave,walk"] + [f"t{i},{wave[i]},{walk[i]}" for i in range(rows)]
    path = folder / "mine.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# Series


def test_windows_are_what_was_and_what_followed():
    values = torch.stack([torch.arange(100.0), 1000 + torch.arange(100.0)], dim=1)
    examples, rows = windows(values, 40, 60, Sizes(16, 3), count=1000)
    assert len(examples) == 2 * 18 and int(rows.min()) == 40 and int(rows.max()) == 57
    for given, follows, row in zip(examples.inputs, examples.targets, rows, strict=True):
        assert torch.equal(given % 1000, torch.arange(row - 16.0, row))
        assert torch.equal(follows % 1000, torch.arange(float(row), row + 3.0))
    few, _ = windows(values, 40, 60, Sizes(16, 3), count=10)
    assert len(few) == 10 and len({float(x[-1] // 1000) for x in few.inputs}) == 2
    with pytest.raises(OCDError, match="rows 40 to 42 hold no window of 16 and 3 values"):
        windows(values, 40, 42, Sizes(16, 3), 10)
    _, whole = windows(values, 40, 60, Sizes(16, 3, block=8), count=1000)
    assert whole.unique().tolist() == [40, 41, 42, 43, 44, 45, 48, 49, 50, 51, 52, 53, 56, 57]


def same(read: Series) -> None:
    assert read.names == ("wave", "walk") and read.values.shape == (5, 2)
    assert read.values[:, 0].tolist() == [1.5, 2.5, 3.0, 2.0, 1234.5]
    assert read.values[:, 1].tolist() == [4, 7, 5, 6, 9]


ROWS = [("2020-01-01", 1.5, 4), ("2020-01-02", 2.5, 7), ("2020-01-03", 3, 5), ("2020-01-04", 2, 6),
        ("2020-01-05", 1234.5, 9)]  # fmt: skip


def german(value: float) -> str:
    return f"{value:,}".replace(",", " ").replace(".", ",").replace(" ", ".")


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        ([f"{d},{a},{b}" for d, a, b in ROWS], None),
        ([f"{d};{german(a)};{b}" for d, a, b in ROWS], None),
        ([f"{d}\t{a}\t{b}" for d, a, b in ROWS], None),
        ([f"{d},{a},{b}" for d, a, b in ROWS[::-1]], "had the latest first .column 'date'. and were"),
        ([f"{i},{a},{b}" for i, (_, a, b) in enumerate(ROWS)], None),
        ([f"{9 - i},{a},{b}" for i, (_, a, b) in enumerate(ROWS[::-1])], "had the latest first"),
        ([f"{d},{a},{b},x" for d, a, b in ROWS], "left out, as no series .*: 'more'"),
        ([f"{d},{a},{b},{i}" for i, (d, a, b) in enumerate(ROWS)], "left out, .*: 'more'"),
        ([f"{d},{a},{b}," for d, a, b in ROWS], "left out, .*: 'more'"),
    ],
)
def test_series_are_read_rightly_however_they_are_written(tmp_path, lines, note):
    mark = next(mark for mark in ";\t," if mark in lines[0])
    names = ["date", "wave", "walk", "more"][: lines[0].count(mark) + 1]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([mark.join(names), *lines]) + "\n", encoding="utf-8")
    read = read_series("mine.csv", tmp_path)
    same(read)
    assert re.search(note, " ".join(read.notes)) if note else not read.notes
    assert read.times[0] in ("2020-01-01", "0", "5")


def test_numbered_series_without_a_time_are_taken_as_they_stand(tmp_path):
    (tmp_path / "mine.csv").write_text("0,1\n1,5\n2,4\n9,3\n", encoding="utf-8")
    read = read_series("mine.csv", tmp_path)
    assert read.names == ("0", "1") and len(read.values) == 3
    assert read.notes == ("no column says when a row is: rows are taken to be in the order of time",)


def test_the_usual_ends_of_ett_and_shares_of_others():
    columns = ("date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    rows = 17_420
    assert is_published_ett("ETTh1", rows, columns) and is_published_ett("ETTh2", rows, columns[::-1])
    assert not is_published_ett("mine", rows, columns) and not is_published_ett(
        "ETTh1", 20_000, columns
    )
    for others in (columns[1:], (*columns[:-1], "T"), (*columns, "x")):
        assert not is_published_ett("ETTh1", rows, others)
    assert Ends.of(17_420, is_ett=True) == Ends(8640, 11_520, 14_400)
    assert Ends.of(14_400) == Ends(8640, 11_520, 14_400)  # the twenty months alone
    assert Ends.of(1000) == Ends(600, 800, 1000)


def test_a_base_kept_from_later_rows_learns_from_earlier_ones_and_neither_from_the_test(tmp_path):
    write_series(tmp_path)
    task = get_task("series")
    options = task.options(file="mine.csv", lookback=24, horizon=6, train_size=200, test_size=50)
    data = task.load(options, tmp_path)
    assert (len(data.train), len(data.test), data.num_early) == (200, 50, 120)
    settings = {
        "file": "mine.csv", "lookback": "24", "horizon": "6", "train_size": "200", "held_out": "0.4",
    }  # fmt: skip
    run = Run.create("series", tmp_path / "run", data_dir=tmp_path, settings=settings | TINY)
    base, ours = run.base_examples, run.examples
    assert (len(base), len(ours)) == (120, 80)
    assert torch.equal(torch.cat([base.targets, ours.targets]), run.data.train.targets)
    assert int(run.data.groups[:120].max()) <= int(run.data.groups[120:].min())
    given, follows = data.train.inputs[0], data.train.targets[0]
    assert torch.equal(task.compose(given[None], follows[None])[0], torch.cat([given[-6:], follows]))


def loaded(folder: Path, frame: pd.DataFrame, **options: object) -> TaskData:
    """The data of a task on some columns."""
    frame.to_csv(folder / "mine.csv", index=False)
    task = get_task("series")
    sizes = {"lookback": 24, "horizon": 6, "train_size": 200, "test_size": 50}
    return task.load(task.options(file="mine.csv", **sizes | options), folder)


@pytest.mark.parametrize(("level", "size"), [(1e9, 1.0), (-1e12, 1.0), (0.0, 1e-8), (0.0, 1e200)])
def test_a_series_of_any_level_and_size_keeps_its_values(tmp_path, level, size):
    wave = np.random.default_rng(0).normal(size=900)
    plain = loaded(tmp_path, pd.DataFrame({"wave": wave}))
    moved = loaded(tmp_path, pd.DataFrame({"wave": level + size * wave}))
    assert plain.train.inputs.dtype == moved.train.inputs.dtype == torch.float32
    assert torch.allclose(moved.train.inputs, plain.train.inputs, atol=1e-3)
    assert moved.reader.deviation.item() == pytest.approx(size * wave[:540].std(ddof=1), rel=1e-4)
    again = type(moved.reader).from_state(*moved.reader.state())
    new = again.take(pd.DataFrame({"wave": level + size * wave[:24]}))
    expected = (wave[:24] - wave[:540].mean()) / wave[:540].std(ddof=1)
    assert new.inputs[0].numpy() == pytest.approx(expected, abs=1e-3)
    typed = again.window(list(level + size * wave[:24]), "wave")
    assert torch.equal(typed.inputs, new.inputs)


def test_a_series_that_is_constant_where_one_learns_is_left_out(tmp_path):
    wave = np.random.default_rng(0).normal(size=900)
    steps = np.where(np.arange(900) < 700, 0.1, np.arange(900))
    frame = pd.DataFrame({"zero": np.zeros(900), "wave": wave, "late": steps})
    data = loaded(tmp_path, frame.assign(one=[7.0] * 899 + [8.0]))
    assert data.reader.names == ("wave",) and data.reader.mean.shape == (1,)
    assert float(data.test.inputs.abs().max()) < 10
    said = [note for note in data.notes if "constant" in note]
    assert len(said) == 1 and said[0].endswith("'zero', 'late', 'one'")
    with pytest.raises(OCDError, match="all series are constant in the 540 rows to learn .*'late'"):
        loaded(tmp_path, frame[["late"]])


def test_a_series_that_is_too_short_is_refused_with_the_rows_that_are_needed(tmp_path):
    frame = pd.DataFrame({"walk": np.random.default_rng(0).normal(size=1000).cumsum()})
    few = {"lookback": 96, "horizon": 24}
    with pytest.raises(OCDError, match="200 rows leave 1 .of 32. windows for the base to") as caught:
        loaded(tmp_path, frame[:200], **few)
    found = re.search(r"give (\d+) rows or more, or lower lookback or horizon$", str(caught.value))
    needed = int(found[1])
    for rows in (needed, needed + 17, needed + 51):
        data = loaded(tmp_path, frame[:rows], **few)
        assert min(data.num_early, len(data.train) - data.num_early, len(data.test)) >= 24
        assert len(data.groups[data.num_early :].unique()) >= 2
        assert len(data.test_together.unique()) >= 2
    with pytest.raises(OCDError, match="windows in 1 .of 2. stretches of time (for OCD|to test)"):
        loaded(tmp_path, frame[:300], **few)
    with pytest.raises(OCDError, match="which is too few: lower lookback or horizon$"):
        check_rows(17_420, 7, "series ETTh1.csv", Sizes(96, 3000, 6000), is_ett=True)


def hours(rows: int, step: str = "h") -> pd.DataFrame:
    wave = np.random.default_rng(0).normal(size=rows)
    when = pd.date_range("2024-01-01", periods=rows, freq=step)
    return pd.DataFrame({"when": when.astype(str), "wave": wave})


def test_missing_time_steps_are_counted_and_another_step_is_refused(tmp_path):
    whole = loaded(tmp_path, hours(900))
    assert not [note for note in whole.notes if "missing" in note]
    gaps = hours(900).drop(index=[100, 300, 301])
    for frame in (gaps, gaps.iloc[::-1]):
        said = [note for note in loaded(tmp_path, frame).notes if "missing" in note]
        assert len(said) == 1 and said[0].startswith("3 time steps are missing (rows are mostly 1 hour")
        assert "the first gap is after 2024-01-05 03:00:00)" in said[0]
    facts, tensors = whole.reader.state()
    reader = type(whole.reader).from_state(json.loads(json.dumps(facts)), tensors)
    assert "1 time step is missing" in reader.take(hours(50).drop(index=10)).remarks[0][1]
    with pytest.raises(OCDError, match="the frame: rows are 15 minutes apart, .* are 1 hour apart"):
        reader.take(hours(50, "15min"))
    assert len(reader.take(hours(50)[["wave"]])) > 0  # nothing says how far apart these are


def test_months_are_a_time_of_about_one_step(tmp_path):
    frame = hours(900, "MS").assign(when=lambda f: f["when"].str[:7])
    frame.iloc[::-1].to_csv(tmp_path / "mine.csv", index=False)
    read = read_series("mine.csv", tmp_path)
    assert read.times[:2] == ("2024-01", "2024-02") and len(read.notes) == 1
    assert "had the latest first (column 'when')" in read.notes[0]
    data = loaded(tmp_path, frame)
    assert len(data.reader.take(frame[:30])) and data.reader.step.size == 31 * 86_400


def test_an_index_of_times_is_the_time(tmp_path):
    frame = hours(900)
    reader = loaded(tmp_path, frame).reader
    expected = reader.take(frame[:50])
    dated = frame.assign(when=pd.to_datetime(frame["when"])).set_index("when")[:50]
    written = frame.set_index("when")[:50]
    for new in (dated, dated.to_period("h"), written, dated.rename_axis(None)):
        found, turned = reader.take(new), reader.take(new.iloc[::-1])
        assert torch.equal(found.inputs, expected.inputs) and not found.remarks
        assert torch.equal(turned.inputs, expected.inputs) and found.ids[-1] == turned.ids[-1]
        assert "had the latest first" in turned.remarks[0][1]
        assert found.ids[-1].startswith("wave after 2024-01-0")
    dated.iloc[::-1].to_parquet(tmp_path / "new.parquet")
    (stored,) = reader.read(tmp_path / "new.parquet", 1000)
    assert torch.equal(stored.inputs, expected.inputs) and "latest first" in stored.remarks[0][1]
    read = series_of_frame(dated.rename_axis("wave"))
    assert read.names == ("wave",) and read.times[0].startswith("2024-01-01")


@pytest.mark.parametrize("horizon", [6, 40])
def test_no_answer_step_of_a_held_out_window_is_one_of_a_lesson(tmp_path, horizon):
    """As a fit parts its lessons, by the steps themselves: a series that counts them."""
    rows = 4000
    path = tmp_path / "count.csv"
    path.write_text("step\n" + "\n".join(map(str, range(rows))), encoding="utf-8")
    settings = {
        "file": "count.csv", "lookback": "24", "horizon": str(horizon), "train_size": "2000",
        "columns": "step", "held_out": "0.4",
    }  # fmt: skip
    run = Run.create("series", tmp_path / "run", data_dir=tmp_path, settings=settings)
    known = torch.arange(0.6 * rows)
    steps = (run.examples.targets * known.std() + known.mean()).round().long()
    assert int(steps.min()) >= 0.6 * rows  # not those of the base
    learnt, held_out = split_indices(
        torch.arange(len(steps)), run.config.training.validation_share, 0, belongs=run.groups
    )
    assert len(learnt) and len(held_out)
    assert not set(steps[learnt].flatten().tolist()) & set(steps[held_out].flatten().tolist())
    chooses = choosing_among(held_out, run.groups)
    choosing, judging = steps[held_out[chooses]], steps[held_out[~chooses]]
    assert not set(choosing.flatten().tolist()) & set(judging.flatten().tolist())


def test_all_rows_teach_by_folds_that_share_no_answer_step(tmp_path):
    """As by default; a base of one's own, which has seen the earlier rows, leaves the later ones."""
    rows = 2000
    path = tmp_path / "count.csv"
    path.write_text("step\n" + "\n".join(map(str, range(rows))), encoding="utf-8")
    settings = {
        "file": "count.csv", "lookback": "24", "horizon": "6", "train_size": "1000", "columns": "step",
    }  # fmt: skip
    run = Run.create("series", tmp_path / "run", data_dir=tmp_path, settings=settings)
    assert run.crosses_fits and len(run.base_examples) == len(run.examples) == len(run.data.train)
    known = torch.arange(0.6 * rows)
    steps = (run.examples.targets * known.std() + known.mean()).round().long()
    assert int(steps.min()) < 0.6 * rows <= int(steps.max()) < 0.8 * rows
    folds = in_parts(len(steps), 5, torch.Generator().manual_seed(0), run.groups)
    of_folds = [set(steps[fold].flatten().tolist()) for fold in folds]
    assert len(of_folds) == 5 and sum(map(len, of_folds)) == len(set().union(*of_folds))
    base = get_task("series").make_base(run.options, run.data)
    base.head.weight.data.zero_()  # the last value repeated
    base.head.bias.data.zero_()
    write_tensors(tmp_path / "own.safetensors", base.state_dict())
    own = settings | {"base": str(tmp_path / "own.safetensors")}
    run = Run.create("series", tmp_path / "own", data_dir=tmp_path, settings=own)
    assert not run.crosses_fits and len(run.examples) == len(run.data.train) - run.data.num_early


def test_a_base_made_for_other_windows_is_remarked(tmp_path):
    """One that is given the window as it is, where ours get it less its last value."""
    write_series(tmp_path)
    task = get_task("series")
    path = tmp_path / "own.safetensors"
    sizes = {"lookback": 24, "horizon": 6, "train_size": 400, "test_size": 50, "network": "linear"}
    options = task.options(file="mine.csv", base=str(path), base_steps=1500, **sizes)
    plain = replace(options, base=None)
    data = task.load(plain, tmp_path)
    base = task.make_base(plain, data)
    task.train_base(base, data, plain, 0, quiet)
    write_tensors(path, base.state_dict())
    assert not [note for note in task.load(options, tmp_path).notes if "own.safetensors" in note]
    with torch.no_grad():
        base.head.weight[:, -1] += 1  # as it would have learnt by itself to add the last value
        base.head.weight[:, :-1] += 0.5
    write_tensors(path, base.state_dict())
    with pytest.warns(
        UserWarning, match="own.safetensors forecasts worse than the last value repeated"
    ):
        data = task.load(options, tmp_path)
    assert "less their last value?" in data.notes[-1]


def test_windows_of_a_short_series_are_parted_by_rows(tmp_path):
    """There are fewer than are asked for, and not in the shares that are asked for."""
    write_series(tmp_path, rows=600)
    settings = {"file": "mine.csv", "lookback": "24", "horizon": "6", "held_out": "0.4"}
    run = Run.create("series", tmp_path / "run", data_dir=tmp_path, settings=settings)
    groups, size = run.data.groups, run.options.together
    base, ours = run._places()
    assert len(base) + len(ours) < run.options.train_size
    assert int(groups[base].max()) < 360 // size + 1 and int(groups[ours].min()) >= 360 // size
    assert torch.equal(base, torch.arange(run.data.num_early)) and len(ours) < 0.4 * len(base) / 0.6
    fewer = Run.create(
        "series", tmp_path / "fewer", data_dir=tmp_path, settings=settings | {"held_out": "0.1"}
    )
    assert torch.equal(fewer._places()[0], base) and set(fewer._places()[1].tolist()) < set(
        ours.tolist()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_forecaster_learns_a_wave_and_depends_on_its_seed_alone(tmp_path, kind):
    write_series(tmp_path)
    task = get_task("series")
    steps = 1500 if kind == "linear" else 200
    sizes = {"lookback": 24, "horizon": 6, "train_size": 400, "test_size": 100, "base_steps": steps}
    options = task.options(file="mine.csv", columns="wave", network=kind, **sizes)
    data = task.load(options, tmp_path)
    nets = []
    for _ in range(2):
        net = task.make_base(options, data)
        task.train_base(net, data, options, 3, quiet)
        nets.append(net)
    with torch.no_grad():
        answers = [net(data.test.inputs) for net in nets]
    assert torch.equal(*answers) and answers[0].shape == (100, 6)
    last = data.test.inputs[:, -1:].expand(-1, 6)
    error, naive = (float(task.loss(a, data.test.targets).mean()) for a in (answers[0], last))
    assert error < 0.3 * naive
    shifted = make_forecaster(kind, 24, 6, 8).eval()
    with torch.no_grad():  # levels drift: what is added to the window is added to the answer
        moved = shifted(data.test.inputs + 5) - shifted(data.test.inputs)
    assert torch.allclose(moved, torch.full_like(moved, 5), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ({"file": "none.csv"}, None, "none.csv: no such file .nor in"),
        ({"columns": "wav"}, None, "no column of numbers 'wav'.*wave"),
        ({}, "a,b\nx,y\n", "has no column of numbers"),
        ({}, "a,b\n1,2\n3,\n", "row 2, column 'b': no number; fill gaps first"),
        ({}, "1.5,2\n1,2\n3,4\n", "first line holds values .'1.5'.*put a line of names in front"),
        ({}, "1.5,1.5\n1,2\n3,4\n", "first line holds values .'1.5'"),
        ({}, "2020-01-01,2\n2020-01-02,4\n", "first line holds values .'2020-01-01'"),
        ({}, "s,2020-01-01,2020-01-02\na,2,3\nb,4,5\n", "first line holds dates: a row must be a"),
        ({}, "a,b\n1,2\n3,4\n5,err\n7,8\n", "row 3, column 'b': 'err' is no number; mend it, or"),
        (
            {}, "date,a\n" + "2020-01-01,1\n2020-01-03,2\n2020-01-02,1\n2020-01-04,5\n",
            "row 3, column 'date': '2020-01-02' does not follow '2020-01-03': sort the rows",
        ),
        (
            {}, "date,store,a\n2020-01-01,x,1\n2020-01-01,y,1\n2020-01-02,x,1\n2020-01-02,y,1\n",
            "row 2, column 'date': '2020-01-01' does not follow '2020-01-01': .*a column of its own",
        ),
        (
            {}, "date,time,a\n2020-01-01,00:00,1\n2020-01-01,12:00,1\n2020-01-02,00:00,1\n",
            "the date is in column 'date' and the time of day in 'time': put both into one column",
        ),
        (
            {}, "day,hour,a\n2020-01-01,0,1\n2020-01-01,12,1\n2020-01-02,0,1\n",
            "the date is in column 'day' and the time of day in 'hour'",
        ),
        ({}, "date,a\n2020-01-01,1\n,2\n2020-01-03,4\n", "row 2, column 'date': no date; mend it"),
        ({"columns": "date"}, "date,a\n2020-01-01,1\n2020-01-02,2\n", "no column of numbers 'date'"),
        ({}, "a\n" + "1\n" * 30, "30 rows leave 0 .of 32. windows for the base to learn from"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_refused_with_one_line(tmp_path, options, text, message):
    path = write_series(tmp_path)
    if text is not None:
        path.write_text(text, encoding="utf-8")
    task = get_task("series")
    with pytest.raises(OCDError, match=message) as caught:
        task.load(task.options(**{"file": "mine.csv", **options}), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("series", {"network": "lstm"}, "network is 'lstm': use one of linear"),
        ("series", {"lookback": 3}, "lookback is 3: it must be at least 16"),
        ("series", {"base_steps": 0}, "base_steps is 0: it must be at least 1"),
        ("series", {"width": 0}, "width is 0: it must be at least 1"),
        ("completion", {"base_steps": 0}, "base_steps is 0: it must be at least 1"),
        ("completion", {"width": -1}, "width is -1: it must be at least 1"),
        ("mnist", {"base_epochs": 0}, "base_epochs is 0: it must be at least 1"),
        ("digits", {"base_epochs": 0}, "base_epochs is 0: it must be at least 1"),
        ("cifar10", {"base_epochs": 0}, "base_epochs is 0: it must be at least 1"),
        ("tiny-imagenet", {"base_epochs": 0}, "base_epochs is 0: it must be at least 1"),
        ("completion", {"dataset": "imagenet"}, "dataset is 'imagenet'"),
        ("completion", {"shrink": 3}, "shrink is 3"),
        ("completion", {"shrink": 4}, "shrink is 4"),
    ],
)
def test_options_that_cannot_be_are_refused(name, wrong, message):
    with pytest.raises(OCDError, match=message):
        get_task(name).options(**wrong)


def test_a_run_of_series_from_end_to_end(tmp_path):
    write_series(tmp_path, rows=5000)
    settings = {
        "file": "mine.csv", "lookback": "24", "horizon": "6", "train_size": "300", "test_size": "120",
    }  # fmt: skip
    found = finished("series", tmp_path, settings | TINY)
    assert found["verdict"]["joint"]["statement"] in ("gain", "worse", "no gain")
    assert {"mc_dropout_3", "nearest_residuals", "deep_ensemble_2"} <= found["joint"].keys()
    assert (tmp_path / "run" / "figures" / "crps_by_step.png").exists()
    run = Run.open(tmp_path / "run")
    residuals = make_comparison(run, 0).training.residuals  # in the order of the examples
    _, source = next(run.fits(0))[1].lessons(run.lessons(0), next(run.fits(0))[2])
    for fold, _ in source.folds:
        inputs, targets = run.examples.rows(fold.index)
        with torch.no_grad():
            expected = targets - fold.problem.base(inputs)
        assert torch.allclose(residuals[fold.index], expected, atol=1e-5)
    kept = read_tensors(tmp_path / "run" / "predictions" / "seed-0.safetensors")["together"]
    assert len(kept) == 120 and 16 <= len(kept.unique()) < 40
    over = f"paired bootstrap over {len(kept.unique())} groups of test examples,"
    assert over in found["verdict"]["sentence"]


# Completion


def test_halves_are_those_of_the_image(tmp_path):
    pixels = torch.from_numpy(write_mnist(tmp_path)["test"]).float() / 255
    task = get_task("completion")
    options = task.options(train_size=12, test_size=7)
    data = task.load(options, tmp_path)
    assert data.test.inputs.shape == data.test.targets.shape == (7, 98)
    whole = task.specialise(options).compose(data.test.inputs, data.test.targets)
    small = pixels.view(7, 14, 2, 14, 2).mean(dim=(2, 4))
    assert torch.allclose(whole[:, 0], small, atol=1e-6)


def test_a_run_of_completion_from_end_to_end(tmp_path):
    write_mnist(tmp_path)
    found = finished("completion", tmp_path, {"train_size": "12", "test_size": "3"} | TINY)
    assert found["joint"]["ocd"]["two_sample"] == [None]  # of three examples nothing can be said
    assert len(found["joint"]["ocd"]["crps_by_step"][0]) == 98
    assert found["verdict"]["joint"]["statement"] == "undecided"
    assert "There are only 3 test examples, and what" in found["verdict"]["joint"]["sentence"]


def finished(task: str, folder: Path, settings: dict[str, str]) -> dict:
    """The results of a tiny run, whose report says what was drawn."""
    run = Run.create(task, folder / "run", data_dir=folder, settings=settings)
    run.do("predict")
    run.do("report")
    report = (folder / "run" / "report.md").read_text(encoding="utf-8")
    assert "## Draws of whole answers" in report and "figures/draws.png" in report
    assert (folder / "run" / "figures" / "draws.png").exists()
    found = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    assert "NaN" not in (folder / "run" / "predictions" / "seed-0.json").read_text(encoding="utf-8")
    assert {"ocd", "base", "base_residuals", "output_diffusion"} <= found["joint"].keys()
    assert report.startswith(found["verdict"]["joint"]["sentence"])
    base = found["joint"]["base"]["energy"][0]
    assert all(of["energy"][0] <= base * 1.5 for of in found["joint"].values())
    return found
