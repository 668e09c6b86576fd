"""A quick run's end: what the full run would add, and about how long it would take here.

    for line in quick_lines(run, run.full_options, "ocd run digits --seeds 0,1,2"):
        print(line)

Times are estimates from the phases that the quick run has timed. How long each thing that was left out
takes, in units of these, was measured on the tasks of this package (results/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocd.baselines import DRAWN
from ocd.errors import OCDError
from ocd.reporting import left_out_titles
from ocd.runs.settings import RunOptions

if TYPE_CHECKING:
    from ocd.runs.folder import RunFolder

FULL_SEEDS = (0, 1, 2)
"""Seeds of the full run: the paper repeats its experiments three times."""
OF_TRAINING = {
    "delta_regression": 0.6, "label_head": 0.55, "label_network": 0.45,
    "gaussian_head": 0.8, "quantile_head": 1.6, "output_diffusion": 1.4,
}  # fmt: skip
"""Trained baselines: their training in units of the generator's; 0.35 to 1.8 were measured."""
OTHER_BASE = 4.0
"""Another kind of base (a ResNet): its training in units of the base's."""
FULL_PREDICTION = 1.6
"""Prediction with all methods, in units of a quick run's."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of one seed of the full run, and bases whose training was not timed in the quick one."""

    seconds: float
    untimed: list[str]


def check_one_seed(seeds: Sequence[int]) -> None:
    """Raises OCDError for several seeds: a quick run has one."""
    if len(seeds) > 1:
        listed = ",".join(map(str, seeds))
        raise OCDError(f"a quick run has one seed, not {listed}: leave out --quick, or give one seed")


def left_out(run: RunFolder, full: RunOptions) -> list[str]:
    """The rows that the table of the full run would have and this run's has not, by key."""
    ours = set(_rows(run, run.run_options))
    return [name for name in _rows(run, full) if name not in ours]


def _rows(run: RunFolder, options: RunOptions) -> list[str]:
    """The rows of a table that depend on what a run is compared with.

    ocd.evaluation makes them from a fitted OCD, and a quick run has to name them before it has one: a
    test compares the two.
    """
    task, large = run.task, run.task.make_excerpt(run.options) is not None
    has_encoder = options.encode_x and task.make_encoder(run.options, run.base_data) is not None
    rows = []
    if options.baselines in ("all", "more", "paper"):
        if options.alternative:
            rows += ["alternative_layer", f"alternative_layer_ensemble_{options.num_draws}"]
        rows += ["no_scale", "nearest_neighbor"]
        rows += ["tent_1", "tent_10", "tent_30"] if task.classifies else []
        rows += [] if large else ["overfit_test_all_layers"]
    if options.baselines in ("all", "more"):
        rows += ["random_direction", "delta_regression"]
        rows += [] if large else ["label_head"]
        rows += ["label_network"] if has_encoder and not large else []
        rows += [f"deep_ensemble_{options.num_bases}"] if options.num_bases > 1 else []
        rows += [*task.other_bases]
        drawn = task.compose is not None
        rows += [*DRAWN] if drawn else []
        rows += [f"mc_dropout_{options.num_draws}"] if task.has_distribution or drawn else []
    return rows


def estimate(run: RunFolder, full: RunOptions, seed: int) -> Estimate:
    """How long a seed of the full run takes, from what this seed of the quick run took."""
    seconds = run.phase_seconds(seed)
    known = {phase: value for phase, value in seconds.items() if value is not None}
    training, base = known.get("train", 0.0), known.get("base")
    missing = left_out(run, full)
    total = sum(known.values()) + (FULL_PREDICTION - 1) * known.get("predict", 0.0)
    if "alternative_layer" in missing:
        total += known.get("overfit", 0.0) + training
    total += sum(share * training for kind, share in OF_TRAINING.items() if kind in missing)
    bases = {name: OTHER_BASE for name in run.task.other_bases if name in missing}
    bases |= {name: full.num_bases - 1 for name in missing if name.startswith("deep_ensemble_")}
    if base is None:  # it was loaded from a file
        return Estimate(total, [*bases])
    return Estimate(total + base * sum(bases.values()), [])


def quick_lines(run: RunFolder, full: RunOptions, command: str) -> list[str]:
    """What a person reads at the end of a quick run, a few lines.

    `full`: the options that the run would have, were it not quick. `command`: that of the full run.
    """
    seed = run.wanted[0]
    took = sum(value for value in run.phase_seconds(seed).values() if value is not None)
    of_seed = estimate(run, full, seed)
    more = [str(other) for other in FULL_SEEDS if other != seed][: len(FULL_SEEDS) - 1]
    lines = [
        f"This was a quick run: one seed and few baselines, {duration(took)}. The full run adds:",
        f"- seeds {' and '.join(more)}, for an interval over seeds too",
    ]
    if titles := left_out_titles(left_out(run, full)):
        lines.append(f"- more to compare with: {'; '.join(titles)}")
    without = ""
    if of_seed.untimed:
        listed = " and ".join(left_out_titles(of_seed.untimed))
        without = f", and the training of {listed}, which this run has not timed"
    total = duration(len(FULL_SEEDS) * of_seed.seconds)
    return [*lines, f"It takes {total} on this machine{without}:", f"  {command}", *_about_layer(run)]


def _about_layer(run: RunFolder) -> list[str]:
    """Which layer was moved, why, and how to move another one."""
    named = run.config.layer
    how = "Eq. 3 chose the layer" if named == "auto" else f"The layer {named} was named, not chosen"
    return [
        f"{how}: --set layer=auto lets Eq. 3 choose it, --set layer=NAME names one. The scores of all",
        'layers are in the report, under "Layer scores"; `ocd select DIR` makes these alone.',
    ]


def duration(seconds: float) -> str:
    """A time as people say it, rounded: "about 40 seconds", "about 6 minutes", "about 2.5 hours"."""
    if seconds < 55:
        count = max(1, round(seconds, -1 if seconds >= 10 else 0))
        unit = "second"
    elif seconds < 90 * 60:
        minutes = seconds / 60
        count = max(1, round(minutes) if minutes < 20 else 5 * round(minutes / 5))
        unit = "minute"
    else:
        return f"about {seconds / 3600:.1f} hours"
    return f"about {count:.0f} {unit}{'' if count == 1 else 's'}"
