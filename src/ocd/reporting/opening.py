"""What is said first of a run: oddities of its data, that it was quick, whether its intervals are
right, the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from ocd.evaluation import Json
from ocd.reporting.methods import title
from ocd.reporting.records import RunRecords
from ocd.reporting.wording import counted

KINDS = {"alternative_layer": "the second-best layer of Eq. 3", "tent_": "Tent"}
"""The start of keys that are several rows of one kind, and what people read of all of them."""
RANKING = {"ndcg_10"}
"""Metrics of test examples that belong to queries."""


def quick_facts(run: RunRecords) -> Json:
    """What a quick run left out, and the sentence that says so; {} for any other run."""
    if not run.config.get("run_options", {}).get("quick"):
        return {}
    left_out = run.config.get("left_out", [])
    return {"left_out": left_out, "sentence": _quick_sentence(run.seeds, left_out)}


def _quick_sentence(seeds: list[int], left_out: list[str]) -> str:
    """What a quick run is, and what cannot be concluded from it."""
    listed = "; ".join(left_out_titles(left_out))
    number = "one seed" if len(seeds) == 1 else counted(seeds, "seed")
    without = f". Left out: {listed}" if listed else ""
    cannot = "how much another seed would change"
    if len(seeds) > 1:
        cannot = "how much seeds differ beyond these few"
    better = ", or whether one of what was left out does better than OCD" if listed else ""
    return (
        f"Quick run: {number}{without}. So it cannot say {cannot}{better}. OCD itself "
        "was fitted as in a full run."
    )


def data_facts(run: RunRecords) -> Json:
    """What makes results on a run's data doubtful, and the sentence that says so; {} for nothing."""
    found = [*run.config.get("data_warnings", []), *_unknown_groups(run)]
    if not found:
        return {}
    listed = "; ".join(found)
    return {"warnings": found, "sentence": f"Look at the data before you trust a figure: {listed}."}


def _unknown_groups(run: RunRecords) -> list[str]:
    """A line where test examples belong together, and the predictions are of a version that did not say
    which: they can be reported, but their intervals are too narrow."""
    if run.together is not None or None not in run.units:
        return []
    group = run.config.get("options", {}).get("group")
    if group is None and not RANKING & run.config["metrics"].keys():
        return []
    what = "of a query" if group is None else f"that share {group!r}"
    return [
        f"predictions of an earlier version do not know the test rows {what}: each is taken for "
        "evidence of its own, and intervals are too narrow (remove predictions/, and run again)"
    ]


def left_out_titles(methods: Sequence[str]) -> list[str]:
    """What people read of methods that a quick run left out, each kind of method once."""
    titles = []
    for method in methods:
        kind = next((text for key, text in KINDS.items() if method.startswith(key)), title(method))
        titles.append(kind)
    return list(dict.fromkeys(titles))


def opening_lines(verdict: Json) -> list[str]:
    """The first paragraphs of a report, which the command prints too. `verdict`: of results.json."""
    parts = ("data", "quick", "distribution", "joint", "asked")
    said = (verdict.get(part, {}).get("sentence") for part in parts)
    first = [text for text in said if text]
    return [*first, verdict["sentence"]]
