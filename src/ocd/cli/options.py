"""What the command's options mean."""

from __future__ import annotations

from ocd.errors import OCDError


def parse_seeds(text: str) -> list[int]:
    """Of "0,1,2". Raises OCDError for anything but whole numbers from 0 on."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise OCDError(f"--seeds is {text!r}: it must be numbers from 0 on, separated by commas")
    return list(dict.fromkeys(int(part) for part in parts))


def parse_settings(items: list[str]) -> dict[str, str]:
    """Of key=value, one an item."""
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise OCDError(f"--set {item!r}: it must be key=value")
        pairs[key] = value
    return pairs
