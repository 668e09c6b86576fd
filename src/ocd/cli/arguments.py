"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="A run folder, made by `ocd run`.", metavar="DIR")]
