"""All results in one picture, results/gains.png: `python tools/results_figure.py`.

A gain is in per cent of the loss that OCD is set against. Of a loss in decibels it is the share of the
error's energy; of whole answers it is in the energy score, against base + residuals and against a
conditional diffusion of the output; of draws of a number, where these were the goal, in the CRPS,
against base and boosted trees with conformal residuals.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

from ocd.reporting.plotting import BLUE, GREY, VERMILION, canvas, legend, save
from results_plan import ROOT, Planned, made
from results_tables import Json, read_results, rival_of

FIGURE = ROOT / "results" / "gains.png"
SHOWN = (-50.0, 90.0)
"""Per cent that the axis shows; what is beyond gets an arrow."""
Gain = tuple[float, float, float]
"""Per cent, and the ends of its 95 % interval."""


def gains(planned: Planned, results: Json) -> tuple[Gain | None, Gain | None]:
    """Over the base, and over the best baseline of at most equal cost where the run has one."""
    if results.get("joint"):
        rivals = ("base_residuals", "output_diffusion")
        first, second = (_of_draws(results["joint"], name, "energy") for name in rivals)
        return first, second
    if planned.settings.get("goal") == "distribution":
        rivals = ("base_conformal", "boosting_conformal")
        first, second = (_of_draws(results["distribution"], name, "crps") for name in rivals)
        return first, second
    verdict, rival = results["verdict"], rival_of(results)
    return _of(results, "base", verdict), _of(results, rival["baseline"], rival) if rival else None


def _of(results: Json, method: str, found: Json) -> Gain | None:
    """None where there are too few test examples for an interval."""
    if found["interval"] is None:
        return None
    metric = results["verdict"]["metric"]
    values = (found["difference"], *found["interval"])
    if "si_sdr" in metric:
        first, low, high = (100 * (1 - 10 ** (-value / 10)) for value in values)
    else:
        loss = mean(results["methods"][method][metric])
        first, low, high = (100 * value / loss for value in values)
    return first, low, high


def _of_draws(found: Json, method: str, score: str) -> Gain | None:
    """As `_of`, of draws."""
    if found[method]["against"]["interval"] is None:
        return None
    loss = mean(found[method][score])
    difference = loss - mean(found["ocd"][score])
    low, high = found[method]["against"]["interval"]
    return 100 * difference / loss, 100 * low / loss, 100 * high / loss


def write() -> None:
    """The picture of what is committed."""
    planned = made()[::-1]
    figure, axes = canvas(8, 0.34 * len(planned) + 1.4)
    axes.axvline(0, color=GREY, linewidth=1)
    for row, one in enumerate(planned):
        over = gains(one, read_results(one))
        for shift, colour, gain in zip((0.14, -0.14), (BLUE, VERMILION), over, strict=True):
            if gain is not None:
                _mark(axes, row + shift, colour, gain)
    axes.set_yticks(range(len(planned)), [one.name for one in planned])
    axes.set_xlim(*SHOWN)
    axes.set_xlabel("gain in per cent of the other's loss, 95 % interval (right: OCD is better)")
    for colour, label in ((BLUE, "over the base"), (VERMILION, "over the best baseline of equal cost")):
        axes.plot([], [], "o-", color=colour, label=label, markersize=4)
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
    save(figure, FIGURE)


def _mark(axes: Any, height: float, colour: str, gain: Gain) -> None:
    """A dot with its interval; an arrow at the edge where it lies outside."""
    inside = [max(SHOWN[0], min(SHOWN[1], value)) for value in gain]
    axes.plot(inside[1:], [height, height], color=colour, linewidth=1.5)
    marker = "o" if inside[0] == gain[0] else (">" if gain[0] > 0 else "<")
    axes.plot(inside[0], height, marker, color=colour, markersize=4)


if __name__ == "__main__":
    write()
