"""Make results/*/README.md: `python tools/results_pages.py`. A test checks the committed pages.

A page is put together from `results.json` (verdict and table), from the figures that are there, from
the command in results/plan.toml, and from the hand-written `notes.md`: a title and comments.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ocd.reporting import joint_table, markdown_table, opening_lines
from results_plan import ROOT, read_plan

NOTES = re.compile(r"# (?P<title>.*?)\n+(?P<text>.*)", re.DOTALL)
CAPTIONS = {
    "views": (
        "Test views of the first seed, and where each image has its squared error (one scale for all)."
    ),
    "film": "Around the scene, from poses that are in no set: the base beside OCD's mean.",
    "voices_best": (
        "Spectrograms of the first seed's test mixture with OCD's largest gain: above the mixture, "
        "below its voices, as they are, as the base separates them, and as OCD does."
    ),
    "voices_median": "The same of the mixture whose gain is the median.",
    "voices_worst": "The same of the mixture with OCD's largest loss.",
    "draws": "Test examples of the first seed: the truth, the base's answer, and draws of it.",
    "crps_by_step": "The CRPS of each step of the answer by itself: lower is better.",
    "coverage": (
        "How many test targets the central intervals cover: on the diagonal as many as they claim."
    ),
    "comparison": (
        "The loss on the test examples against the time of a prediction, for every method that uses no "
        "test label."
    ),
    "base_vs_ocd": "Each dot is a test example: below the diagonal OCD's ensemble has the lower loss.",
    "worst_examples": (
        "The test examples with the largest base loss of the first seed; the triangles are the oracle, "
        "which uses the label."
    ),
    "risk_coverage": (
        "How often the base errs on its most certain answers, by the score that ranks them: lower is "
        "better."
    ),
    "layer_scores": (
        "Scores of Eq. 3 with standard errors: the layer with the largest entropy is chosen."
    ),
    "training": "The loss of the generator during training; long curves are running medians.",
}
"""Name of a figure -> its caption, in the order of a page."""
LEGEND = (
    "Mean ± standard deviation over the seeds, on the test examples; ↑ higher is better, ↓ lower is "
    "better; bold: the best of those that have all seeds and use no test label. What each row is:"
)


DRAWS_LEGEND = (
    "Energy score: how far draws lie from the truth less half of how far they lie apart. Energy "
    "score and CRPS are those of many draws of the kind. Covered: test answers that lie as a whole "
    "in the band of their draws, none of fewer than 20. Told from truth: by a classifier, 50 % is "
    "as good as true. Difference: in the energy score, positive where OCD is better."
)


def folders(root: Path = ROOT) -> list[Path]:
    """The folders below results/ that hold a run's results."""
    return sorted(path.parent for path in (root / "results").rglob("results.json"))


def page(folder: Path, root: Path = ROOT) -> str:
    """The page of a result folder. Raises SystemExit where notes.md is missing, or of another form."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    path = folder / "notes.md"
    notes = NOTES.fullmatch(path.read_text(encoding="utf-8")) if path.exists() else None
    if notes is None:
        raise SystemExit(f"write {path}: a title, and what the result says; then make the pages again")
    (planned,) = [one for one in read_plan(root) if root / "results" / one.folder == folder]
    up = "../" * len(folder.relative_to(root).parts)
    parts = [
        "<!-- Made by tools/results_pages.py from results.json and notes.md: change those. -->",
        f"# {notes['title']}",
        *opening_lines(results["verdict"]),
        f"```\n{planned.shown()}\n```",
        _what_was_run(results),
        _code(folder),
        "## Results",
        *_draws(results),
        markdown_table(results),
        f"{LEGEND} [docs/baselines.md]({up}docs/baselines.md).",
        "## Notes",
        notes["text"].strip(),
        "## Figures",
        *_figures(folder),
        "## More",
        "[report.md](report.md) has every metric, all comparisons, the costs and what was decided on "
        "the way; [results.json](results.json) has the values of each seed.",
    ]
    return "\n\n".join(parts) + "\n"


def _draws(results: dict[str, Any]) -> list[str]:
    """The table of draws of whole answers, where a task has such."""
    found = results.get("joint")
    if not found:
        return []
    return [joint_table(found), DRAWS_LEGEND, "The answers, which are the means of the draws:"]


def _what_was_run(results: dict[str, Any]) -> str:
    seeds, examples = results["seeds"], results["examples"]
    return (
        f"Task `{results['task']}`, preset `{results['preset']}`, layer `{results['layer']}`; "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}; "
        f"{examples['train']:,} training and {examples['test']:,} test examples."
    )


def _code(folder: Path) -> str:
    """Which code made it: `make results` writes that."""
    path = folder / "made.json"
    if not path.exists():
        return "Made by an earlier state of the program, before results named their code."
    made = json.loads(path.read_text(encoding="utf-8"))
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''} of a {made['device']}"
    return (
        f"Made by version {made['version']} (commit {made['commit'][:10]}) on {made['date']}, with "
        f"PyTorch {made['torch']} on {threads}."
    )


def _figures(folder: Path) -> list[str]:
    """The figures of a folder with their captions. Raises ValueError for a figure without one."""
    places = list(CAPTIONS)
    paths = sorted((folder / "figures").iterdir(), key=lambda path: places.index(path.stem))
    return [
        f"![{path.stem.replace('_', ' ')}](figures/{path.name})\n\n*{CAPTIONS[path.stem]}*"
        for path in paths
    ]


def write() -> None:
    """All pages."""
    for folder in folders():
        (folder / "README.md").write_text(page(folder), encoding="utf-8")


if __name__ == "__main__":
    write()
