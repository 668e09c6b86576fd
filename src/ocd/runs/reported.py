"""Runs that have a report: read again, for one table of several runs and for a verdict alone.

    read_reported(Path("runs/digits")).results["verdict"]["statement"]     # "gain"
    compare_runs([Path("runs/digits"), Path("runs/mnist")])["runs"]        # a row for each

Nothing is made anew and no data is read: what is not there yet is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ocd.data import read_json
from ocd.errors import OCDError
from ocd.evaluation import Json
from ocd.reporting import Reported, side_by_side
from ocd.runs.same import check_format, no_run

NEEDED = ("task", "preset", "seeds", "layer", "methods", "metrics", "verdict")
OF_VERDICT = (
    "statement",
    "sentence",
    "comparison",
    "metric",
    "difference",
    "interval",
    "against",
)


def read_reported(root: Path) -> Reported:
    """Settings and results of a run. Raises OCDError, one line, where the folder is no run of this
    version, or has no report yet."""
    config = _read_config(root)
    check_format(root / "config.json", config)
    path = root / "results.json"
    if not path.exists():
        raise OCDError(f"{root} has no report yet: `ocd report {root}` makes it after `ocd predict`")
    results = read_json(path)
    missing = [name for name in NEEDED if name not in results]
    missing += [name for name in OF_VERDICT if name not in results.get("verdict", {})]
    if missing:
        raise OCDError(f"{path} is of another version: `ocd report {root}` makes it again")
    return Reported(str(root), config, results)


def compare_runs(roots: Sequence[Path]) -> Json:
    """One table of several runs, whose settings differ or whose tasks do.

    A run of another version, or without a report, has no row but a line that names it. Raises OCDError
    for a folder that holds no run, for one that is named twice, and where no run has a report.
    """
    resolved = [root.resolve() for root in roots]
    for place, root in enumerate(roots):
        if resolved[place] in resolved[:place]:
            raise OCDError(f"{root} is named twice")
        _read_config(root)
    runs: list[Reported] = []
    not_shown: dict[str, str] = {}
    for root in roots:
        try:
            runs.append(read_reported(root))
        except OCDError as error:
            not_shown[str(root)] = str(error)
    if not runs:
        raise OCDError("none of these runs can be shown: " + "; ".join(not_shown.values()))
    return side_by_side(runs, not_shown)


def _read_config(root: Path) -> Json:
    path = root / "config.json"
    if not path.exists():
        raise no_run(root)
    config: Json = read_json(path)
    return config
