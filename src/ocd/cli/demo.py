"""`ocd demo`: a page to try a run."""

from __future__ import annotations

from typing import Annotated

import typer

from ocd.cli.arguments import Folder


def demo(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="127.0.0.1: this machine alone; 0.0.0.0: all that reach it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the page.")] = 7860,
    user: Annotated[
        str | None,
        typer.Option(help="NAME:PASSWORD that visitors give.", envvar="OCD_DEMO_USER"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="One of the run's seeds; the first.")] = None,
) -> None:
    """Show a fitted run as a page in the browser: try inputs, see base, draws and uncertainty."""
    from ocd.demo import Address, serve

    def ready(url: str) -> None:
        typer.echo(f"open {url} (Ctrl-C ends it)")

    serve(folder, Address(host, port, user), seed, ready)
