"""The command: what people type, and one line where it cannot be done."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ocd
from helpers import contents
from ocd import OCDConfig, __version__
from ocd.cli import main
from ocd.config import settings_of
from ocd.runs.settings import RunOptions, read_settings
from ocd.tasks import CATALOG, get_task
from run_folders import FIGURES, change_json
from small_run import SMALL

SET = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def call(monkeypatch, capsys):
    """The command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ocd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return (stopped.value.code or 0, *capsys.readouterr())

    return run


def python(*arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(ocd.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, which no test may change."""
    root = tmp_path_factory.mktemp("runs") / "digits"
    arguments = ["ocd", "run", "digits", "--out", str(root), *SET]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return root


# What answers at once


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["tasks"], ["--version"]])
def test_help_and_tasks_import_no_torch(arguments):
    code = (
        "import sys; from ocd.cli import main; sys.argv = ['ocd', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'diffusers', 'sklearn', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = python("-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_the_verbs(call):
    code, out, _ = call("--help")
    assert code == 0
    for verb in ("run", "select", "overfit", "train", "predict", "report", "verdict", "audit", "tasks"):
        assert f"\n  {verb} " in out


def test_tasks_lists_every_task(call):
    code, out, _ = call("tasks")
    assert code == 0
    for facts in CATALOG.values():
        assert facts.name in out
        assert facts.licence.split()[0] in out


def test_version(call):
    assert call("--version") == (0, f"{__version__}\n", "")


Line = tuple[str, str, str, str]
"""Group, mark ("*" or ""), key=value and meaning of a setting."""


def settings_listed(out: str) -> list[Line]:
    """What `ocd settings` printed, after a check of its layout."""
    lines: list[Line] = []
    group = ""
    for line in out.splitlines():
        if line.startswith("# "):
            group = line[2:]
        elif line and not line.startswith("* differs"):
            assert line[:2] in ("* ", "  "), line
            pair, _, meaning = line[2:].partition("  ")
            lines.append((group, line[0].strip(), pair, meaning.strip()))
    return lines


PRESETS = ("fast", "released", "paper")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", CATALOG)
def test_settings_are_what_set_takes_each_with_its_meaning(call, task, preset):
    code, out, err = call("settings", task, "--preset", preset)
    assert (code, err) == (0, "")
    lines = settings_listed(out)
    pairs = dict(pair.split("=", 1) for _, _, pair, _ in lines)
    _, options, run_options, config = read_settings(get_task(task), preset, pairs)  # as --set takes it
    expected = read_settings(get_task(task), preset, {})
    assert (options, run_options, config) == expected[1:]
    known = [*settings_of(options), *settings_of(run_options), *settings_of(config)]
    assert sorted(pairs) == sorted(key for key, _ in known) and len(lines) == len(pairs)
    assert all(len(meaning) > 5 for _, _, _, meaning in lines)


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_are_in_groups_and_what_the_task_changes_is_marked(call, preset):
    _, out, _ = call("settings", "california", "--preset", preset)
    lines = settings_listed(out)
    groups = list(dict.fromkeys(group for group, _, _, _ in lines))
    assert groups[:3] == ["of the task california", "of a run", "of a fit"]
    parts = {entry.name for entry in dataclasses.fields(OCDConfig) if entry.name in groups_of(lines)}
    assert len(groups) == 3 + len(parts)
    for group, _, pair, _ in lines:
        name, colon, title = group.partition(": ")
        assert not colon or (pair.startswith(f"{name}.") and title.endswith("."))
    of_preset = dict(settings_of(OCDConfig.preset(preset)))
    defaults = dict(settings_of(RunOptions()))
    *_, run_options, config = read_settings(get_task("california"), preset, {})
    now = dict(settings_of(run_options)) | dict(settings_of(config))
    differ = {key for key, value in now.items() if value != (defaults | of_preset)[key]}
    marked = {pair.split("=")[0] for _, mark, pair, _ in lines if mark}
    assert marked == differ and differ
    assert out.endswith(f"* differs from the preset {preset}\n")


def groups_of(lines: list[Line]) -> set[str]:
    return {group.partition(":")[0] for group, _, _, _ in lines}


def test_settings_of_a_run_that_takes_a_second_are_there(call):
    code, out, _ = call("settings", "digits", "--preset", "released")
    pairs = dict(pair.split("=", 1) for _, _, pair, _ in settings_listed(out))
    assert (code, pairs["denoiser.dropout"]) == (0, "0.4")
    assert SMALL.keys() <= pairs.keys()


# A run


def test_a_run_ends_with_results(folder, call):
    results = json.loads((folder / "results.json").read_text())
    assert results["task"] == "digits"
    assert results["methods"].keys() >= {"base", "ocd", "ocd_ensemble_5", "ocd_mean"}
    config = json.loads((folder / "config.json").read_text())
    assert config["command"].startswith("ocd run digits --out ")
    assert (folder / "report.md").exists()
    assert {path.stem for path in folder.glob("figures/*.png")} == set(FIGURES)


def test_the_same_command_again_has_nothing_to_do_but_the_report(folder, call):
    before = contents(folder)
    code, out, _ = call("run", "digits", "--out", folder, *SET)
    assert code == 0
    assert "  OCD, mean network of 5 draws  " in out  # not broken, as nobody reads it in a terminal
    assert f"report: {folder / 'report.md'}\n" in out
    after = contents(folder)
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert after.keys() == before.keys()


def test_verbs_one_by_one_give_the_same_weights(tmp_path, folder, call):
    root = tmp_path / "run"
    code, out, _ = call("run", "digits", "--out", root, *SET, "--stop-after", "select")
    assert (code, out) == (0, "")
    assert (root / "selection/seed-0.json").exists()
    assert not (root / "checkpoint").exists()
    expected = {
        "overfit": "checkpoint/seed-0/plan.json",
        "train": "checkpoint/seed-0/model.safetensors",
        "predict": "predictions/seed-0.json",
        "report": "results.json",
    }
    for verb, name in expected.items():
        assert not (root / name).exists()
        code, _, err = call(verb, root)
        assert (code, err) == (0, "")
        assert (root / name).exists()
    for name in ("base/seed-0", "checkpoint/seed-0/model", "predictions/seed-0"):
        one, other = ((path / f"{name}.safetensors").read_bytes() for path in (root, folder))
        assert one == other, name


@pytest.mark.parametrize("verb", ["select", "overfit", "train"])
def test_stop_after(tmp_path, call, verb):
    root = tmp_path / "run"
    code, _, err = call("run", "digits", "--out", root, *SET, "--stop-after", verb)
    assert code == 0
    assert err.splitlines()[-1] == f"digits, seed 0: {verb}"
    assert (root / "checkpoint/seed-0/model.safetensors").exists() is (verb == "train")
    assert (root / "checkpoint/seed-0/plan.json").exists() is (verb != "select")
    assert not (root / "predictions").exists()


def test_half_a_line_of_the_log_does_not_stop_the_report(tmp_path, call):
    root = tmp_path / "run"
    call("run", "digits", "--out", root, *SET, "--stop-after", "predict")
    log = root / "metrics.jsonl"
    log.write_text(log.read_text() + '{"event": "train", "ste')
    assert call("report", root)[0] == 0
    code, _, _ = call("run", "digits", "--out", root, *SET, "--seeds", "1", "--stop-after", "select")
    assert code == 0
    assert all(json.loads(line) for line in log.read_text().splitlines())
    assert call("report", root)[0] == 0


def test_a_narrow_terminal_gets_a_narrow_table(folder, call, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes it a terminal
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = call("report", folder)
    table, said = out.split("report: ")
    assert code == 0
    assert "accuracy" in table and "training s" not in table
    assert said.startswith(f"{folder / 'report.md'}\n")


# The audit


def test_a_run_without_leaks_passes_its_audit(folder, call):
    before = contents(folder)
    code, out, err = call("audit", folder)
    assert (code, err) == (0, "")
    *findings, summary = out.splitlines()
    names = ["manifest", "overlap", "labels, seed 0", "figures, seed 0", "copying, seed 0"]
    names.append("copying without the correction, seed 0")
    assert [line.split(":")[0].split(maxsplit=1) for line in findings] == [["ok", n] for n in names]
    assert summary == "audit: 6 passed, 0 failed, 0 could not be checked"
    assert json.loads((folder / "audit.json").read_text())["passed"] is True
    (folder / "audit.json").unlink()
    assert contents(folder) == before


def test_figures_made_prettier_fail_the_audit(tmp_path, folder, call):
    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    path = root / "predictions/seed-0.json"
    change_json(path, lambda facts: facts["methods"]["ocd"].update(accuracy=100.0))
    code, out, err = call("audit", root)
    assert (code, err) == (1, "")
    (failed,) = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert "manifest: changed since it was written: predictions/seed-0.json" in failed
    assert out.endswith("audit: 5 passed, 1 failed, 0 could not be checked\n")
    assert json.loads((root / "audit.json").read_text())["passed"] is False


def test_an_audit_of_what_is_not_trained_says_so(tmp_path, call):
    call("run", "digits", "--out", tmp_path, *SET, "--stop-after", "select")
    code, out, _ = call("audit", tmp_path)
    assert code == 0
    assert f"is missing: `ocd predict {tmp_path}` makes it" in out


# One line, and nothing overwritten

WRONG = {
    "unknown task": (["run", "digit", "--out", "{old}"], "no task 'digit'; did you mean 'digits'"),
    "unknown preset": (["run", "digits", "--preset", "quick", "--out", "{old}"], "no preset 'quick'"),
    "unknown setting": (
        ["run", "digits", "--out", "{old}", "--set", "training.num_step=3"],
        "no setting 'training.num_step'; did you mean 'training.num_steps'",
    ),
    "removed setting": (
        ["run", "digits", "--out", "{old}", "--set", "training.num_accumulated=8"],
        "'training.num_accumulated' was removed in version 1.0: set training.batch_size, which has the "
        "same gradient",
    ),
    "removed group": (
        ["run", "digits", "--out", "{new}", "--set", "distillation.num_steps=50"],
        "'distillation.num_steps' was removed in version 1.0: use diffusion.solver=dpm",
    ),
    "wrong value": (
        ["run", "digits", "--out", "{old}", "--set", "training.num_steps=x"],
        "setting training.num_steps is 'x': it must be int",
    ),
    "no value": (["run", "digits", "--out", "{new}", "--set", "layer"], "it must be key=value"),
    "wrong layer": (
        ["run", "digits", "--out", "{new}", "--set", "layer=fc9"],
        "no layer 'fc9'; did you mean",
    ),
    "wrong layer, old folder": (
        ["run", "digits", "--out", "{old}", *SET, "--set", "layer=fc9"],
        "holds another run (layer 'fc1' -> 'fc9')",
    ),
    "wrong seeds": (["run", "digits", "--out", "{new}", "--seeds", "1,x"], "--seeds is '1,x'"),
    "wrong verb": (
        ["run", "digits", "--out", "{new}", "--stop-after", "fit"],
        "--stop-after is 'fit': use one of select, overfit, train, predict, report",
    ),
    "no examples": (
        ["run", "digits", "--out", "{new}", "--set", "train_size=0"],
        "train_size is 0: it must be from 1 to",
    ),
    "no data": (
        ["run", "mnist", "--out", "{new}", "--data-dir", "{new}"],
        "ylecun/mnist/mnist/train-00000-of-00001.parquet",
    ),
    "another run": (
        ["run", "digits", "--out", "{old}", *SET, "--set", "training.num_steps=11"],
        "holds another run (training.num_steps 10 -> 11): give another --out",
    ),
    "another preset": (["run", "digits", "--out", "{old}", "--preset", "paper"], "holds another run"),
    "out is a file": (["run", "digits", "--out", "{old}/config.json"], "config.json"),
    "no run": (["train", "{new}"], "is no run folder (it has no config.json): start with `ocd run`"),
    "no run to report": (["report", "{new}"], "is no run folder"),
}


def test_an_old_run_folder_is_one_line_for_every_verb(tmp_path, folder, call):
    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    change_json(root / "config.json", lambda saved: saved.update(format_version=2))
    before = contents(root)
    commands = [
        ["run", "digits", "--out", root, *SET],
        *([verb, root] for verb in ("train", "predict")),
    ]
    for arguments in commands:
        code, out, err = call(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert (
            "(format 2, this version reads 3): use another folder, or the version that made it" in err
        )
        assert contents(root) == before


def refuse(**_: object) -> str:
    raise ConnectionError("no network\nand a second line")


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_overwrites_nothing(tmp_path, folder, call, monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    arguments, message = WRONG[name]
    before = contents(folder)
    code, out, err = call(*(part.format(old=folder, new=tmp_path / "new") for part in arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("ocd: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert contents(folder) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [["run"], ["trane"], ["run", "digits", "--sets", "a=1"]])
def test_a_command_that_is_not_there(call, arguments):
    code, _, err = call(*arguments)
    assert code == 2
    assert "Error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["config.json", "checkpoint/seed-0/config.json"])
def test_a_damaged_file_is_named(tmp_path, folder, call, name):
    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    (root / "predictions/seed-0.json").unlink()
    (root / name).write_text('{"half": ')
    before = contents(root)
    code, _, err = call("predict", root)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"{root / name} is not valid JSON" in err
    assert contents(root) == before


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    done = python("-m", "ocd", "run", "digit", "--out", str(tmp_path / "new"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ocd: no task 'digit'; did you mean 'digits'")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_interrupted_says_how_to_go_on(tmp_path, call, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ocd.runs.run.Run.select", interrupt)
    code, _, err = call("run", "digits", "--out", tmp_path / "new", *SET)
    assert code == 130
    assert err.splitlines()[-1] == "ocd: stopped; the same command goes on from here"


def test_a_full_disk_is_one_line(tmp_path, call, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("ocd.runs.run.Run.select", full)
    code, _, err = call("run", "digits", "--out", tmp_path / "new", *SET)
    assert code == 2
    assert "No space left on device" in err.splitlines()[-1]


def test_seeds_named_twice_are_one(tmp_path, call):
    call("run", "digits", "--out", tmp_path, *SET, "--seeds", "3,0,3", "--stop-after", "select")
    assert json.loads((tmp_path / "config.json").read_text())["seeds"] == [3, 0]
