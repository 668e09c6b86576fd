"""The command `ocd`: run, its five verbs one by one, verdict, audit, condition, tasks and settings.

Nothing heavy is imported before a command needs it, so that `ocd --help` and `ocd tasks` answer at
once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ocd._version import __version__
from ocd.cli.options import one_of_many, parse_seeds, parse_settings, shown
from ocd.cli.startup import defer_compiler
from ocd.errors import OCDError

app = typer.Typer(
    help="Learn how one layer of a trained network would move for each input, and predict it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
INTERRUPTED = 130
"""The exit code that Typer gives to Ctrl-C."""
Folder = Annotated[Path, typer.Argument(help="A run folder, made by `ocd run`.", metavar="DIR")]
Shard = Annotated[
    str | None,
    typer.Option(help="I/N: this is the I-th of N processes, on any machine that sees the folder."),
]
NumProcesses = Annotated[int | None, typer.Option(help="Start so many processes on this machine.")]


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Learn how one layer of a trained network would move for each input, and predict it."""


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="A task; `ocd tasks` lists them.", metavar="TASK")],
    preset: Annotated[str, typer.Option(help="fast, released or paper.")] = "fast",
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data lie, in the hub's layout; else downloaded.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/TASK.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, as often as needed; see `ocd settings TASK`."),
    ] = None,
    stop_after: Annotated[
        str, typer.Option(help="Stop after this verb: select, overfit, train, predict or report.")
    ] = "report",
    quick: Annotated[
        bool, typer.Option("--quick", help="A first answer: one seed, few baselines, no other layer.")
    ] = False,
) -> None:
    """Select, overfit, train, predict, report. The same command again goes on where it stopped."""
    from ocd.cli.reports import run_suite, say_full_run, say_report
    from ocd.runs import VERBS, Run
    from ocd.tasks import SUITES

    if stop_after not in VERBS:
        raise OCDError(f"--stop-after is {stop_after!r}: use one of {', '.join(VERBS)}")
    verbs = VERBS[: VERBS.index(stop_after) + 1]
    asked = (
        task,
        out or Path("runs") / (f"{task}-quick" if quick else task),
        preset,
        data_dir,
        parse_seeds(seeds),
        parse_settings(settings or []) | ({"quick": "true"} if quick else {}),
        shlex.join(["ocd", *sys.argv[1:]]),
    )
    if task in SUITES:
        run_suite(asked, verbs)
        return
    made = Run.create(*asked)
    for seed in made.wanted:
        for verb in verbs[:4]:
            typer.echo(f"{made.task.name}, seed {seed}: {verb}", err=True)
            getattr(made, verb)(seed)
    if "report" in verbs:
        say_report(made)
        say_full_run(made, out, data_dir, settings or [])


@app.command()
def select(folder: Folder) -> None:
    """Score the layers of a run's base, equation 3."""
    _verb("select", folder)


@app.command()
def overfit(folder: Folder, shard: Shard = None, num_processes: NumProcesses = None) -> None:
    """Overfit the chosen layer on every training example, equation 1."""
    _shared_verb("overfit", folder, shard, num_processes)


@app.command()
def train(folder: Folder) -> None:
    """Train the generator on the overfitted deltas."""
    _verb("train", folder)


@app.command()
def predict(folder: Folder, shard: Shard = None, num_processes: NumProcesses = None) -> None:
    """Predict the test examples with every method of the table."""
    _shared_verb("predict", folder, shard, num_processes)


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
def apply(
    folder: Folder,
    source: Annotated[
        Path, typer.Option("--input", help="A table, a folder or file of images, a scene's cameras.")
    ],
    out: Annotated[
        Path, typer.Option(help="A .csv or .parquet file; a folder of parts; for views a folder.")
    ],
    draws: Annotated[
        int | None, typer.Option(help="Draws of each input; the run's own number.")
    ] = None,
    draws_out: Annotated[Path | None, typer.Option(help="A file, or folder, for every draw.")] = None,
    answer: Annotated[str, typer.Option(help="ensemble, or mean: one pass, no draws.")] = "ensemble",
    seed: Annotated[int | None, typer.Option(help="One of the run's seeds; the first.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="A column whose values name the rows.")
    ] = None,
    shard: Shard = None,
    num_processes: NumProcesses = None,
) -> None:
    """Answer for new data with a fitted run. The same command again goes on where it stopped."""
    from ocd.applying import ApplyOptions, Ask, load
    from ocd.cli.applied import apply_and_say
    from ocd.runs import in_processes

    options = ApplyOptions(source, out, draws_out, id_column, Ask(draws, answer))
    share = one_of_many(shard, num_processes)
    if num_processes is not None:
        in_processes(sys.argv[1:], num_processes)
        return
    apply_and_say(load(folder, seed), options, share)


@app.command()
def condition(folder: Folder) -> None:
    """Find out which parts of the condition matter: train the generator on some of them alone."""
    from ocd.runs import Run, compare_conditions

    typer.echo(compare_conditions(Run.open(folder)))


@app.command()
def tasks() -> None:
    """List the tasks: data, licence, size, minutes to expect."""
    from ocd.tasks import CATALOG, SUITES

    width = max(map(len, CATALOG)) + 2
    for facts in CATALOG.values():
        typer.echo(f"{facts.name:{width}}{facts.summary}")
        for name in ("data", "licence", "size"):
            typer.echo(f"{'':{width}}{name}: {getattr(facts, name)}")
        typer.echo(f"{'':{width}}minutes a seed: {facts.minutes}")
    for name, parts in SUITES.items():
        typer.echo(f"{name:{width}}one after another, with one table: {', '.join(parts)}")


@app.command()
def settings(
    task: Annotated[str, typer.Argument(help="A task.", metavar="TASK")],
    preset: Annotated[str, typer.Option(help="fast, released or paper.")] = "fast",
) -> None:
    """List every key that --set takes, with its value and meaning; * marks what the task changes."""
    from ocd.runs import list_settings
    from ocd.tasks import SUITES

    groups = list_settings(SUITES.get(task, (task,))[0], preset)
    width = max(len(f"{s.key}={shown(s.value)}") for group in groups for s in group.settings)
    for group in groups:
        typer.echo(f"# {group.title}")
        for setting in group.settings:
            mark = "*" if setting.is_changed else " "
            pair = f"{setting.key}={shown(setting.value)}"
            typer.echo(f"{mark} {pair:{width}}  {setting.meaning}".rstrip())
        typer.echo("")
    typer.echo(f"* differs from the preset {preset}")


def _verb(name: str, folder: Path) -> None:
    from ocd.runs import Run

    Run.open(folder).do(name)


def _shared_verb(name: str, folder: Path, shard: str | None, num_processes: int | None) -> None:
    from ocd.runs import do_shared

    do_shared(folder, name, one_of_many(shard, num_processes), num_processes)


def main() -> None:
    """The entry point: an OCDError is one line on stderr and exit code 2."""
    defer_compiler()
    try:
        app()
    except OCDError as error:
        typer.echo(f"ocd: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # a disk that is full, a folder that may not be written
        typer.echo(f"ocd: {error}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo("ocd: stopped; the same command goes on from here", err=True)
        raise
