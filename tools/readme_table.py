"""Put the committed results into README.md and docs/draws.md: `python tools/readme_table.py`. A test
checks it. Results whose draws are judged as whole answers are in docs/draws.md, others in README.md:
there, one line for each: the task's loss of the base, of OCD's ensemble, of the oracle and of the best
baseline that costs at most as much as OCD, and what can be said of the differences.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- table: (results|draws) -->\n.*?<!-- end -->", re.DOTALL)
RESULTS = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-noise": "mnist-noise",
    "images/cifar10-jpeg": "cifar10, JPEG copies",
    "images/cifar10-original": "cifar10, originals",
    "images/cifar10-original-seeds": "the same",
    "images/tiny-imagenet": "tiny-imagenet",
    "nerf/lego": "nerf-lego",
    "nerf/hotdog": "nerf-hotdog",
    "nerf/drums": "nerf-drums",
    "speech/voices-2": "voices-mix, two",
    "tabular/california": "california",
    "tabular/ltr": "ltr",
    "text/cr": "setfit-cr",
    "text/sst5": "setfit-sst5",
    "text/amazon-cf": "setfit-amazon-cf",
}
"""Folder below results/ -> its name in the table."""
DRAWS = {
    "draws/completion": "completion",
    "draws/series-24": "series, 24 steps",
    "draws/series-96": "series, 96 steps",
}
"""The same of docs/draws.md."""
DRAWS_HEAD = (
    "task (seeds)",
    "base alone",
    "base + residuals",
    "nearest residuals",
    "output diffusion",
    "OCD's draws",
    "against base + residuals",
    "against the output diffusion",
)
HEAD = (
    "task (loss, seeds)",
    "base",
    "OCD",
    "oracle",
    "best baseline of at most equal cost",
    "OCD against the base",
    "against that baseline",
)
ORACLE = "overfit_test"


def table(root: Path = ROOT) -> str:
    """The table of all results, from results/*/results.json below `root`."""
    rows = [_row(folder, name, root) for folder, name in RESULTS.items()]
    rule = ["---", *["---:"] * 3, *["---"] * 3]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEAD, rule, *rows))


def _row(folder: str, name: str, root: Path) -> list[str]:
    results = json.loads((root / "results" / folder / "results.json").read_text(encoding="utf-8"))
    verdict = results["verdict"]
    loss, ensemble = verdict["metric"], verdict["comparison"].removesuffix(" vs base")

    def value(method: str) -> str:
        return _number(mean(results["methods"][method][loss]))

    # Of what OCD is set against, the base comes first, then the best of at most equal cost.
    others = [found for found in verdict["against"][1:] if "at most equal cost" in found["why"]]
    words, seeds = loss.replace("_", " "), len(results["seeds"])
    return [
        f"[{name}](results/{folder}/README.md) ({words}, {seeds})",
        *(value(method) for method in ("base", ensemble, ORACLE)),
        f"{value(_method(others[0], results))}: {others[0]['title']}" if others else "none in this run",
        _said(verdict),
        _said(others[0]) if others else "–",
    ]


def draws_table(root: Path = ROOT) -> str:
    """The energy scores of every way to draw whole answers."""
    rows = []
    for folder, name in DRAWS.items():
        results = json.loads((root / "results" / folder / "results.json").read_text(encoding="utf-8"))
        found = results["joint"]
        cells = [f"[{name}](../results/{folder}/README.md) ({len(results['seeds'])})"]
        order = ("base", "base_residuals", "nearest_residuals", "output_diffusion", "ocd")
        cells += [f"{mean(found[method]['energy']):.4f}" for method in order]
        cells += [_drawn(found, method) for method in ("base_residuals", "output_diffusion")]
        rows.append(cells)
    rule = ["---", *["---:"] * 5, *["---"] * 2]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (DRAWS_HEAD, rule, *rows))


def _drawn(found: dict[str, Any], method: str) -> str:
    """By how many per cent OCD's energy score is lower, with the interval of the difference."""
    ours, theirs = (mean(found[name]["energy"]) for name in ("ocd", method))
    low, high = found[method]["against"]["interval"]
    return f"{100 * (ours / theirs - 1):+.1f} %, {low:+.4f} to {high:+.4f}"


def _method(against: dict[str, Any], results: dict[str, Any]) -> str:
    """The key of the method that OCD is set against."""
    return next(
        text for text in against.values() if isinstance(text, str) and text in results["methods"]
    )


def _said(found: dict[str, Any]) -> str:
    """`gain, +0.0174 to +0.0278`: the statement and the 95 % interval of the difference."""
    places = max(4, _places(found["difference"]))
    low, high = (f"{end:+.{places}f}" for end in found["interval"])
    return f"{found['statement']}, {low} to {high}"


def _number(value: float) -> str:
    """Three digits that count, at most seven decimals: 0.0406, 0.00543."""
    return f"{value:.{min(7, max(0, _places(value)))}f}"


def _places(value: float) -> int:
    """The decimals that show three digits of a value."""
    return 2 - math.floor(math.log10(abs(value))) if value else 2


def filled(text: str, root: Path = ROOT) -> str:
    """The text with its `<!-- table: ... -->` block made from what is committed."""
    tables = {"results": table, "draws": draws_table}
    return BLOCK.sub(
        lambda block: f"<!-- table: {block[1]} -->\n{tables[block[1]](root)}\n<!-- end -->", text
    )


if __name__ == "__main__":
    for page in (ROOT / "README.md", ROOT / "docs" / "draws.md"):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
