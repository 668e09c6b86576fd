"""Runs of texts from files to reports, and answers for new texts in another process."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pytest
import torch

import ocd
from ocd import OCDError
from ocd.cli import main
from ocd.data import read_json, read_tensors
from ocd.runs import Run, audit_run, report_suite
from ocd.tasks import kept_features
from ocd.tasks.text import network
from small_run import shrink
from tiny_body import sentences, write_body, write_hub

pytest.importorskip("setfit")

SMALL = {
    "iterations": "1",
    "shots": "6",
    "num_bases": "2",
    "cross_fitting.num_folds": "2",
    "variants": "false",
    "denoiser.width": "16",
    "training.num_steps": "10",
    "selection.num_draws": "4",
    "sampling.confidence": "0",
}


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    body = write_body(folder / "encoder")
    write_hub(folder / "hub")
    for name, count, seed in (("train", 40, 1), ("test", 30, 2)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows((text, ("bad", "good")[label]) for text, label in sentences(count, seed))
    return folder, body


def own_run(files, root, **more) -> Run:
    folder, body = files
    settings = SMALL | {
        "train": str(folder / "train.csv"), "test": str(folder / "test.csv"), "body": str(body)
    } | more  # fmt: skip
    return Run.create("text", root, seeds=(0, 1), settings=settings)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    made = own_run(files, tmp_path_factory.mktemp("own") / "run")
    for seed in made.seeds:
        made.predict(seed)
    made.report()
    return made


def test_report_has_all_methods_and_the_texts(run):
    results = read_json(run.root / "results.json")
    for name in ("base", "ocd", "ocd_ensemble_5", "overfit_test", "nearest_neighbor", "label_head",
                 "nearest_labels", "laplace", "deep_ensemble_2", "tent_1"):  # fmt: skip
        assert len(results["methods"][name]["accuracy"]) == 2, name
    assert "SetFit has fine-tuned" in results["skipped"]["fine_tuned_base"]
    assert results["examples"] == {"train": 12, "test": 30}
    assert "What to do: " in (run.root / "report.html").read_text()
    report = (run.root / "report.md").read_text()
    assert "## What changed" in report and "the body is body" in report
    assert run.at(0).examples is not run.at(1).examples
    assert not torch.equal(run.at(0).examples.inputs, run.at(1).examples.inputs)


def test_copied_texts_are_one_piece_of_evidence(files, tmp_path):
    """Each text twice, in both files. Folds have their share of each class all the same."""
    folder, _ = files
    for name, rows in (("train", slice(1, 13)), ("test", slice(1, None))):
        head, *lines = (folder / f"{name}.csv").read_text().splitlines()
        twice = "\n".join([head, *lines[rows], *lines[rows]]) + "\n"
        (tmp_path / f"{name}.csv").write_text(twice)
    here = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    run = own_run(files, tmp_path / "run", shots="none", **here)
    drawn = run.at(0)
    assert drawn.groups is not None and len(drawn.groups.unique()) == 12 == len(drawn.examples) // 2
    assert drawn.data.evidence is not None and len(drawn.data.evidence.together.unique()) <= 29
    notes = read_json(run.root / "config.json")["data_notes"]
    assert sum("copies of others" in note for note in notes) == 2
    run.predict(0)
    together = read_tensors(run.root / "predictions" / "seed-0.safetensors")["together"]
    assert torch.equal(together, drawn.data.evidence.together)
    assert (run.root / "checkpoint" / "seed-0" / "fold-1").is_dir()


def test_test_texts_that_are_training_texts_are_named_first(files, tmp_path):
    """Of each seed those that it draws."""
    folder, _ = files
    head, *lines = (folder / "train.csv").read_text().splitlines()
    other = (folder / "test.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join([head, *lines[:20], *other[1:11]]) + "\n")
    whole = own_run(files, tmp_path / "run", shots="none", test=str(tmp_path / "test.csv"))
    (said,) = read_json(whole.root / "config.json")["data_warnings"]
    assert said.startswith("20 of 30 test examples are among the training examples, 20 of them with")
    drawn = own_run(files, tmp_path / "drawn", test=str(tmp_path / "test.csv"))
    warnings = read_json(drawn.root / "config.json")["data_warnings"]
    for seed in drawn.seeds:
        rows = {tuple(row) for row in drawn.at(seed).data.train.inputs.tolist()}
        count = sum(tuple(row) in rows for row in drawn.at(seed).data.test.inputs.tolist())
        (of_seed,) = [one for one in warnings if f"of seed {seed}" in one or len(warnings) == 1]
        assert f"{count} of 30 test examples are among the training examples" in of_seed
    apart = own_run(files, tmp_path / "apart")
    assert read_json(apart.root / "config.json")["data_warnings"] == []


FEW = ["good film,good", "bad film,bad", "great film,good", "poor film,bad", "fine film,good"]


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (FEW, {"cross_fitting.num_folds": "4"}, "5 examples make no 4 folds: give 8 at least, set "
         r"cross_fitting.num_folds to 2 at most, or fit without .* \(--set cross_fit=false\)"),
        (FEW, {"shots": "2", "cross_fitting.num_folds": "4", "variants": "true"},
         r"4 examples make no 4 folds.* \(--set cross_fit=false --set variants=false\)"),
        (FEW[:2], {}, r"2 examples make no 2 folds: give 4 at least, or fit without"),
        (FEW, {"cross_fit": "false", "variants": "true", "cross_fitting.num_folds": "3"},
         r"\(--set variants=false\)"),
        ([*FEW[::2], "glad film,good", FEW[1]], {}, "the others are of 1 class, where 2 are needed"),
    ],
)  # fmt: skip
def test_too_few_texts_are_refused_before_anything_is_written(files, tmp_path, rows, more, message):
    train = tmp_path / "few.csv"
    train.write_text("\n".join(["text,label", *rows]) + "\n")
    root = tmp_path / "run"
    settings = {"train": str(train), "shots": "none"} | more
    with pytest.raises(OCDError, match=message):
        own_run(files, root, **settings)
    assert not root.exists()
    # What the message names is a way out, in the same folder.
    made = own_run(files, root, **settings | {"cross_fit": "false", "variants": "false"})
    made.predict(0)
    assert (root / "predictions" / "seed-0.json").exists()


def test_seeds_of_a_run_have_one_body(files, tmp_path):
    from safetensors.torch import load_file, save_file

    _, body = files
    own = tmp_path / "body"
    shutil.copytree(body, own)
    quick = {"body": str(own), "num_bases": "1", "baselines": "none", "cross_fit": "false"}
    run = own_run(files, tmp_path / "run", **quick)
    run.base(0)
    path = next(own.rglob("model.safetensors"))
    before, changed = path.read_bytes(), {name: 2 * value for name, value in load_file(path).items()}
    save_file(changed, path, {"format": "pt"})
    message = "made with another network in front of the base: its weights are"
    with pytest.raises(OCDError, match=message):
        own_run(files, run.root, **quick)
    with pytest.raises(OCDError, match=message):
        Run.open(run.root).base(1)
    with pytest.raises(OCDError, match="body body has other weights .* than when the run began"):
        run.base(1)  # whose data were read before
    assert not run.base_path(1).exists()
    path.write_bytes(before)
    own_run(files, run.root, **quick).base(1)
    note = read_json(run.root / "config.json")["data_notes"][0]
    assert note.startswith("the body is body (weights ") and run.data.reader.digest in note


def test_nothing_is_a_joblib_or_a_pickle(run):
    found = {path.suffix for path in run.root.rglob("*") if path.is_file()}
    assert not found & {".pkl", ".pickle", ".joblib"}


def test_audit_finds_no_leak(run):
    audit = audit_run(Run.open(run.root))
    assert audit.passed, list(audit.lines())
    assert sum(finding.name.startswith("labels") for finding in audit.findings) == 2


def test_wrong_labels_in_the_test_file_change_no_prediction(files, run, tmp_path):
    folder, _ = files
    lines = (folder / "test.csv").read_text().splitlines()
    swapped = [line[:-3] + "good" if line.endswith("bad") else line[:-4] + "bad" for line in lines[1:]]
    other = folder / "swapped.csv"
    other.write_text("\n".join([lines[0], *swapped]) + "\n")
    again = own_run(files, tmp_path / "run", test=str(other))
    again.predict(0)
    ours, theirs = (
        read_json(root / "predictions" / "seed-0.json")["methods"] for root in (run.root, again.root)
    )
    for name in set(ours) - {"overfit_test", "overfit_test_all_layers"}:
        assert ours[name]["accuracy"] == pytest.approx(100 - theirs[name]["accuracy"]), name


def test_new_texts_are_answered_in_another_process_as_the_run_did(files, run, tmp_path):
    folder, _ = files
    out = tmp_path / "answers.csv"
    subprocess.run(
        [sys.executable, "-m", "ocd", "apply", str(run.root), "--input", str(folder / "test.csv"),
         "--out", str(out)], check=True, capture_output=True,
    )  # fmt: skip
    with out.open() as file:
        answers = list(csv.DictReader(file))
    shown = read_json(run.root / "exhibits" / "seed-0.json")
    assert shown["gained"] or shown["lost"]
    known = {one["text"]: one for one in shown["gained"] + shown["lost"]}
    with (folder / "test.csv").open() as file:
        texts = list(csv.DictReader(file))
    compared = 0
    for text, answer in zip(texts, answers, strict=True):
        if (one := known.get(text["text"])) is not None:
            compared += 1
            assert float(answer[f"p {one['right']}"]) == pytest.approx(one["ocd_probability"], abs=1e-5)
            assert (answer["ocd"], answer["base"]) == (one["ocd"], one["base"])
    assert compared >= len(known)
    loaded = ocd.load(run.root)
    found = loaded.predict([text["text"] for text in texts])
    wanted = [float(answer["p good"]) for answer in answers]
    assert found.ocd[:, 1].tolist() == pytest.approx(wanted, abs=1e-5)
    assert loaded.predict("a good phone").classes[0] in ("bad", "good")
    assert loaded.predict(["", "the film was " * 9]).remarks == [
        "the text is empty", "longer than 12 tokens: cut"
    ]  # fmt: skip


def test_a_text_goes_through_the_body_once(files, run, tmp_path, monkeypatch):
    rows = []
    original = network._Front.forward

    def counted(self, tokens):
        rows.append(len(tokens))
        return original(self, tokens)

    monkeypatch.setattr(network._Front, "forward", counted)
    loaded = ocd.load(run.root)
    kept_features._FEATURES.clear()
    loaded.predict([text for text, _ in sentences(20, 7)], draws=50)
    assert sum(rows) == 20 + sum(rows[1:])
    assert sum(rows) <= 20


def test_block_moves_and_reports_its_layers(files, tmp_path):
    made = own_run(
        files, tmp_path / "run", part="block", num_bases="1", baselines="none", cross_fit="false"
    )
    made.predict(0)
    scores = read_json(made.selection_path(0))
    layers = {f"encoder.layer.1.{name}" for name in ("intermediate.dense", "output.dense")}
    assert layers < {*scores["names"], *scores["skipped"]} and "head" in scores["names"]
    layer = own_run(
        files, tmp_path / "named", part="block", layer="encoder.layer.1.output.dense",
        num_bases="1", baselines="none", cross_fit="false",
    )  # fmt: skip
    with pytest.raises(OCDError, match="with --set part=block those of the body's last block") as head:
        own_run(files, tmp_path / "head", layer="encoder.layer.1.output.dense")
    assert "front." not in str(head.value) and not (tmp_path / "head").exists()
    layer.predict(0)
    assert read_json(layer.root / "predictions" / "seed-0.json")["methods"]["ocd"]


def test_suite_has_the_sets_at_hand_and_an_average(files, tmp_path, capsys, monkeypatch):
    folder, body = files
    write_hub(folder / "hub", "amazon_counterfactual_en")
    root = tmp_path / "setfit"
    command = ["ocd", "run", "setfit", "--data-dir", str(folder / "hub"), "--out", str(root)]
    for key, value in (
        SMALL | {"body": str(body), "num_bases": "1", "baselines": "none", "cross_fit": "false"}
    ).items():
        command += ["--set", f"{key}={value}"]
    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "0"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    results = json.loads((root / "results.json").read_text())
    assert set(results["sets"]) == {"setfit-cr", "setfit-amazon-cf"}
    assert set(results["left_out"]) == {"setfit-sst5", "setfit-emotion", "setfit-enron-spam"}
    base = results["methods"]["base"]
    mean = [sum(values) / 2 for values in zip(*base["sets"].values(), strict=True)]
    assert base["average"] == pytest.approx(mean)
    gain = results["gains"]["ocd"]["average"]
    assert gain["interval"][0] <= gain["difference"] <= gain["interval"][1]
    said = capsys.readouterr().out
    assert "average" in said and "*published:* SetFit" in said and "Average of 2 sets" in said
    assert (root / "figures" / "gains.png").exists()
    assert report_suite(root)["verdict"] == results["verdict"]
    for command in (["verdict", str(root)], ["audit", str(root)], ["predict", str(root)],
                    ["apply", str(root), "--input", "x.csv", "--out", "y.csv"]):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["ocd", *command])
        with pytest.raises(SystemExit) as stopped:
            main()
        err = " ".join(capsys.readouterr().err.split())
        assert stopped.value.code == 2 and "is the folder of a suite" in err and "setfit-cr" in err, err
    # The body is not the paper's, and there are fewer pairs: nothing is judged by what it published.
    others = "`iterations` is 1 instead of 20, `shots` is 6 instead of 8, the body is body instead of"
    for text in (" ".join(said.split()), (root / "report.md").read_text()):
        assert "Of all sets: the body is body (weights " in text
        assert f"another experiment than the published one: {others}" in text
    own = (root / "setfit-amazon-cf" / "report.md").read_text()
    assert "another experiment than the published one" in own and others in own
    assert "Of all published gains" not in own and "is not reproduced" not in own
