"""What the paper says of a task: the figures of its own table, to be set beside ours."""

from __future__ import annotations

from dataclasses import dataclass, field

Figure = tuple[float, float | None]
"""Mean and standard deviation as published; None where the table gives no deviation."""


@dataclass(frozen=True)
class Published:
    """A table of the paper, in our names. Two bases are never the same, so gains are compared."""

    source: str
    """One line: which table of the paper."""
    methods: dict[str, dict[str, Figure]]
    """Method -> metric -> figure. `base` is among them: what the others gain is counted from it."""
    remarks: tuple[str, ...] = ()
    """Plain sentences: why the figures cannot be compared outright."""
    stand_in: str = ""
    """A clause that says what other data or network stand in for the paper's; then no gain is
    judged."""
    options: dict[str, object] = field(default_factory=dict)
    """The task's options without which a run is another experiment than the published one."""
