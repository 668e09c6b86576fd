"""What the commands print of runs: a report, a table of several, a verdict, what a full run adds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ocd.data import is_quiet, write_json, write_text
from ocd.errors import OCDError
from ocd.reporting import (
    opening_lines,
    results_table,
    runs_markdown,
    runs_table,
    suite_markdown,
    table_width,
)
from ocd.runs import Suite, compare_runs, quick_lines, read_reported, report_suite

if TYPE_CHECKING:
    from ocd.runs import Run

EXIT_CODES = {"gain": 0, "no gain": 3, "undecided": 3, "worse": 4}
"""What `ocd verdict` says in its exit code: whether OCD gives what the run was asked for."""


def say_report(run: Run) -> None:
    """Make a run's report, and print its table and what it says first."""
    from rich.console import Console

    results = run.report()
    console = Console()
    if console.is_terminal:
        console.print(results_table(results, console.width))
    else:  # in a file or a pipe no line needs to be broken
        table = results_table(results)
        Console(width=table_width(table)).print(table)
    typer.echo(f"report: {run.root / 'report.md'}")
    for line in opening_lines(results["verdict"]):
        typer.echo(line)


def say_step(line: str) -> None:
    """What is done now, on stderr, also where that is a file; not with --quiet."""
    if not is_quiet():
        typer.echo(line, err=True)


def run_suite(asked: tuple[Any, ...], verbs: Sequence[str], num_processes: int = 1) -> None:
    """Run all tasks of a suite, as `Suite.create` takes them, and say the table."""
    if num_processes > 1:
        raise OCDError(f"--num-processes is for one task: run those of {asked[0]!r} one by one with it")
    suite = Suite.create(*asked)
    for name, why in suite.left_out.items():
        typer.echo(f"{name} is left out: {why}", err=True)
    suite.run(verbs, say_step)
    if "report" in verbs:
        say_suite(suite.root)


def say_suite(root: Path) -> None:
    """Make a suite's report, and print its table and verdict."""
    results = report_suite(root)
    typer.echo(suite_markdown(results, {}).split("## Against the base")[0])
    typer.echo(f"report: {root / 'report.md'}")
    typer.echo(results["verdict"]["sentence"])


def say_runs(folders: Sequence[Path], out: Path | None) -> None:
    """Print one table of several runs; `out`: where it is written as Markdown, and as JSON beside."""
    if out is not None and out.suffix != ".md":
        raise OCDError(f"--out is {out}: it must end in .md; the same table is written as .json beside")
    from rich.console import Console

    table = compare_runs(folders)
    console = Console()
    if console.is_terminal:
        console.print(runs_table(table))
        for line in table["notes"]:
            typer.echo(line)
    else:
        typer.echo(runs_markdown(table), nl=False)
    if out is not None:
        write_text(out, runs_markdown(table))
        write_json(out.with_suffix(".json"), table)
        typer.echo(f"written: {out} and {out.with_suffix('.json')}", err=True)


def say_verdict(folder: Path, as_json: bool) -> int:
    """Print a run's verdict, and return the exit code that it stands for."""
    verdict = read_reported(folder).results["verdict"]
    if as_json:
        typer.echo(json.dumps(verdict, indent=1))
    else:
        for line in opening_lines(verdict):
            typer.echo(line)
    # A report of before version 1.0 judges the ensemble alone.
    return EXIT_CODES[verdict.get("asked", verdict)["statement"]]


def say_full_run(run: Run, out: Path | None, data_dir: Path | None, settings: Sequence[str]) -> None:
    """At the end of a quick run, say what the full run adds; nothing of another run."""
    if run.full_options is None:
        return
    command = ["ocd", "run", run.task.name, "--seeds", "0,1,2"]
    command += ["--data-dir", str(data_dir)] if data_dir else []
    command += ["--out", f"{out}-full"] if out else []
    for item in settings:
        command += ["--set", item] if item.partition("=")[0] != "quick" else []
    typer.echo("")
    for line in quick_lines(run, run.full_options, shlex.join(command)):
        typer.echo(line)
