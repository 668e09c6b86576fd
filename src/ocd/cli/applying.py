"""`ocd apply`: answers for new data, by one process or by many."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocd.cli.arguments import Folder, ShardOf
from ocd.cli.processes import check_one_way, run_shards

if TYPE_CHECKING:
    from ocd.applying import LoadedRun, Summary

ProcessesOf = Annotated[
    int | None,
    typer.Option(
        "--num-processes",
        min=1,
        help="Processes on this machine that share the work; `--out` is a folder.",
    ),
]


def apply(
    folder: Folder,
    source: Annotated[
        Path, typer.Option("--input", help="A table, a folder or file of images, a scene's cameras.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="A .csv or .parquet file; a folder for views, voices and several processes."),
    ],
    draws: Annotated[
        int | None, typer.Option(help="Draws of each input; the run's own number.")
    ] = None,
    draws_out: Annotated[Path | None, typer.Option(help="A file for every draw.")] = None,
    answer: Annotated[str, typer.Option(help="ensemble, or mean: one pass, no draws.")] = "ensemble",
    seed: Annotated[int | None, typer.Option(help="One of the run's seeds; the first.")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="A column whose values name the rows.")
    ] = None,
    shard: ShardOf = None,
    num_processes: ProcessesOf = None,
) -> None:
    """Answer for new data with a fitted run. The same command again goes on where it stopped."""
    from ocd.applying import (
        ApplyOptions,
        Ask,
        apply_shard,
        apply_to,
        check_shards,
        count_answered,
        load,
    )
    from ocd.data import Shard, progress_bar

    options = ApplyOptions(source, out, draws_out, id_column, Ask(draws, answer))
    check_one_way(shard, num_processes)
    ours = None if shard is None else Shard.parse(shard)
    loaded = load(folder, seed)
    if num_processes is not None and (num_processes > 1 or not out.suffix):
        check_shards(loaded, options)  # what is wrong is said once
        if num_processes > 1:
            run_shards(num_processes)
        ours = Shard()  # what they did is looked through, and what one has left is done
    with progress_bar(f"answer for {source.name}", None) as advance:
        if ours is None:
            done = apply_to(loaded, options, advance)
        else:
            done = apply_shard(loaded, options, ours, advance)
            rows, unlike = count_answered(out)
            done = dataclasses.replace(done, rows=rows, unlike=unlike)
    _say(loaded, done, out)


def _say(loaded: LoadedRun, done: Summary, out: Path) -> None:
    rows = f"{done.rows} rows"
    if loaded.says.kind == "steps":  # each has a row in the file
        steps = len(loaded.says.names)
        rows = f"{done.rows} forecasts of {steps} steps, {done.rows * steps} rows"
    typer.echo(f"{rows}: {out}")
    if done.unlike:
        share = f"{done.unlike} of {done.rows} inputs are unlike the training data"
        typer.echo(f"{share} (farther from it than 99 % of it): trust their answers less", err=True)
    for line in done.remarks:
        typer.echo(line, err=True)
    if done.num_remarks > len(done.remarks):
        typer.echo(f"... and {done.num_remarks - len(done.remarks)} more, in column 'remark'", err=True)
    for line in [done.note, *loaded.cautions] if done.note else loaded.cautions:
        typer.echo(line, err=True)
