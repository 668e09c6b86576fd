"""The methods of a report: their order in its tables, their titles, and their group.

A method's key in results.json, such as `ocd_ensemble_5`, is matched by a pattern; its title is what
people read. There are four groups: the base, OCD with its variants, the baselines that OCD has to
beat, and the oracle, which uses the test label and shows what is possible. To add a method, add a
line to METHODS.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ocd.reporting.wording import words

BASE, OWN, BASELINES, ORACLES = "base", "OCD", "baselines", "oracle (uses the test label)"
METHODS = (  # the tables' order: the group, a pattern of the key, and what people read
    (BASE, r"base", "base"),
    (OWN, r"ocd", "OCD, one draw"),
    (OWN, r"ocd_ensemble_(\d+)", "OCD, ensemble of {} draws"),
    (OWN, r"ocd_mean_network_(\d+)", "OCD, mean network of {} draws"),
    (OWN, r"ocd_expected_rank_(\d+)", "OCD, by mean place in {} draws"),
    (OWN, r"ocd_mean", "OCD, mean in one pass"),
    (OWN, r"ocd_plain_(\d+)", "OCD as in 0.1, ensemble of {} draws"),
    (OWN, r"ocd_common_(\d+)", "OCD, seen lessons and common move, {} draws"),
    (OWN, r"ocd_unseen_(\d+)", "OCD, unseen lessons, no common move, {} draws"),
    (OWN, r"ocd_both_(\d+)", "OCD, unseen lessons and common move, {} draws"),
    (OWN, r"ocd_moved_(\d+)", "OCD, moved in any case, {} draws"),
    (OWN, r"ocd_without_correction_(\d+)", "OCD without the correction, {} draws"),
    (OWN, r"correction_only", "the correction alone, no diffusion"),
    (OWN, r"no_scale", "OCD without predicted scale"),
    (OWN, r"alternative_layer", "alternative layer, one draw"),
    (OWN, r"alternative_layer_ensemble_(\d+)", "alternative layer, ensemble of {} draws"),
    (BASELINES, r"nearest_neighbor", "nearest training example's delta"),
    (BASELINES, r"mean_delta", "mean training delta for all inputs"),
    (BASELINES, r"random_direction", "random direction, OCD's scale"),
    (BASELINES, r"delta_regression", "delta by regression, no diffusion"),
    (BASELINES, r"fine_tuned_layer", "layer fine-tuned once for all inputs"),
    (BASELINES, r"fine_tuned_base", "all layers fine-tuned"),
    (BASELINES, r"label_head", "head trained on labels, added to base"),
    (BASELINES, r"label_network", "network trained on labels, no base"),
    (BASELINES, r"label_network_equal_time", "label network, trained as long as OCD"),
    (BASELINES, r"gaussian_head", "head of normal distributions"),
    (BASELINES, r"quantile_head", "head of quantiles"),
    (BASELINES, r"output_diffusion", "conditional diffusion of the output"),
    (BASELINES, r"tent_(\d+)", "Tent, iterations: {}"),
    (BASELINES, r"renewed_statistics", "batch norm statistics taken anew"),
    (BASELINES, r"temperature", "temperature scaling"),
    (BASELINES, r"laplace", "last-layer Laplace"),
    (BASELINES, r"deep_ensemble_(\d+)", "deep ensemble of {} bases"),
    (BASELINES, r"mc_dropout_(\d+)", "Monte Carlo dropout, {} draws"),
    (BASELINES, r"resnet", "ResNet in the base's place"),
    (BASELINES, r"boosting", "boosted trees"),
    (BASELINES, r"nearest_labels", "nearest neighbours in the base's features"),
    (ORACLES, r"overfit_test", "overfitted on each test example"),
    (ORACLES, r"overfit_test_all_layers", "overfitted in all layers"),
)
GROUPS = (BASE, OWN, BASELINES, ORACLES)
OWN_VARIANTS = (
    r"(ocd|correction_only|no_scale|alternative_layer)(_.*)?"  # also those that no table lists
)


def uses_label(methods: Collection[str], declared: Collection[str]) -> list[str]:
    """Those of the methods that see the test label: declared in the run, or known for it."""
    known = {name for name in methods if _entry(name)[1] == ORACLES}
    return [name for name in methods if name in known or name in declared]


def group(method: str, with_label: Collection[str]) -> str:
    """Of these the baselines are what OCD has to beat: all but the base, its own and the oracles."""
    if method in with_label:
        return ORACLES
    if method == "base":
        return BASE
    return OWN if re.fullmatch(OWN_VARIANTS, method) else BASELINES


def table_order(method: str, with_label: Collection[str]) -> tuple[int, int, int]:
    """Sorts by group, place in the table and number; unknown ones come last in their group."""
    return GROUPS.index(group(method, with_label)), _entry(method)[0], number(method)


def number(method: str) -> int:
    """The count at the end of the key, such as the draws of ocd_ensemble_5; else 0."""
    digits = re.search(r"_(\d+)$", method)
    return int(digits[1]) if digits else 0


def title(method: str) -> str:
    """What people read in place of the method's key."""
    text = _entry(method)[2]
    return text.format(number(method))


def _entry(method: str) -> tuple[int, str, str]:
    for place, (side, pattern, text) in enumerate(METHODS):
        if re.fullmatch(pattern, method):
            return place, side, text
    return len(METHODS), BASELINES, words(method)
