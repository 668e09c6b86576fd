"""The version, written once: the package, the wheel and the changelog read or check it."""

__version__ = "1.0.0"
