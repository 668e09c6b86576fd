"""What `ocd apply` does, and what it says at the end."""

from __future__ import annotations

import typer

from ocd.applying import ApplyOptions, LoadedRun, apply_in_units, apply_to, goes_to_a_folder
from ocd.data import Share, progress_bar


def apply_and_say(loaded: LoadedRun, options: ApplyOptions, share: Share) -> None:
    """Answer, and say how many rows, and what is to be known of them. Of several processes only the
    first says it, in the name of all."""
    in_units = goes_to_a_folder(loaded, options, share)
    with progress_bar(f"answer for {options.source.name}", None) as advance:
        if in_units:
            done = apply_in_units(loaded, options, share, advance)
        else:
            done = apply_to(loaded, options, advance)
    if not share.leads:
        return
    typer.echo(f"{done.rows} rows: {options.out}")
    if done.unlike:
        text = f"{done.unlike} of {done.rows} inputs are unlike the training data"
        typer.echo(f"{text} (farther from it than 99 % of it): trust their answers less", err=True)
    for line in done.remarks:
        typer.echo(line, err=True)
    if done.num_remarks > len(done.remarks):
        typer.echo(f"... and {done.num_remarks - len(done.remarks)} more, in column 'remark'", err=True)
    for line in [done.note, *loaded.cautions] if done.note else loaded.cautions:
        typer.echo(line, err=True)
