"""The figure of a suite: what OCD gains over the base on each set, with intervals."""

from __future__ import annotations

from pathlib import Path

from ocd.evaluation import Json
from ocd.reporting.methods import title
from ocd.reporting.plotting import BLACK, SEED_COLOURS, canvas, legend, save
from ocd.reporting.plotting import title as set_title

MOST_SHOWN = 4
"""Methods beside each other, one draw and the ensembles first."""


def draw_gains(results: Json, path: Path) -> None:
    """Points above the base and 95 % intervals, one draw and ensembles of OCD beside each other."""
    methods = [m for m in results["gains"] if m.startswith("ocd")]
    wanted = [m for m in methods if m == "ocd" or "ensemble" in m or "moved" in m or "plain" in m]
    wanted = wanted[:MOST_SHOWN]
    sets = [*results["sets"], "average"]
    figure, axes = canvas(8, 0.5 * len(sets) * max(1, len(wanted)) * 0.6 + 1.2)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    for number, method in enumerate(wanted):
        of = results["gains"][method]
        for place, name in enumerate(sets):
            gain = of["average"] if name == "average" else of["sets"][name]
            height = -place - 0.18 * (number - (len(wanted) - 1) / 2)
            if gain["interval"] is not None:  # else there are too few texts
                axes.plot(gain["interval"], [height] * 2, color=SEED_COLOURS[number], linewidth=1.5)
            axes.plot(
                gain["difference"], height, "o", color=SEED_COLOURS[number], markersize=5,
                label=title(method) if place == 0 else None,
            )  # fmt: skip
    axes.set_yticks([-place for place in range(len(sets))])
    axes.set_yticklabels([name.removeprefix("setfit-") for name in sets])
    axes.set_xlabel("points above the base (accuracy; Matthews correlation for amazon-cf)")
    set_title(axes, "OCD against its base, by set, 95 % intervals")
    legend(axes, loc="best")
    save(figure, path)
