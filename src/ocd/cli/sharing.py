"""`ocd push`: a run's generator on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocd.cli.arguments import Folder


def push(
    folder: Folder,
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.", metavar="REPOSITORY")],
    private: Annotated[bool, typer.Option("--private", help="Make a new one private.")] = False,
    seed: Annotated[int | None, typer.Option(help="One of the run's seeds; the first.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the generator, as the hub names it: mit, apache-2.0, other.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Write the model card here, and push nothing.")
    ] = None,
) -> None:
    """Push a run's generator to the Hugging Face hub, with its verdict and tables as the model card.

    The base is not pushed. Log in with `hf auth login`, or set HF_TOKEN.
    """
    from ocd.applying import load
    from ocd.data import write_text
    from ocd.hub import PushOptions, model_card

    loaded = load(folder, seed)
    if card is not None:
        write_text(card, model_card(loaded.card_facts(licence), repository))
        typer.echo(f"card: {card}")
        return
    options: PushOptions = {"private": True} if private else {}
    typer.echo(loaded.push_to_hub(repository, licence, **options))
