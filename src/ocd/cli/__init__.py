"""The command `ocd`."""

from ocd.cli.app import main

__all__ = ["main"]
