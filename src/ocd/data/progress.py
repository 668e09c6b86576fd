"""Progress bars with the time left, in a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_quiet = False


def hide_progress() -> None:
    """No bars from now on in this process."""
    global _quiet
    _quiet = True


def is_quiet() -> bool:
    """Whether `hide_progress` was called."""
    return _quiet


def is_watched() -> bool:
    """Whether a person sees what goes on: stderr is a terminal, or this is a notebook."""
    if _quiet:
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def progress_bar(title: str, total: int | None, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields a function that moves the bar on; `total` is None where it is not known. Nothing is drawn
    where nobody sees it."""
    if not show or not is_watched():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.advance(task, steps)
