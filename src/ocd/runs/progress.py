"""What a person at a terminal sees of a base's training."""

from __future__ import annotations

import sys


def say_progress(line: str) -> None:
    """Progress of a base's training, for a person at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
