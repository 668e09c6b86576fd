"""The table of `ocd condition`: what a generator reaches with only some of the condition.

It compares generators that were trained on the same deltas and differ in what they see: x, I(x), or
single parts of I(x). Intervals are those of a paired bootstrap over test examples, or the groups they
are in, and seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ocd.evaluation import TOGETHER, paired_bootstrap
from ocd.reporting.evidence import Evidence
from ocd.reporting.tables import grid

TITLES = {
    "base": "base, no generator",
    "all": "all: i_L, a_L, f(x) and x",
    "x": "x alone",
    "I(x)": "I(x) alone: i_L, a_L and f(x), the paper's",
    "layer input": "i_L alone",
    "layer output": "a_L alone",
    "output": "f(x) alone",
    "x, output": "x and f(x)",
}


def condition_table(values: dict[str, Any]) -> str:
    """Markdown: mean loss over seeds and test examples, and the share of the base's that is gained.

    `values`: of condition.json; its "together" and "unit" say which test examples are one piece of
    evidence, where some are (ocd.reporting.evidence).
    """
    variants = values["variants"]
    base = np.array([seed["draw"] for seed in variants["base"]])
    together = None if values.get(TOGETHER) is None else np.array(values[TOGETHER])
    evidence = Evidence.of(base.shape[1], together, values.get("unit") or "group")
    rows = []
    for name, title in TITLES.items():
        if name not in variants or len(variants[name]) < len(base):
            continue
        draws = np.array([seed["draw"] for seed in variants[name]])
        cells = [title, f"{draws.mean():.5g}"]
        if name == "base":
            rows.append([*cells, "", "", ""])
            continue
        ends = paired_bootstrap((base - draws)[None], together=together)[0]
        low, high = 100 * ends / base.mean()
        cells.append(f"{100 * (draws.mean() / base.mean() - 1):+.1f} %")
        cells.append(f"{-high:+.1f} to {-low:+.1f} %" if evidence.is_enough else "—")
        if all("mean" in seed for seed in variants[name]):
            means = np.array([seed["mean"] for seed in variants[name]])
            cells.append(f"{100 * (means.mean() / base.mean() - 1):+.1f} %")
        rows.append([*cells, *[""] * (5 - len(cells))])
    header = [
        "what the generator sees",
        "loss of one draw",
        "against the base",
        "95 % interval",
        "mean",
    ]
    seeds = ", ".join(map(str, values["seeds"]))
    return (
        f"# Which parts of the condition matter: `{values['task']}`, seeds {seeds}\n\n"
        f"{grid(header, rows)}\n\nEach row is a generator of its own, trained on the same deltas with "
        "the settings of the run; mean loss of the test examples; intervals of a paired bootstrap over "
        f"{evidence.over} and seeds.{'' if evidence.is_enough else f' {evidence.sentence}'}\n"
    )
