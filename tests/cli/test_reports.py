"""`ocd run --quick`, `ocd report` on several folders, and `ocd verdict` with its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import contents
from ocd.cli import main
from ocd.runs.same import FORMAT_VERSION
from run_folders import MADE, change_json, make_run
from small_run import SMALL

Call = Callable[..., tuple[int, str, str]]
QUICK = [
    part
    for key, value in SMALL.items()
    if key not in ("baselines", "num_bases", "alternative")
    for part in ("--set", f"{key}={value}")
]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ocd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.reporting.report.draw_all", lambda folder, _: [])


def finished(folder: Path, call: Call, margin: float = 5.0, **config: Any) -> Path:
    """A synthetic run with its report; the base's margin is 4."""
    made = MADE | {"ocd_ensemble_5": MADE["ocd_ensemble_5"]._replace(margin=margin)}
    make_run(folder, seeds=(0, 1), made=made)
    changes = {"format_version": FORMAT_VERSION} | config
    change_json(folder / "config.json", lambda saved: saved.update(changes))
    from ocd.reporting import write_report

    write_report(folder)
    return folder


# The verdict


@pytest.mark.parametrize(
    ("margin", "statement", "expected"), [(5.0, "Gain", 0), (4.0, "No gain", 3), (3.0, "Worse", 4)]
)
def test_the_exit_code_says_the_verdict(
    tmp_path: Path, call: Call, margin: float, statement: str, expected: int
) -> None:
    run = finished(tmp_path / "run", call, margin)
    before = contents(run)
    code, out, err = call("verdict", run)
    verdict = json.loads((run / "results.json").read_text())["verdict"]
    assert (code, out, err) == (expected, verdict["sentence"] + "\n", "")
    assert out.startswith(f"{statement}: ")
    code, out, err = call("verdict", run, "--json")
    assert (code, json.loads(out), err) == (expected, verdict, "")
    assert contents(run) == before


def test_a_verdict_says_all_that_the_report_says_first(tmp_path: Path, call: Call) -> None:
    run = finished(tmp_path, call)
    distribution = {"statement": "wrong", "sentence": "Do not use the draws."}
    change_json(
        run / "results.json", lambda results: results["verdict"].update(distribution=distribution)
    )
    code, out, _ = call("verdict", run)
    assert code == 0 and out.startswith("Do not use the draws.\nGain: ")


def test_undecided_is_no_gain(tmp_path: Path, call: Call) -> None:
    run = finished(tmp_path, call)
    asked = {"goal": "answer", "statement": "undecided"}
    change_json(run / "results.json", lambda results: results["verdict"].update(asked=asked))
    assert call("verdict", run)[0] == 3


def test_the_exit_code_is_about_what_was_asked_for(tmp_path: Path, call: Call) -> None:
    run = finished(tmp_path, call)
    asked = {"goal": "distribution", "statement": "worse"}
    change_json(run / "results.json", lambda results: results["verdict"].update(asked=asked))
    assert call("verdict", run)[0] == 4
    change_json(run / "results.json", lambda results: results["verdict"].pop("asked"))
    assert call("verdict", run)[0] == 0  # a report of before 1.0 judges the ensemble alone


def test_no_verdict_is_one_line(tmp_path: Path, call: Call) -> None:
    run = finished(tmp_path / "run", call)
    change_json(run / "results.json", lambda results: results.pop("verdict"))
    assert call("verdict", run) == (
        2, "", f"ocd: {run}/results.json is of another version: `ocd report {run}` makes it again\n",
    )  # fmt: skip
    (run / "results.json").unlink()
    code, out, err = call("verdict", run)
    assert (code, out) == (2, "")
    assert err == f"ocd: {run} has no report yet: `ocd report {run}` makes it after `ocd predict`\n"
    change_json(run / "config.json", lambda saved: saved.update(format_version=2))
    code, _, err = call("verdict", run)
    assert code == 2 and "is not a run of this version (format 2" in err
    code, _, err = call("verdict", tmp_path / "none")
    assert code == 2 and "is no run folder" in err and err.count("\n") == 1


def test_help_says_the_exit_codes(call: Call) -> None:
    code, out, _ = call("verdict", "--help")
    assert code == 0
    assert "Exit code 0: gain; 3: no gain, or undecided; 4: worse" in " ".join(out.split())


# Several runs


def test_one_table_of_several_runs(tmp_path: Path, call: Call) -> None:
    one = finished(tmp_path / "one", call)
    other = finished(tmp_path / "other", call, margin=3.0, config={"layer": "fc1"})
    before = contents(one)
    code, out, err = call("report", one, other)
    assert (code, err) == (0, "")
    assert out.startswith("# Runs side by side\n\n| run | task |")
    rows = [line for line in out.splitlines() if line.startswith("| `")]
    assert [row.split(" | ")[0] for row in rows] == [f"| `{one}`", f"| `{other}`"]
    assert "layer=auto" in rows[0] and "| worse |" in rows[1]
    assert contents(one) == before


def test_the_table_is_written_as_markdown_and_json(tmp_path: Path, call: Call) -> None:
    one, other = (finished(tmp_path / name, call) for name in ("one", "other"))
    page = tmp_path / "tables" / "both.md"
    code, out, err = call("report", one, other, "--out", page)
    assert code == 0
    assert page.read_text() == out
    assert err == f"written: {page} and {page.with_suffix('.json')}\n"
    table = json.loads(page.with_suffix(".json").read_text())
    assert [row["run"] for row in table["runs"]] == [str(one), str(other)]


def test_runs_without_a_row_are_named(tmp_path: Path, call: Call) -> None:
    good, unfinished, old, more = (
        finished(tmp_path / name, call) for name in ("good", "unfinished", "old", "more")
    )
    (unfinished / "results.json").unlink()
    change_json(old / "config.json", lambda saved: saved.update(format_version=2))
    change_json(more / "config.json", lambda saved: saved.update(seeds=[0, 1, 2]))
    code, out, _ = call("report", good, unfinished, old, more)
    assert code == 0
    assert [line.split("`")[1] for line in out.splitlines() if line.startswith("| `")] == [
        str(good), str(more),
    ]  # fmt: skip
    notes = [line for line in out.splitlines() if line.startswith("- ")]
    assert notes[0].startswith(f"- not shown: {unfinished} has no report yet: `ocd report ")
    assert notes[1].startswith(f"- not shown: {old}/config.json is not a run of this version")
    assert notes[2:] == [f"- unfinished: {more} has seeds that are not in its report (seed 2)"]


def test_a_terminal_gets_a_table_that_fits(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (finished(tmp_path / name, call) for name in ("one", "other"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes it a terminal
    monkeypatch.setenv("COLUMNS", "100")
    change_json(other / "config.json", lambda saved: saved.update(seeds=[0, 1, 2]))
    code, out, _ = call("report", one, other)
    assert code == 0 and "| ---" not in out
    assert f"unfinished: {other} has" in out


WRONG = {
    "no run": (["{one}", "{none}"], "is no run folder"),
    "twice": (["{one}", "{one}/."], "is named twice"),
    "not Markdown": (["{one}", "{other}", "--out", "{none}.txt"], "it must end in .md"),
    "one alone": (["{one}", "--out", "{none}.md"], "--out is for the table of several run folders"),
    "none has a report": (["{bare}", "{bare2}"], "none of these runs can be shown: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path: Path, call: Call, name: str) -> None:
    folders = {n: finished(tmp_path / n, call) for n in ("one", "other", "bare", "bare2")}
    for bare in ("bare", "bare2"):
        (folders[bare] / "results.json").unlink()
    before = contents(tmp_path)
    arguments, message = WRONG[name]
    code, out, err = call("report", *(a.format(none=tmp_path / "none", **folders) for a in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("ocd: ") and err.count("\n") == 1 and message in err
    assert contents(tmp_path) == before


# A quick run


def test_a_quick_run_ends_with_what_the_full_run_adds(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("run", "digits", "--quick", *QUICK)
    assert code == 0
    root = tmp_path / "runs" / "digits-quick"
    assert json.loads((root / "config.json").read_text())["run_options"]["quick"] is True
    said, last = out.split("\n\nThis was a quick run: one seed and few baselines, about ")
    assert "\nQuick run: one seed. Left out: " in said
    lines = last.splitlines()
    (command,) = [line for line in lines if line.startswith("  ocd run ")]
    assert command.split()[:5] == ["ocd", "run", "digits", "--seeds", "0,1,2"]
    assert "--out" not in command and "--quick" not in command
    assert command.count("--set") == len(QUICK) // 2
    assert lines[0].endswith("The full run adds:")
    again = call("run", "digits", "--quick", *QUICK)
    assert again[0] == 0 and "This was a quick run" in again[1]
    # The run in this folder is a quick one: the full one goes into another.
    code, _, err = call("run", "digits", *QUICK, "--out", root)
    assert code == 2 and "holds another run" in err and "quick True -> False" in err


def test_the_command_of_the_full_run_has_a_folder_of_its_own(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocd.runs.run.Run.train", lambda *_: None)
    monkeypatch.setattr("ocd.runs.run.Run.predict", lambda *_: None)
    monkeypatch.setattr("ocd.cli.reports.say_report", lambda _: None)
    for verb in ("select", "overfit"):
        monkeypatch.setattr(
            f"ocd.runs.run.Run.{verb}", lambda run, seed: run.log(seed).write("note", text="done")
        )
    root = tmp_path / "a folder"
    arguments = ["--seeds", "1", "--out", root, *QUICK, "--set", "quick=true"]
    code, out, _ = call("run", "digits", *arguments)
    assert code == 0
    assert "- seeds 0 and 2, for an interval over seeds too\n" in out
    assert f"  ocd run digits --seeds 0,1,2 --out '{root}-full' --set " in out
    assert "quick=true" not in out


def test_a_quick_run_of_several_seeds_is_refused(tmp_path: Path, call: Call) -> None:
    code, out, err = call("run", "digits", "--quick", "--seeds", "0,1", "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert err == "ocd: a quick run has one seed, not 0,1: leave out --quick, or give one seed\n"
    assert not (tmp_path / "new").exists()
