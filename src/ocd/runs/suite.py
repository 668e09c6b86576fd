"""Several tasks as one: each in a folder of its own, and one report of all.

    suite = Suite.create("setfit", Path("runs/setfit"), data_dir=..., seeds=(0, 1, 2))
    suite.run()          # seed by seed, set by set; what is complete is skipped
    suite.report()

The folder has a run folder for each task whose data are at hand, suite.json, and the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocd.data import read_json, write_json, write_text
from ocd.errors import MissingData, OCDError
from ocd.evaluation import Json
from ocd.reporting import draw_gains, suite_in_plain_words, suite_markdown, suite_results, write_page
from ocd.runs.run import Run
from ocd.runs.same import SUITE_FILE
from ocd.tasks import PAPER_SUITES, SUITES


@dataclass
class Suite:
    """The tasks of a suite in one folder. `left_out`: those whose data are not at hand -> why."""

    name: str
    root: Path
    seeds: list[int]
    parts: dict[str, Run] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        name: str,
        root: Path,
        preset: str = "fast",
        data_dir: Path | None = None,
        seeds: Sequence[int] = (0,),
        settings: Mapping[str, str] | None = None,
        command: str = "",
    ) -> Suite:
        """The runs of all tasks whose data are at hand, new ones or continued. Raises OCDError where
        there are none."""
        suite = cls(name, root, [*seeds])
        for task in SUITES[name]:
            try:
                made = Run.create(task, root / task, preset, data_dir, seeds, settings, command)
            except MissingData as error:
                suite.left_out[task] = str(error).split(" (--data-dir)")[0]
            else:
                suite.parts[task] = made
        if not suite.parts:
            raise OCDError(f"none of {name}'s data are at hand: {'; '.join(suite.left_out.values())}")
        write_json(root / SUITE_FILE, {"suite": name, "left_out": suite.left_out})
        return suite

    def run(self, verbs: Sequence[str], say: Callable[[str], None]) -> None:
        """The verbs of every seed and task, and each task's own report where that is among them."""
        # Seed by seed: a suite that is stopped has the same seeds of all tasks, and so an average.
        for seed in self.seeds:
            for task, run in self.parts.items():
                for verb in verbs:
                    if verb != "report":
                        say(f"{task}, seed {seed}: {verb}")
                        getattr(run, verb)(seed)
        if "report" in verbs:
            for run in self.parts.values():
                run.report()

    def report(self) -> Json:
        """Write results.json, report.md and the figure; returns the results."""
        return report_suite(self.root)


def is_suite(root: Path) -> bool:
    """Whether a folder holds the runs of a suite."""
    return (root / SUITE_FILE).exists()


def report_suite(root: Path) -> Json:
    """The report of a suite's folder, from the files of its runs that have predictions."""
    saved: dict[str, Any] = read_json(root / SUITE_FILE)
    name, left_out = saved["suite"], dict(saved["left_out"])
    folders = {}
    for task in SUITES[name]:
        if any((root / task).glob("predictions/seed-*.json")):
            folders[task] = root / task
        elif task not in left_out:
            left_out[task] = "it has no predictions yet"
    if not folders:
        raise OCDError(f"{root}: no task of the suite has predictions yet")
    results = suite_results(name, folders, left_out, PAPER_SUITES.get(name, {}))
    figure = root / "figures" / "gains.png"
    draw_gains(results, figure)
    figures = {"What OCD gains, by set": "figures/gains.png"}
    write_text(root / "report.md", suite_markdown(results, figures))
    write_json(root / "results.json", results)
    write_page(root, suite_in_plain_words(results))
    return results
