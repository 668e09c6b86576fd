"""The command `ocd`: what people type, and one line where something cannot be done."""

from ocd.cli.app import main

__all__ = ["main"]
