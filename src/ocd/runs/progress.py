"""What a person at a terminal sees of a base's training."""

from __future__ import annotations

import sys

from ocd.data import is_watched


def say_progress(line: str) -> None:
    """Progress of a base's training, for a person at a terminal."""
    if is_watched():
        print(line, file=sys.stderr)
