"""What the command says of itself: tasks, settings, what is installed; as JSON for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ocd import __version__
from ocd.cli import about
from ocd.cli.app import app
from ocd.tasks import CATALOG


def call(*arguments: str) -> str:
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    return found.output


def test_tasks_are_the_same_as_text_and_as_json() -> None:
    found = json.loads(call("tasks", "--json"))
    assert [task["name"] for task in found["tasks"]] == list(CATALOG)
    text = call("tasks")
    for task in found["tasks"]:
        assert f"licence: {task['licence']}" in text
    assert "setfit" in found["suites"]


def test_settings_are_the_same_as_text_and_as_json() -> None:
    found = {line["key"]: line for line in json.loads(call("settings", "digits", "--json"))}
    text = call("settings", "digits")
    assert found["training.num_steps"]["changed"] == ("* training.num_steps=" in text)
    assert all(f"{key}=" in text for key in found)
    assert found["num_draws"]["value"] == 5


def test_doctor_says_what_is_installed() -> None:
    found = json.loads(call("doctor", "--json"))
    import torch

    assert found["ocd"] == __version__
    assert found["torch"]["version"] == torch.__version__
    assert found["problems"] == []
    assert found["extras"]["digits"] == []
    text = call("doctor")
    assert "extra digits: installed" in text and torch.__version__ in text


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = about.metadata.version

    def version(name: str) -> str:
        if name == "scikit-learn":
            raise about.metadata.PackageNotFoundError(name)
        return "0.1.0" if name == "torchmetrics" else real(name)

    monkeypatch.setattr(about.metadata, "version", version)
    found = json.loads(call("doctor", "--json"))
    assert found["extras"]["digits"] == ["scikit-learn>=1.5", "torchmetrics>=1.8"]
    lines = call("doctor").splitlines()
    assert "extra digits: lacks scikit-learn>=1.5, torchmetrics>=1.8" in lines
    (how,) = [line for line in lines if "pip install" in line]  # once, whatever is missing
    assert "in a clone of the repository, by pip install -c constraints.txt '.[EXTRA]'" in how
    assert "elsewhere by pip install 'ocd-torch[EXTRA]'" in how


def test_doctor_says_nothing_of_installing_where_nothing_is_missing() -> None:
    found = {
        "ocd": "1", "python": "3", "executable": "python", "system": "Linux", "processors": 2,
        "torch": {"version": "2.13.0", "gpus": [], "threads": 1}, "extras": {"digits": []},
    }  # fmt: skip
    assert about._lines(found)[-1] == "extra digits: installed"
    assert "pip install" in about._lines(found | {"extras": {"digits": ["scikit-learn"]}})[-1]


def test_doctor_fails_where_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = CliRunner().invoke(app, ["doctor"])
    assert found.exit_code == 1
    assert "problem: PyTorch cannot be imported" in found.output


def test_an_old_torch_is_a_problem() -> None:
    assert about._problems({"torch": {"version": "2.9.1+cpu"}}) == [
        "PyTorch is 2.9.1+cpu: pip install 'torch>=2.10'"
    ]
    assert not about._problems({"torch": {"version": "2.10.0"}})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_commands(shell: str) -> None:
    words = {"_OCD_COMPLETE": f"complete_{shell}", "COMP_WORDS": "ocd doc", "COMP_CWORD": "1"}
    words |= {"_TYPER_COMPLETE_ARGS": "ocd doc", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", "from ocd.cli import main; import sys; sys.argv[0]='ocd'; main()"],
        env={**os.environ, **words}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "doctor" in done.stdout, done.stderr


def test_quiet_leaves_results_alone(tmp_path, capsys: pytest.CaptureFixture) -> None:
    from small_run import SMALL

    pairs = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    done = {}
    for flags in ((), ("--quiet",)):
        out = tmp_path / "-".join(("run", *flags))
        code = (
            "import sys; from small_run import shrink; import pytest; shrink(pytest.MonkeyPatch()); "
            "from ocd.cli import main; main()"
        )
        done[flags] = subprocess.run(
            [sys.executable, "-c", code, *flags, "run", "digits", "--out", str(out), *pairs],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done[flags].returncode == 0, done[flags].stderr
    assert "digits, seed 0: train" in done[()].stderr
    assert "seed 0" not in done["--quiet",].stderr
    assert "OCD, one draw" in done["--quiet",].stdout
