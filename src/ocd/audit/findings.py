"""What a check found, and all findings of an audit.

`passed` is True, False, or None where there was nothing to check; the text says it in one line, the
details are for results in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MARKS = {True: "ok", False: "FAIL", None: "note"}


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    `passed`: None where it could not be checked. `text`: one line for a person. `details`: the
    figures behind it, fit for JSON (no NaN, no infinity).
    """

    name: str
    passed: bool | None
    text: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """All findings of a run, in the order in which they were made."""

    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """No check failed. One that could not be made is not a failure; `lines` names it."""
        return all(finding.passed is not False for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, "findings": [asdict(finding) for finding in self.findings]}

    def lines(self) -> list[str]:
        """One line a check, as "ok    labels: ...", and a last line that counts them."""
        width = max(map(len, MARKS.values())) + 2
        lines = [f"{MARKS[one.passed]:{width}}{one.name}: {one.text}" for one in self.findings]
        count = {mark: sum(one.passed is mark for one in self.findings) for mark in MARKS}
        return [
            *lines,
            f"audit: {count[True]} passed, {count[False]} failed, {count[None]} could not be checked",
        ]


def listed(items: Sequence[str], limit: int = 5) -> str:
    """The first few, by commas, and how many more there are."""
    more = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, thing: str) -> str:
    """As in "1 example" and "2,000 examples"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
