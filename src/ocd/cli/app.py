"""The command `ocd`: run, its five verbs one by one, verdict, audit, condition, tasks and settings.

Nothing heavy is imported before a command needs it, so that `ocd --help` and `ocd tasks` answer at
once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from ocd._version import __version__
from ocd.cli.about import doctor, settings, tasks
from ocd.cli.applying import apply
from ocd.cli.arguments import Folder
from ocd.cli.demo import demo
from ocd.cli.options import parse_seeds, parse_settings
from ocd.cli.planning import plan
from ocd.cli.processes import NumProcesses, run_each
from ocd.cli.sharing import push
from ocd.cli.startup import defer_compiler
from ocd.cli.stopping import SIGNALS, STOPPED, ending_within_a_second, exit_code
from ocd.cli.units import overfit, predict
from ocd.errors import OCDError

app = typer.Typer(
    help="Learn how one layer of a trained network would move for each input, and predict it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results, warnings and errors alone: no progress.")
    ] = False,
) -> None:
    """Learn how one layer of a trained network would move for each input, and predict it."""
    if quiet:
        from ocd.data import hide_progress

        hide_progress()


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="Of `ocd tasks`, or module:NAME.", metavar="TASK")],
    preset: Annotated[str, typer.Option(help="fast, released or paper.")] = "fast",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data lie, in the hub's layout; else downloaded.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/TASK.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, as often as needed; see `ocd settings TASK`."),
    ] = None,
    stop_after: Annotated[
        str, typer.Option(help="Stop after this verb: select, overfit, train, predict or report.")
    ] = "report",
    quick: Annotated[
        bool, typer.Option("--quick", help="A first answer: one seed, few baselines, no other layer.")
    ] = False,
    num_processes: NumProcesses = 1,
) -> None:
    """Select, overfit, train, predict, report. The same command again goes on where it stopped."""
    from ocd.cli.reports import run_suite, say_full_run, say_report, say_step
    from ocd.runs import VERBS, Run
    from ocd.tasks import SUITES

    if stop_after not in VERBS:
        raise OCDError(f"--stop-after is {stop_after!r}: use one of {', '.join(VERBS)}")
    verbs = VERBS[: VERBS.index(stop_after) + 1]
    asked = (
        task,
        out or _default_folder(task, quick),
        preset,
        data_dir,
        parse_seeds(seeds),
        parse_settings(changes or []) | ({"quick": "true"} if quick else {}),
        shlex.join(["ocd", *sys.argv[1:]]),
    )
    if task in SUITES:
        run_suite(asked, verbs, num_processes)
        return
    made = Run.create(*asked)
    if num_processes > 1 and len(made.wanted) > 1:
        run_seeds(made.wanted, num_processes, verbs[:4])
        made = Run.create(*asked)  # the run's command is this one
    for seed, verb in product(made.wanted, verbs[:4]):
        say_step(f"{made.task.name}, seed {seed}: {verb}")
        getattr(made, verb)(seed)
    if "report" in verbs and made.share.leads:
        say_report(made)
        say_full_run(made, out, data_dir, changes or [])


def _default_folder(task: str, quick: bool) -> Path:
    """Where a run of a task lies, if nothing else is asked for."""
    from ocd.tasks import folder_name

    return Path("runs") / (folder_name(task) + ("-quick" if quick else ""))


def run_seeds(seeds: Sequence[int], count: int, verbs: Sequence[str]) -> None:
    """Seeds of a run in processes of their own, at most `count` of them: they share nothing but the
    folder. What one of them has left is done by this one afterwards."""
    parts = [seeds[number::count] for number in range(min(count, len(seeds)))]
    more = [["--seeds", ",".join(map(str, part)), "--stop-after", verbs[-1]] for part in parts]
    run_each(more, without=["--num-processes", "--seeds", "--stop-after"])


@app.command()
def select(folder: Folder) -> None:
    """Score the layers of a run's base, equation 3."""
    _verb("select", folder)


@app.command()
def train(folder: Folder) -> None:
    """Train the generator on the overfitted deltas."""
    _verb("train", folder)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="DIR...")],
    out: Annotated[
        Path | None, typer.Option(help="Of several runs: write their table here, and as .json beside.")
    ] = None,
) -> None:
    """Write results.json, report.md and the figures again; of several runs, one table of them all."""
    from ocd.cli.reports import say_report, say_runs, say_suite
    from ocd.runs import Run, is_suite

    if len(folders) > 1:
        say_runs(folders, out)
    elif out is None and is_suite(folders[0]):
        say_suite(folders[0])
    elif out is not None:
        raise OCDError("--out is for the table of several run folders: one has its own report.md")
    else:
        say_report(Run.open(folders[0]))


@app.command()
def verdict(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As results.json has it.")] = False,
) -> None:
    """Say the verdict of a run's report. Exit code 0: gain; 3: no gain, or undecided; 4: worse.

    Exit code 2, as for all commands: something is wrong, such as a run without a report.
    """
    from ocd.cli.reports import say_verdict

    raise typer.Exit(say_verdict(folder, as_json))


@app.command()
def audit(folder: Folder) -> None:
    """Look for leaks: labels, test examples in training, copied deltas, files that changed."""
    from ocd.runs import Run, audit_run

    found = audit_run(Run.open(folder))
    for line in found.lines():
        typer.echo(line)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def condition(folder: Folder) -> None:
    """Find out which parts of the condition matter: train the generator on some of them alone."""
    from ocd.runs import Run, compare_conditions

    typer.echo(compare_conditions(Run.open(folder)))


for command in (overfit, predict, apply, demo, plan, tasks, settings, doctor, push):
    app.command()(command)


def _verb(name: str, folder: Path) -> None:
    from ocd.runs import Run

    Run.open(folder).do(name)


def main() -> None:
    """The entry point: an OCDError is one line on stderr and exit code 2."""
    defer_compiler()
    try:
        with ending_within_a_second():
            app()
    except OCDError as error:
        typer.echo(f"ocd: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # a disk that is full, a folder that may not be written
        typer.echo(f"ocd: {error}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code in [exit_code(number) for number in SIGNALS]:
            typer.echo(STOPPED, err=True)
        raise
