"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="A run folder, made by `ocd run`.", metavar="DIR")]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard", help="I/N: one of N processes, from 0/N to N-1/N, on one or many machines."
    ),
]
