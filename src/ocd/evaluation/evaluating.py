"""Run every method of the table on the test examples, and judge what it predicts.

`Comparison` says what there is to run; the result has a number for each method and metric:

    evaluation = evaluate(comparison, test)
    evaluation.numbers["methods"]["ocd_ensemble_5"]["accuracy"]    # 98.9
    evaluation.tensors["loss/ocd_ensemble_5"]                      # (N,), for the report's intervals
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from ocd.data import (
    Examples,
    Shard,
    State,
    Units,
    file_digest,
    finite_only,
    num_rows,
    read_state,
    remembered,
    resumable,
    resumable_part,
    take_rows,
    write_state,
)
from ocd.errors import OCDError
from ocd.evaluation.baseline_methods import USES_LABEL, list_methods
from ocd.evaluation.comparison import Comparison
from ocd.evaluation.criteria import Criteria
from ocd.evaluation.distributions import commonest, distribution_predictors, score_distributions
from ocd.evaluation.joint import joint_predictors, score_joint, shown_draws
from ocd.evaluation.method import Method, MethodTable
from ocd.evaluation.per_example import per_example_values
from ocd.evaluation.ranking_metrics import expected_ranks
from ocd.evaluation.timing import AnewClock
from ocd.evaluation.views import pick_views
from ocd.prediction import Prediction


@dataclass(frozen=True)
class Evaluation:
    """What a seed's predictions file holds.

    `numbers`: values by method and metric, costs and sizes, as JSON has them: None where one is not
    finite. `tensors`: values of each test example, (N,), by name. `views`: images (M, 3, H, W) for the
    report, whole numbers to 255; {} where outputs are no images. `notes`: lines for the report.
    `outputs` (N, ...): of the base and of OCD's ensemble. `shown`: draws of whole answers, for the
    report; {} where a task has no such.
    """

    numbers: dict[str, Any]
    tensors: dict[str, Tensor]
    views: dict[str, Tensor]
    notes: list[str]
    outputs: dict[str, Tensor]
    shown: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Together:
    """Of several processes that run the methods of one table, this one's `share`; what each method
    predicted lies in `folder`."""

    folder: Path
    share: Shard


def run_methods(comparison: Comparison, test: Examples, together: Together) -> None:
    """Run the methods that are this process's to run, until all have been run by some process."""
    _Judged(comparison, test, list_methods(comparison), together).run()


def evaluate(
    comparison: Comparison,
    test: Examples,
    together: Together | None = None,
    queries: Tensor | None = None,
) -> Evaluation:
    """Run every method on the test examples, and judge its outputs. `together`: with other processes.
    `queries` (N,): which of them are ranked together, where a task ranks.

    A method that raises an OCDError is left out, with the reason in `numbers["skipped"]`. Errors of the
    base and of OCD's own variants are raised: without these there is no table. `numbers["costs"]` are
    microseconds an example, with all that the base computes for a new input, also where it keeps the
    answers of a part (ocd.evaluation.timing); the base's is the median of five predictions. Where it is
    interrupted, what methods predicted is kept, with its costs (ocd.data.resuming).
    """
    criteria, targets = comparison.criteria, test.targets
    table = list_methods(comparison)
    judged = _Judged(comparison, test, table, together).every()
    outputs = {name: one["output"] for name, one in judged.items()}
    numbers: dict[str, Any] = {
        "methods": {
            name: _values(criteria, output, targets, queries) for name, output in outputs.items()
        },
        "costs": {name: one["cost"] for name, one in judged.items() if "cost" in one},
        "training_seconds": {name: one["training_seconds"] for name, one in judged.items()},
        "parameters": {name: one["parameters"] for name, one in judged.items()},
        "uses_label": [name for name in USES_LABEL if name in outputs],
        "skipped": table.skipped,
        "num_test": num_rows(test.inputs),
    }
    draws = judged[_ensemble(comparison)]["draws"]
    if ranked := _ranked(criteria, draws, targets, queries):
        numbers["methods"][f"ocd_expected_rank_{len(draws)}"] = ranked
    tensors = per_example_values(criteria, targets, outputs, draws)
    if criteria.has_distribution:
        predictors = distribution_predictors(comparison, table)
        numbers["distribution"], scores = score_distributions(predictors, test, table.skipped)
        numbers["commonest"] = commonest(test.targets)
        tensors |= scores
    shown: dict[str, Tensor] = {}
    if criteria.compose is not None:
        wholes = joint_predictors(comparison, table)
        numbers["joint"], scores = score_joint(wholes, test, outputs["base"], table.skipped)
        tensors |= scores
        shown = shown_draws(wholes, test, criteria.compose)
    views = pick_views(outputs, targets) if criteria.has_views else {}
    ours = {"base": outputs["base"], "ocd": outputs[_ensemble(comparison)]}
    return Evaluation(finite_only(numbers), tensors, views, table.notes, ours, shown)


def _ranked(
    criteria: Criteria, draws: Tensor, targets: Tensor, queries: Tensor | None
) -> dict[str, float]:
    """The metrics of a ranking, of rows by their mean place in the draws; none where nothing ranks."""
    by_place = {name: facts.by_query for name, facts in criteria.metrics.items() if facts.by_query}
    if queries is None or not by_place:
        return {}
    ranked = expected_ranks(draws, queries)
    return {name: judge(ranked, targets, queries) for name, judge in by_place.items()}


def _values(
    criteria: Criteria, output: Tensor, targets: Tensor, queries: Tensor | None
) -> dict[str, float]:
    """Every metric of one method's outputs."""
    facts = criteria.metrics.items()
    return {name: metric.value(output, targets, queries) for name, metric in facts}


def _ensemble(comparison: Comparison) -> str:
    """The name of OCD's own ensemble in the table."""
    return f"ocd_ensemble_{comparison.settings.num_draws}"


class _Judged:
    """What each method says of the test examples, and what it cost.

    A method is fitted, predicts and is remembered before the next one, so that a run that is killed
    loses one of them at most; within it, fits and predictions go on from their last chunk.
    """

    def __init__(
        self,
        comparison: Comparison,
        test: Examples,
        table: MethodTable,
        together: Together | None = None,
    ) -> None:
        self.comparison, self.test, self.table = comparison, test, table
        self.together = together
        self.ensemble = _ensemble(comparison)
        self.warm_up = cache(self._warm_up)
        self.anew_clock = cache(lambda: AnewClock.of(comparison.fits.main.base, test))
        self.names = table.names  # in their order now: fits move some of them

    def every(self) -> dict[str, State]:
        """By method: its "output" (N, ...), "cost", "training_seconds" and "parameters"; of the
        ensemble also its draws and mean network. Reasons why a method is missing go into the table."""
        self.run()
        found: dict[str, State] = {}
        for number, name in enumerate(self.names):
            method = self.table.methods.get(name)
            if method is not None and method.uses_mean_network:  # of the draws of the ensemble before
                output = found[self.ensemble]["mean_network"]
                found[name] = {"output": output} | _facts(method)
                continue
            one = self._kept(number) if self.together else self._remembered(name)
            self.table.notes += [note for note in one["notes"] if note not in self.table.notes]
            if "skipped" in one:
                self.table.skipped[name] = one["skipped"]
            else:
                found[name] = one
        return found

    def run(self) -> None:
        """With other processes: run methods until there is a file of each."""
        if self.together is None:
            return
        units = self._units(self.together)
        for number in units.until_done(self.together.share, len(self.names)):
            method = self.table.methods.get(self.names[number])
            digest = None  # of the mean network, which is among the ensemble's
            if method is None or not method.uses_mean_network:
                with resumable(units.begun(number)):
                    write_state(units.path(number), self._one(self.names[number]))
                digest = file_digest(units.path(number))
            units.finish(number, method=self.names[number], sha256=digest)

    def _units(self, together: Together) -> Units:
        return Units(together.folder, {"methods": self.names}, ".pt")

    def _kept(self, number: int) -> State:
        assert self.together is not None
        return read_state(self._units(self.together).path(number))

    def _remembered(self, name: str) -> State:
        return remembered(f"method {name}", partial(self._one, name))

    def _one(self, name: str) -> State:
        before = len(self.table.notes)
        method = self.table.method(name, self.test.targets)
        notes = self.table.notes[before:]
        if method is None:
            return {"skipped": self.table.skipped[name], "notes": notes}
        self.warm_up()
        if (clock := self.anew_clock()) is not None and name == "base":
            notes.append(str(clock))
        try:
            prediction, cost = self._timed(name, method)
        except OCDError as error:
            if name == "base" or name.startswith("ocd"):
                raise
            return {"skipped": str(error), "notes": notes}
        output = method.combine(prediction, self.comparison.criteria.join_draws).cpu()
        one = {"output": output, "cost": cost, "notes": notes} | _facts(method)
        if name == self.ensemble:
            one["draws"] = prediction.outputs.cpu()
            one["mean_network"] = prediction.mean_network.cpu()
        return one

    def _timed(self, name: str, method: Method) -> tuple[Prediction, float]:
        """A method's prediction of the test examples, and the microseconds that it takes an example."""
        repeats, clock = 5 if name == "base" else 1, self.anew_clock()
        if clock is None:
            prediction, seconds = _predicted(method, self.test, repeats)
            return prediction, 1e6 * seconds / len(self.test)
        prediction, _ = _predicted(method, self.test, repeats=1)
        of_few = self.table.method(name, clock.examples.targets)  # an oracle has their labels
        assert of_few is not None
        return prediction, clock.microseconds(of_few.predictor.predict, of_few.draws, max(repeats, 3))

    def _warm_up(self) -> None:
        """The first prediction of a process imports and allocates: it is not timed."""
        with resumable_part("warm-up"):
            self.comparison.fits.main.predict(take_rows(self.test.inputs, slice(0, 32)), draws=1)


def _facts(method: Method) -> State:
    return {"training_seconds": method.training_seconds, "parameters": method.parameters}


def _predicted(method: Method, test: Examples, repeats: int) -> tuple[Prediction, float]:
    """A method's prediction, and the seconds that it takes, the median of some."""
    seconds = []
    for _ in range(repeats):
        with resumable_part("prediction") as clock:
            prediction = method.predictor.predict(test.inputs, method.draws)
            seconds.append(clock.seconds)
    return prediction, median(seconds)
