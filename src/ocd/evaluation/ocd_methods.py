"""The rows of the table that are OCD: draws, ensembles, means, ablations, the second-best layer.

All share one trained generator, but for the alternative layer, which has its own. The names are keys of
results.json; a number at their end is that of the draws.
"""

from __future__ import annotations

from dataclasses import replace

from ocd.baselines import OCDVariant, UnchangedBase
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.method import Method, count_parameters


def ocd_methods(comparison: Comparison) -> dict[str, Method]:
    """The base and every variant of OCD that was fitted, by name, in the order of the table.

    The mean network stands after the ensemble, since it is made from the same draws.
    """
    ocd, draws = comparison.fits.main, comparison.settings.num_draws
    base_size = count_parameters(ocd.base)
    one = Method(
        OCDVariant(ocd), 1, base_size + count_parameters(ocd.fitted()[0]), _ocd_seconds(comparison)
    )
    many = replace(one, draws=draws)
    methods = {
        "base": Method(UnchangedBase(ocd.base), 1, base_size, comparison.seconds.get("base")),
        "ocd": one,
        f"ocd_ensemble_{draws}": many,
        f"ocd_mean_network_{draws}": replace(many, uses_mean_network=True),
    }
    for count in comparison.settings.other_draws:
        methods[f"ocd_ensemble_{count}"] = replace(many, draws=count)
    if _has_mean(comparison):
        methods["ocd_mean"] = replace(one, predictor=OCDVariant(ocd, "mean"))
    for name, other in comparison.fits.variants.items():
        methods[f"ocd_{name}_{draws}"] = replace(
            many, predictor=OCDVariant(other), training_seconds=comparison.seconds.get(name)
        )
    methods |= _ablations(comparison, one)
    if comparison.settings.has_paper_baselines:
        methods |= _alternative_layer(comparison)
    return methods


def _ablations(comparison: Comparison, one: Method) -> dict[str, Method]:
    """OCD without one of its parts. `one`: the method of one draw.

    Where a correction was trained beside the diffusion, each of the two is used alone. "no_scale" is
    the paper's ablation: deltas have the mean scale of the training deltas.
    """
    ocd, draws = comparison.fits.main, comparison.settings.num_draws
    methods = {}
    if ocd.fitted()[0].correction is not None:  # which of the two parts is it that helps?
        diffusion = OCDVariant(ocd, part="diffusion")
        methods[f"ocd_without_correction_{draws}"] = replace(one, predictor=diffusion, draws=draws)
        mode = "mean" if _has_mean(comparison) else "draws"
        correction = OCDVariant(ocd, mode, part="correction")
        methods["correction_only"] = replace(one, predictor=correction)
    if comparison.settings.has_paper_baselines:
        methods["no_scale"] = replace(one, predictor=OCDVariant(ocd, use_mean_scale=True))
    return methods


def _alternative_layer(comparison: Comparison) -> dict[str, Method]:
    """OCD at the second-best layer, if it was fitted."""
    other, draws = comparison.fits.alternative, comparison.settings.num_draws
    if other is None:
        return {}
    size = count_parameters(comparison.fits.main.base) + count_parameters(other.fitted()[0])
    one = Method(OCDVariant(other), 1, size, comparison.seconds.get("alternative"))
    many = replace(one, draws=draws)
    return {"alternative_layer": one, f"alternative_layer_ensemble_{draws}": many}


def _has_mean(comparison: Comparison) -> bool:
    """Whether the generator predicts the clean code, so that it has a mean in one pass."""
    return comparison.fits.main.config.diffusion.prediction == "x0"


def _ocd_seconds(comparison: Comparison) -> float | None:
    """Seconds of everything that a fit of OCD takes; None where they are not known."""
    phases = [comparison.seconds.get(name) for name in ("select", "folds", "overfit", "train")]
    return sum(value for value in phases if value is not None) if phases[-1] else None
