"""Draws as a distribution of a continuous target: the table, who is better, and the figure.

Whether its intervals are right is said first of all in a report (ocd.reporting.coverage).

Each method that gives a distribution is judged by its CRPS (lower is better), by how many test
targets its central 50 and 90 % intervals cover, and by how wide these are. The numbers come from a
seed's predictions file (ocd.evaluation.distributions); nothing is predicted here.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from ocd.evaluation import Json
from ocd.reporting.compared_draws import OURS, compared_draws
from ocd.reporting.evidence import intervals_over
from ocd.reporting.plotting import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILION, canvas, legend, title
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import grid
from ocd.reporting.verdict import statement_of
from ocd.reporting.wording import decimals, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN = "base_conformal"
TITLES = {
    OURS: "OCD's draws",
    PLAIN: "base with split-conformal residuals",
    "boosting_conformal": "boosted trees with split-conformal residuals",
    "deep_ensemble": "deep ensemble, normal distribution of its members",
    "mc_dropout": "Monte Carlo dropout",
}
COVERAGES = tuple(range(5, 100, 5))  # as in tasks/distributions.py, which the report does not import
LEGEND = (
    "CRPS: the continuous ranked probability score in the target's unit, which rewards a distribution "
    "that is narrow and right; that of a single answer is its absolute error. Coverage: test targets "
    "within the central 90 (50) % of the distribution; width: of that interval, on average. 100 draws "
    "or quantiles each, judged as they are: more of them would have a little less. Difference: in "
    "CRPS, positive where OCD is better, with the 95 % interval of a paired bootstrap over {over}."
)


def distribution_results(run: RunRecords) -> Json:
    """Name -> the numbers of each seed, and OCD's difference in CRPS; {} where nothing was judged."""
    found = compared_draws(run, "distribution", "crps")
    return {name: found[name] for name in sorted(found, key=_place)}


def distribution_section(results: Json) -> list[str]:
    """The paragraphs "Predictive distribution"; none where nothing was judged."""
    found = results.get("distribution")
    if not found:
        return []
    legend = LEGEND.format(over=intervals_over(results))
    return ["## Predictive distribution", *_sentence(found), _table(found), legend]


def _sentence(found: Json) -> list[str]:
    against = found.get(PLAIN, {}).get("against")
    if not against:
        return []
    says = statement_of(against["interval"])
    ours, theirs = (mean(found[name]["crps"]) for name in (OURS, PLAIN))
    places = decimals([ours, theirs])
    ends = ""
    if against["interval"]:
        low, high = against["interval"]
        ends = f", {low:+.{places}f} to {high:+.{places}f}"
    return [
        f"Against the base with split-conformal residuals, one width for all: {says}, CRPS "
        f"{theirs:.{places}f} → {ours:.{places}f} ({100 * (ours / theirs - 1):+.1f} %; difference "
        f"{against['difference']:+.{places}f}{ends})."
    ]


def _table(found: Json) -> str:
    rows = []
    places = decimals([value for of in found.values() for value in of["crps"]])
    for name, of in found.items():
        against = of.get("against")
        cells = [f"{distribution_title(name)} `{name}`", spread(of["crps"], places)]
        for level in (90, 50):
            cells += [spread(of[f"coverage_{level}"], 1), spread(of[f"width_{level}"], places)]
        if against and against["interval"]:
            low, high = against["interval"]
            ends = f"({low:+.{places}f} to {high:+.{places}f})"
            cells.append(f"{against['difference']:+.{places}f} {ends}")
        else:
            cells.append("—")
        rows.append(cells)
    header = ["distribution", "CRPS ↓", "covered by 90 % [%]", "width", "by 50 % [%]", "width"]
    return grid([*header, "difference"], rows)


def distribution_title(name: str) -> str:
    """What people read in place of a distribution's key."""
    return next((text for key, text in TITLES.items() if name.startswith(key)), name)


def _place(name: str) -> int:
    """In the order of the titles; others come last."""
    return next((place for place, key in enumerate(TITLES) if name.startswith(key)), len(TITLES))


def draw_coverage(found: Json) -> Figure:
    """What central intervals cover against what they claim: on the diagonal, if calibrated."""
    figure, axes = canvas(5.6, 5.2)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
    for (name, of), colour in zip(found.items(), (BLUE, BLACK, VERMILION, GREEN, PURPLE), strict=False):
        curve = [mean(values) for values in zip(*of["coverages"], strict=True)]
        width = 2.4 if name == OURS else 1.4
        axes.plot(COVERAGES, curve, label=distribution_title(name), linewidth=width, color=colour)
    axes.set(xlabel="central interval of the distribution [%]", ylabel="test targets within [%]")
    axes.set(xlim=(0, 100), ylim=(0, 100))
    title(axes, "Do intervals cover what they claim?")
    legend(axes, loc="upper left")
    return figure
