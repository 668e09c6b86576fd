"""Every method of the table on the test examples. Labels go to the metrics and to the oracles only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ocd.base import example_losses
from ocd.baselines import (
    BaseAlone,
    DeepEnsemble,
    Generated,
    MCDropout,
    NearestNeighbor,
    OverfitTest,
    OverfitTestAllLayers,
    RandomDirection,
    Tent,
    TrainedBaseline,
    base_outputs,
    fit_boosting,
    fit_laplace,
    fit_temperature,
    mean_delta,
    mean_of_store,
    plain_kind,
)
from ocd.data import Examples, Inputs, num_rows, take_rows, to_device
from ocd.errors import OCDError
from ocd.evaluation.distributions import judge_distributions, make_distributions
from ocd.lessons import OverfitConfig, StoreReader
from ocd.model import OCD
from ocd.prediction import (
    Prediction,
    Predictor,
    mutual_information,
    predictive_entropy,
    softmax_entropy,
    spread,
)

if TYPE_CHECKING:
    from ocd.tasks import Task

TENT_ITERATIONS = (1, 10, 30)
SHOWN = ("base", "ocd", "overfit_test")
NUM_SHOWN = 8
"""Views of each method that are kept for the report's figures."""
USES_LABEL = ("overfit_test", "overfit_test_all_layers")


@dataclass(frozen=True)
class Method:
    """One row of the table: who predicts, with how many draws, and how the draws answer as one.

    `parameters`: what must be kept to predict; None of trees. `training_seconds`: None where not known.
    """

    predictor: Predictor
    draws: int = 1
    parameters: int | None = 0
    training_seconds: float | None = 0.0
    read_mean_network: bool = False

    def answer(self, prediction: Prediction, join: Callable[[Tensor], Tensor]) -> Tensor:
        if self.read_mean_network:
            return prediction.mean_network
        return join(prediction.outputs) if len(prediction.outputs) > 1 else prediction.outputs[0]


@dataclass
class Comparison:
    """Everything that takes part in a table: OCD as it was fitted, and what it is compared with.

    `seconds`: training seconds of phases, by name. `bases`: of the deep ensemble, the base first.
    """

    task: Task
    training: Examples
    ocd: OCD
    overfit: OverfitConfig
    num_draws: int = 5
    baselines: str = "all"
    alternative: OCD | None = None
    trained: dict[str, TrainedBaseline] = field(default_factory=dict)
    bases: Sequence[nn.Module] = ()
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    stored: StoreReader | None = None
    """The training deltas, where they are kept and those of the examples as they are."""
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shown: dict[str, Tensor] = field(default_factory=dict)
    """Views for the report, (N, 3, H, W) from 0 to 255, of a task that has such."""
    other_draws: Sequence[int] = ()
    """Draws of other ensembles."""
    labelled: Examples | None = None
    """The training examples with their labels, where OCD learns from other targets."""
    other_bases: dict[str, nn.Module] = field(default_factory=dict)
    """Other kinds of base, by name."""
    seed: int = 0
    _fixed: dict[str, Method] = field(default_factory=dict)
    _all_layers: OverfitTestAllLayers | None = None

    def prepare(self) -> None:
        """Fit what is cheap enough to be fitted here: learning rates, temperature, Laplace, means."""
        if self._fixed:
            return
        self._fixed |= self._own_methods()
        if self.baselines != "none":
            self._fixed |= self._paper_baselines()
            self._add("overfit_test_all_layers", self._open_all_layers)
        if self.baselines in ("all", "more"):
            self._add_baselines()

    def methods(self, targets: Tensor | None) -> dict[str, Method]:
        """Every method. `targets`: the labels of the inputs to come, for the oracles alone; None
        where there are none."""
        self.prepare()
        _, frozen = self.ocd.fitted()
        oracles: dict[str, Method] = {}
        if targets is not None:
            one = OverfitTest(frozen, self.task.loss, self.overfit, targets, self.ocd.excerpt)
            oracles["overfit_test"] = Method(one, parameters=self.base_size)
            if self._all_layers is not None:
                every = replace(self._all_layers, targets=targets)
                oracles["overfit_test_all_layers"] = Method(every, parameters=self.base_size)
        return self._fixed | oracles

    @property
    def base_size(self) -> int:
        return count_parameters(self.ocd.base)

    # ---- the rows

    def _own_methods(self) -> dict[str, Method]:
        ocd, draws = self.ocd, self.num_draws
        network, _ = ocd.fitted()
        size = self.base_size + count_parameters(network)
        phases = [self.seconds.get(name) for name in ("select", "folds", "overfit", "train")]
        seconds = sum(value for value in phases if value is not None) if phases[-1] else None
        base = Method(BaseAlone(ocd.base), 1, self.base_size, self.seconds.get("base"))
        many = Method(Generated(ocd), draws, size, seconds)
        methods = {
            "base": base,
            "ocd": Method(Generated(ocd), 1, size, seconds),
            f"ocd_ensemble_{draws}": many,
            f"ocd_mean_network_{draws}": replace(many, read_mean_network=True),
        }
        for count in self.other_draws:
            methods[f"ocd_ensemble_{count}"] = replace(many, draws=count)
        if ocd.config.diffusion.prediction == "x0":
            methods["ocd_mean"] = Method(Generated(ocd, "mean"), 1, size, seconds)
        if network.correction is not None:  # what is it that helps?
            paper = replace(many, predictor=Generated(ocd, part="diffusion"))
            methods[f"ocd_without_correction_{draws}"] = paper
            alone = Generated(ocd, "mean" if "ocd_mean" in methods else "draws", part="correction")
            methods["correction_only"] = Method(alone, 1, size, seconds)
        if self.baselines == "none":
            return methods
        methods["no_scale"] = Method(Generated(ocd, use_mean_scale=True), 1, size, seconds)
        if self.alternative is not None:
            size = self.base_size + count_parameters(self.alternative.fitted()[0])
            other = Method(Generated(self.alternative), 1, size, self.seconds.get("alternative"))
            methods["alternative_layer"] = other
            methods[f"alternative_layer_ensemble_{draws}"] = replace(other, draws=draws)
        return methods

    def _paper_baselines(self) -> dict[str, Method]:
        ocd, size = self.ocd, self.base_size
        _, frozen = ocd.fitted()
        neighbour = NearestNeighbor(
            frozen, self.task.loss, self.overfit, self.training, self.ocd.excerpt
        )
        methods = {"nearest_neighbor": Method(neighbour, 1, size)}
        if not self.task.classifies:
            for count in TENT_ITERATIONS:
                self.skipped[f"tent_{count}"] = "Tent minimises the entropy of classes"
            return methods
        for count in TENT_ITERATIONS:
            tent = Tent(ocd.base, frozen.name, count)
            methods[f"tent_{count}"] = Method(tent, 1, size)
        self.notes.append(tent.what_moves())
        return methods

    def _add_baselines(self) -> None:
        ocd, loss, training, size = self.ocd, self.task.loss, self.training, self.base_size
        _, frozen = ocd.fitted()
        self._fixed["random_direction"] = replace(self._fixed["ocd"], predictor=RandomDirection(ocd))

        def shared() -> Method:
            if self.stored is not None and "delta.weight" in self.stored.shards[0]:
                of_store = mean_of_store(frozen, self.stored)
                return Method(of_store, 1, size, self.seconds.get("overfit"))
            delta = mean_delta(frozen, loss, self.overfit, training, excerpt=ocd.excerpt)
            return Method(delta, 1, size)

        self._add("mean_delta", shared)
        for kind, baseline in self.trained.items():
            own = 0 if plain_kind(kind) == "label_network" else size
            own += 0 if kind == "fine_tuned_layer" else baseline.num_parameters
            self._fixed[kind] = Method(baseline, 1, own, self._trained_seconds(kind))
        labelled = self.labelled or training
        self._add("temperature", lambda: Method(fit_temperature(ocd.base, loss, labelled), 1, size))

        def laplace() -> Method:
            fitted = fit_laplace(ocd.base, loss, labelled)
            return Method(fitted, self.num_draws, size + fitted.eigenvectors.numel())

        self._add("laplace", laplace)
        if self.bases:
            count = len(self.bases)
            seconds = self.seconds.get("deep_ensemble")
            together = Method(DeepEnsemble(self.bases), count, count * size, seconds)
            self._fixed[f"deep_ensemble_{count}"] = together
        for name, base in self.other_bases.items():
            self._fixed[name] = Method(
                BaseAlone(base), 1, count_parameters(base), self.seconds.get(name)
            )
        if self.task.is_table:
            self._add("boosting", lambda: Method(fit_boosting(labelled, self.seed), 1, None))
        if self.task.has_distribution:
            name = f"mc_dropout_{self.num_draws}"
            self._add(name, lambda: Method(MCDropout(ocd.base), self.num_draws, size))

    def residuals(self) -> Tensor | None:
        """Of the base on its training examples, as networks have them that have not seen them; None
        where OCD learns from the labels as they are, whose residuals would be too small."""
        if self.labelled is None or self.labelled.targets is self.training.targets:
            return None
        return self.training.targets - base_outputs(self.ocd.base, self.training.inputs).cpu()

    def _trained_seconds(self, kind: str) -> float | None:
        seconds = self.seconds.get(kind)
        if kind != "delta_regression" or seconds is None:
            return seconds
        return seconds + (self.seconds.get("overfit") or 0.0)

    def _open_all_layers(self) -> None:
        if self.ocd.excerpt is not None:
            raise OCDError("all layers are overfitted on whole examples, and these are too large")
        inputs, targets = self.training.rows(slice(0, 64))
        device = self.ocd.fitted()[1].device
        plain = OverfitTestAllLayers(self.ocd.base, self.task.loss, self.overfit, None)
        self._all_layers = plain.with_lr(to_device(inputs, device), targets.to(device))
        self.notes.append(f"all layers overfitted with lr {self._all_layers.config.lr:g}")

    def _add(self, name: str, fit: Callable[[], Method | None]) -> None:
        """Fit a baseline and keep its time; where it cannot be had, the reason goes into the table."""
        start = time.perf_counter()
        try:
            method = fit()
        except OCDError as error:
            self.skipped[name] = str(error)
            return
        if method is not None:
            seconds = time.perf_counter() - start + (method.training_seconds or 0.0)
            self._fixed[name] = replace(method, training_seconds=seconds)


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- the numbers -------------------------------------------------------------------------


def evaluate(comparison: Comparison, test: Examples) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a seed's predictions file holds: numbers of every method, and values of each example."""
    task, targets = comparison.task, test.targets
    methods = comparison.methods(targets)
    comparison.ocd.predict(take_rows(test.inputs, slice(0, 256)))  # imports and warms up: not timed
    outputs: dict[str, Tensor] = {}
    costs: dict[str, float] = {}
    drawn: Prediction | None = None
    for name, method in methods.items():
        if method.read_mean_network:  # of the same draws as the ensemble before it
            assert drawn is not None
            outputs[name] = drawn.mean_network.cpu()
            continue
        try:
            prediction, costs[name] = _timed(method, test, repeats=5 if name == "base" else 1)
        except OCDError as error:
            if name == "base" or name.startswith("ocd"):
                raise  # without these there is no table
            comparison.skipped[name] = str(error)
            continue
        outputs[name] = method.answer(prediction, task.join_draws).cpu()
        if name == f"ocd_ensemble_{comparison.num_draws}":
            drawn = prediction
    assert drawn is not None
    if task.has_views:
        known = {name: outputs[name] for name in SHOWN if name in outputs} | {"truth": targets}
        places = torch.linspace(0, len(test) - 1, min(NUM_SHOWN, len(test))).round().long()
        comparison.shown |= {name: as_pixels(images[places]) for name, images in known.items()}
    numbers: dict[str, Any] = {
        "methods": {
            name: {metric: facts.fn(output, targets) for metric, facts in task.metrics.items()}
            for name, output in outputs.items()
        },
        "costs": costs,
        "training_seconds": {name: methods[name].training_seconds for name in outputs},
        "parameters": {name: methods[name].parameters for name in outputs},
        "uses_label": [name for name in USES_LABEL if name in outputs],
        "skipped": comparison.skipped,
        "num_test": num_rows(test.inputs),
    }
    tensors = _per_example(task, targets, outputs, drawn.outputs.cpu())
    if task.has_distribution:
        baselines = {name: method.predictor for name, method in methods.items()}
        distributions = make_distributions(Generated(comparison.ocd), comparison.residuals(), baselines)
        numbers["distribution"], scores = judge_distributions(distributions, test, comparison.skipped)
        tensors |= scores
    return numbers, tensors


def as_pixels(images: Tensor) -> Tensor:
    """Images of pixels from 0 to 1 -> whole numbers from 0 to 255."""
    return (255 * images.detach().cpu().clamp(0, 1)).round().to(torch.uint8)


def show_film(ocd: OCD, inputs: Inputs) -> dict[str, Tensor]:
    """Base and OCD (its mean where it has one, else one draw) on inputs of no set, as pixels."""
    mode = "mean" if ocd.config.diffusion.prediction == "x0" else "draws"
    prediction = ocd.predict(inputs, draws=1, mode=mode)
    assert prediction.base is not None
    return {"film/base": as_pixels(prediction.base), "film/ocd": as_pixels(prediction.outputs[0])}


def _timed(method: Method, test: Examples, repeats: int) -> tuple[Prediction, float]:
    """A method's prediction, and its microseconds an example."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        prediction = method.predictor.predict(test.inputs, method.draws)
        seconds.append(time.perf_counter() - start)
    return prediction, 1e6 * median(seconds) / len(test)


def _per_example(
    task: Task, targets: Tensor, outputs: dict[str, Tensor], draws: Tensor
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, output in outputs.items():
        tensors[f"loss/{name}"] = example_losses(task.loss, output, targets).float()
        for metric, facts in task.metrics.items():
            if facts.per_example is not None:
                tensors[f"value/{name}/{metric}"] = facts.per_example(output, targets).float()
    tensors["draw_loss"] = torch.stack([example_losses(task.loss, draw, targets) for draw in draws])
    base = outputs["base"]
    if task.classifies:
        scores = {
            "base_entropy": softmax_entropy(base),
            "spread": spread(draws.softmax(dim=-1)),
            "predictive_entropy": predictive_entropy(draws),
            "mutual_information": mutual_information(draws),
        }
        wrong = base.argmax(dim=1) != targets
    else:
        scores = {"spread": spread(draws)}
        losses = tensors["loss/base"]
        wrong = losses >= losses.quantile(0.9)
    tensors |= {f"uncertainty/{name}": values.float() for name, values in scores.items()}
    tensors["base_error"] = wrong.float()
    return {name: values.contiguous() for name, values in tensors.items()}
