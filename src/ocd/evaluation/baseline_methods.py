"""The rows of the table that are baselines. What is cheap to fit is fitted here, and timed.

To add a baseline that is fitted in seconds, write it in `ocd.baselines` and add its row here:

    table.add_fitted("my_baseline", lambda: Method(fit_mine(base, labelled), 1, size))

The name is its key in results.json. One that takes longer is trained in a run (ocd.runs.baselines), and
comes in as a part of `FittedBaselines`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from ocd.baselines import (
    DRAWN,
    DeepEnsemble,
    MCDropout,
    NearestNeighbor,
    OverfitTest,
    OverfitTestAllLayers,
    RandomDirection,
    Tent,
    UnchangedBase,
    base_outputs,
    fit_boosting,
    fit_laplace,
    fit_nearest_labels,
    fit_renewed_statistics,
    fit_temperature,
    has_batch_norms,
    mean_delta,
    network_kind,
)
from ocd.data import Inputs, to_device
from ocd.errors import OCDError
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.method import Method, MethodTable, count_parameters
from ocd.evaluation.ocd_methods import ocd_methods

TENT_ITERATIONS = (1, 10, 30)
"""As in the paper."""
USES_LABEL = ("overfit_test", "overfit_test_all_layers")
"""The methods that are given the test labels: the oracles."""


def prepare_methods(comparison: Comparison) -> MethodTable:
    """Every method of the table, ready to predict.

    Learning rates, temperature, Laplace, the mean delta and boosted trees are fitted here. A method
    that raises an OCDError is left out, with its reason.
    """
    table = list_methods(comparison)
    for name in table.names:
        table.fit(name)
    return table


def list_methods(comparison: Comparison) -> MethodTable:
    """The same, but what has to be fitted is fitted when it is asked for."""
    settings = comparison.settings
    table = MethodTable(ocd_methods(comparison), skipped=dict(comparison.baselines.skipped))
    if settings.has_paper_baselines:
        _add_paper_baselines(comparison, table)
    _add_oracles(comparison, table)
    if settings.has_further_baselines:
        random = replace(table.methods["ocd"], predictor=RandomDirection(comparison.fits.main))
        table.methods["random_direction"] = random
    if settings.has_cheap_baselines:
        _add_mean_delta(comparison, table)
        _add_trained_baselines(comparison, table)
        _add_calibrated_bases(comparison, table)
        _add_other_bases(comparison, table)
    table.leave_out(comparison.baselines.skipped)
    return table


def _add_paper_baselines(comparison: Comparison, table: MethodTable) -> None:
    """The paper's baselines without a training: the nearest neighbour in x, and Tent (classifiers)."""
    ocd, overfit, criteria = comparison.fits.main, comparison.fits.overfit, comparison.criteria
    _, frozen = ocd.fitted()
    size = count_parameters(ocd.base)
    examples = comparison.training.examples
    neighbour = NearestNeighbor(
        frozen, criteria.loss, overfit, examples, ocd.excerpt, comparison.fits.stored,
        _features(comparison),
    )  # fmt: skip
    table.methods["nearest_neighbor"] = Method(neighbour, 1, size)
    for count in TENT_ITERATIONS:
        if criteria.classifies:
            table.methods[f"tent_{count}"] = Method(Tent(ocd.base, frozen.name, count), 1, size)
        else:
            table.skipped[f"tent_{count}"] = "Tent minimises the entropy of classes"
    if criteria.classifies:
        table.notes.append(Tent(ocd.base, frozen.name).what_moves())


def _features(comparison: Comparison) -> Callable[[Inputs], Tensor] | None:
    """Features of the base in which inputs are near each other, if the task names such."""
    of = comparison.criteria.neighbours
    return None if of is None else partial(of, comparison.fits.main.base)


def _add_oracles(comparison: Comparison, table: MethodTable) -> None:
    """The paper's oracles, without labels yet. The rate for all layers comes from training examples."""
    ocd, overfit, loss = comparison.fits.main, comparison.fits.overfit, comparison.criteria.loss
    _, frozen = ocd.fitted()
    table.oracles["overfit_test"] = OverfitTest(frozen, loss, overfit, None, ocd.excerpt)
    if not comparison.settings.has_paper_baselines:
        return

    def every_layer() -> OverfitTestAllLayers:
        if ocd.excerpt is not None:
            raise OCDError("all layers are overfitted on whole examples, and these are too large")
        inputs, targets = comparison.training.examples.rows(slice(0, 64))
        inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
        every = OverfitTestAllLayers(ocd.base, loss, overfit, None).with_chosen_lr(inputs, targets)
        table.notes.append(f"all layers overfitted with lr {every.config.lr:g}")
        return every

    table.add_oracle("overfit_test_all_layers", every_layer)


def _add_mean_delta(comparison: Comparison, table: MethodTable) -> None:
    """The mean of the training deltas: of all if the run keeps them; else some are made again."""
    ocd, overfit, stored = comparison.fits.main, comparison.fits.overfit, comparison.fits.stored
    _, frozen = ocd.fitted()
    size, examples = count_parameters(ocd.base), comparison.training.examples

    def shared() -> Method:
        loss = comparison.criteria.loss
        mean = mean_delta(frozen, loss, overfit, examples, excerpt=ocd.excerpt, stored=stored)
        return Method(mean, 1, size, None if stored is None else comparison.seconds.get("overfit"))

    table.add_fitted("mean_delta", shared)


def _add_trained_baselines(comparison: Comparison, table: MethodTable) -> None:
    """The trained baselines, with the numbers that they need and the seconds that they took.

    All but the label network need the base too.
    """
    base_size = count_parameters(comparison.fits.main.base)
    for kind, baseline in comparison.baselines.trained.items():
        size = 0 if network_kind(kind) == "label_network" else base_size
        if kind != "fine_tuned_layer":  # its weight takes the place of the base's
            size += baseline.num_parameters
        seconds = comparison.seconds.get(kind)
        if kind == "delta_regression" and seconds is not None:  # it needs the overfitted deltas too
            seconds += comparison.seconds.get("overfit") or 0.0
        draws = comparison.settings.num_draws if kind in DRAWN else 1
        table.methods[kind] = Method(baseline, draws, size, seconds)


def _add_calibrated_bases(comparison: Comparison, table: MethodTable) -> None:
    """The base with a temperature, with a Laplace approximation of its last layer, and with batch norm
    statistics taken anew.

    The first two are fitted on labels, also where OCD learned from other targets.
    """
    base, loss = comparison.fits.main.base, comparison.criteria.loss
    size, labelled = count_parameters(base), comparison.training.with_labels
    table.add_fitted("temperature", lambda: Method(fit_temperature(base, loss, labelled), 1, size))

    if has_batch_norms(base):
        renewed = partial(fit_renewed_statistics, base, labelled)
        table.add_fitted("renewed_statistics", lambda: Method(renewed(), 1, size))

    def laplace() -> Method:
        fitted = fit_laplace(base, loss, labelled)
        return Method(fitted, comparison.settings.num_draws, size + fitted.eigenvectors.numel())

    table.add_fitted("laplace", laplace)


def _add_other_bases(comparison: Comparison, table: MethodTable) -> None:
    """Other models in place of the base: an ensemble, other kinds of base, trees, dropout as draws."""
    base, settings, seconds = comparison.fits.main.base, comparison.settings, comparison.seconds
    size, labelled = count_parameters(base), comparison.training.with_labels
    if bases := comparison.baselines.ensemble:
        count = len(bases)
        together = Method(DeepEnsemble(bases), count, count * size, seconds.get("deep_ensemble"))
        table.methods[f"deep_ensemble_{count}"] = together
    for name, other in comparison.baselines.other_bases.items():
        table.methods[name] = Method(
            UnchangedBase(other), 1, count_parameters(other), seconds.get(name)
        )
    features = _features(comparison)
    if features is not None and comparison.criteria.classifies:

        def nearest() -> Method:
            few = labelled.rows(slice(0, 1))[0]
            fitted = fit_nearest_labels(features, labelled, base_outputs(base, few).shape[1])
            return Method(fitted, 1, size + fitted.training.numel())

        table.add_fitted("nearest_labels", nearest)
    if comparison.criteria.is_table:
        table.add_fitted("boosting", lambda: Method(fit_boosting(labelled, settings.seed), 1, None))
    draws_are_judged = comparison.criteria.has_distribution or comparison.criteria.compose is not None
    if draws_are_judged and settings.has_further_baselines:
        draws = settings.num_draws
        table.add_fitted(f"mc_dropout_{draws}", lambda: Method(MCDropout(base), draws, size))
