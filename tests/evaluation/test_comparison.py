"""The table of all methods: only the oracles see a test label, and the numbers are what they say."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import DIGITS, LOSS, TINY, config, digits, digits_base, fitted, test_digits
from ocd import OCD, Examples, OCDError
from ocd.baselines import TRAINED, TrainedBaseline
from ocd.baselines.trained.networks import make_network
from ocd.data import take_rows
from ocd.evaluation import (
    REGRESSION_METRICS,
    Comparison,
    FittedBaselines,
    MethodSettings,
    Metric,
    OCDFits,
    TrainingData,
    baseline_methods,
    evaluate,
    prepare_methods,
)
from ocd.evaluation.baseline_methods import list_methods
from ocd.evaluation.criteria import Criteria
from ocd.evaluation.evaluating import Evaluation
from ocd.evaluation.method import Method
from ocd.lessons import OverfitConfig
from ocd.prediction import Prediction
from ocd.reporting import methods as reported
from ocd.runs.baselines import FEW
from ocd.tasks.images.encoder import ImageEncoder

LR = OverfitConfig(lr=0.02)
OUTPUTS = Metric(lambda outputs, targets: outputs.clone(), higher_is_better=True)  # type: ignore[arg-type, return-value]
SHOWS = dataclasses.replace(DIGITS, metrics={"outputs": OUTPUTS})
"""A task whose only metric is the outputs themselves."""
TRAINING, TEST = digits(60), test_digits(30)
SECONDS: dict[str, float | None] = {
    "base": 10.0, "select": 1.0, "overfit": 2.0, "train": 4.0, "alternative": 5.0,
    "deep_ensemble": 40.0, **dict.fromkeys(TRAINED, 8.0),
}  # fmt: skip
"""By phase of a run."""

OWN = {"base", "ocd", "ocd_ensemble_3", "ocd_mean_network_3", "ocd_mean"}
ABLATIONS = {"no_scale", "alternative_layer", "alternative_layer_ensemble_3"}
PAPER = {"nearest_neighbor", "tent_1", "tent_10", "tent_30"}
BASELINES = {"mean_delta", "random_direction", "temperature", "laplace", "deep_ensemble_2", *TRAINED}
ORACLES = {"overfit_test", "overfit_test_all_layers"}
METHODS = {
    "all": OWN | ABLATIONS | PAPER | BASELINES | ORACLES,
    "paper": OWN | ABLATIONS | PAPER | ORACLES,
    "none": OWN | {"overfit_test"},
}
SCORES = {"base_entropy", "spread", "predictive_entropy", "mutual_information"}


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return ImageEncoder(1, 8, widths=(4, 4, 4), num_features=5)


@dataclass(frozen=True)
class Parts:
    """What a run would have trained. The baselines are not trained: noise moves them from the start."""

    main: OCD
    alternative: OCD
    trained: dict[str, TrainedBaseline]
    bases: list[nn.Module]

    def comparison(
        self,
        criteria: Criteria = SHOWS,
        num_draws: int = 3,
        baselines: str = "all",
        seconds: dict[str, float | None] = SECONDS,
    ) -> Comparison:
        return Comparison(
            criteria,
            OCDFits(self.main, LR, self.alternative),
            TrainingData(TRAINING),
            MethodSettings(num_draws, baselines=baselines),
            FittedBaselines(self.trained, self.bases),
            seconds,
        )


@pytest.fixture(scope="module")
def parts() -> Parts:
    base = digits_base()
    ocds = [
        OCD(base, loss=LOSS, config=config({"layer": layer}), encoder=encoder())
        for layer in ("fc1", "fc2")
    ]
    for ocd in ocds:
        ocd.fit(TRAINING, progress=False)
    trained = {}
    for kind in TRAINED:
        network = make_network(kind, ocds[0], TRAINING.inputs[:2]).eval()
        generator = torch.Generator().manual_seed(3)
        for parameter in network.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
        trained[kind] = TrainedBaseline(kind, ocds[0], network)
    other = digits_base()
    other.fc1.weight.data *= 0.9
    return Parts(ocds[0], ocds[1], trained, [base, other])


@pytest.fixture(scope="module", autouse=True)
def _few_rates() -> Iterator[None]:
    """To try all learning rates would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocd.baselines.overfit_test.search_rate", lambda fall_of: (0.01, fall_of(0.01)))
        yield


@pytest.fixture(scope="module")
def shown(parts) -> Evaluation:
    """Every method's outputs on thirty digits."""
    return evaluate(parts.comparison(), TEST)


@pytest.fixture(scope="module")
def judged(parts) -> Evaluation:
    """Every method judged by the task's own metrics."""
    return evaluate(parts.comparison(DIGITS), TEST)


def outputs_of(results: dict) -> dict[str, torch.Tensor]:
    return {name: values["outputs"] for name, values in results["methods"].items()}


# Labels


def test_labels_reach_the_oracles_alone(parts, shown):
    shuffled = Examples(TEST.inputs, TEST.targets.roll(1))
    assert not torch.equal(shuffled.targets, TEST.targets)
    shuffled_labels = evaluate(parts.comparison(), shuffled)
    one, other = outputs_of(shown.numbers), outputs_of(shuffled_labels.numbers)
    assert one.keys() == other.keys() == METHODS["all"]
    for name in METHODS["all"] - ORACLES:
        assert torch.equal(one[name], other[name]), name
    for name in ORACLES:
        assert not torch.allclose(one[name], other[name]), name
    for name in SCORES:
        score = f"uncertainty/{name}"
        assert torch.equal(shown.tensors[score], shuffled_labels.tensors[score])
    assert shuffled_labels.numbers["uses_label"] == sorted(ORACLES)


def test_without_labels_there_are_no_oracles(parts):
    table = prepare_methods(parts.comparison())
    assert table.for_labels(None).keys() == METHODS["all"] - ORACLES
    assert table.for_labels(TEST.targets).keys() == METHODS["all"]
    for name, method in table.for_labels(None).items():
        p = method.predictor.predict(TEST.inputs[:4], method.draws)
        assert p.outputs.shape[1:] == (4, 10), name


# Names and numbers


@pytest.mark.parametrize("baselines", ["paper", "none"])
def test_fewer_baselines_leave_out_what_they_say(parts, baselines):
    found = evaluate(parts.comparison(DIGITS, baselines=baselines), TEST)
    assert found.numbers["methods"].keys() == METHODS[baselines]
    losses = {name.removeprefix("loss/") for name in found.tensors if name.startswith("loss/")}
    assert losses == METHODS[baselines]
    assert found.numbers["skipped"] == {}
    assert found.views == {}


def test_methods_are_what_their_names_say(parts, shown):
    outputs, ocd, inputs = outputs_of(shown.numbers), parts.main, TEST.inputs
    three = ocd.predict(inputs, draws=3)
    expected = {
        "base": three.base,
        "ocd": three.outputs[0],
        "ocd_ensemble_3": three.outputs.softmax(-1).mean(0).log(),
        "ocd_mean_network_3": three.mean_network,
        "ocd_mean": ocd.predict(inputs, mode="mean").mean,
        "no_scale": ocd.predict(inputs, draws=1, use_mean_scale=True).mean,
        "alternative_layer": parts.alternative.predict(inputs, draws=1).mean,
        "alternative_layer_ensemble_3": parts.alternative.predict(inputs, draws=3)
        .outputs.softmax(-1).mean(0).log(),
        "deep_ensemble_2": torch.stack([base(inputs) for base in parts.bases])
        .softmax(-1).mean(0).log(),
    }  # fmt: skip
    expected |= {kind: baseline.predict(inputs).mean for kind, baseline in parts.trained.items()}
    for name, values in expected.items():
        assert torch.allclose(outputs[name], values, atol=1e-4), name
    assert torch.equal(outputs["temperature"].argmax(1), outputs["base"].argmax(1))
    lower = LOSS(outputs["overfit_test_all_layers"], TEST.targets) < LOSS(outputs["base"], TEST.targets)
    assert lower.all()
    # No two methods are the same one under two names.
    names = sorted(outputs)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not torch.allclose(outputs[one], outputs[other], atol=1e-6), (one, other)


def test_tensors_have_their_names_and_shapes(judged):
    results, tensors = judged.numbers, judged.tensors
    count = len(TEST)
    by_example = [name for name, metric in DIGITS.metrics.items() if metric.per_example]
    assert set(by_example) == {"cross_entropy", "accuracy", "brier", "binary_cross_entropy"}
    wanted = {f"loss/{name}" for name in METHODS["all"]}
    wanted |= {f"value/{name}/{metric}" for name in METHODS["all"] for metric in by_example}
    wanted |= {f"uncertainty/{name}" for name in SCORES} | {"draw_loss", "base_error"}
    assert tensors.keys() == wanted
    for name, values in tensors.items():
        assert values.dtype == torch.float32 and values.is_contiguous(), name
        assert values.shape == ((3, count) if name == "draw_loss" else (count,)), name
        assert values.isfinite().all(), name
    assert results["methods"].keys() == METHODS["all"]
    for name, values in results["methods"].items():
        assert values.keys() == DIGITS.metrics.keys(), name
        for metric in by_example:
            mean = tensors[f"value/{name}/{metric}"].double().mean().item()
            assert values[metric] == pytest.approx(mean, rel=1e-5, abs=1e-6), (name, metric)
        loss = tensors[f"loss/{name}"].mean().item()
        assert values["cross_entropy"] == pytest.approx(loss, rel=1e-5, abs=1e-6)


def test_tensors_hold_the_losses_and_the_draws(parts, judged):
    tensors = judged.tensors
    three = parts.main.predict(TEST.inputs, draws=3)
    draws = torch.stack([LOSS(output, TEST.targets) for output in three.outputs])
    assert torch.allclose(tensors["draw_loss"], draws, atol=1e-4)
    assert torch.allclose(tensors["loss/base"], LOSS(three.base, TEST.targets), atol=1e-4)
    assert torch.equal(tensors["base_error"], (three.base.argmax(1) != TEST.targets).float())
    assert 0 < tensors["base_error"].sum() < len(TEST)
    p, mean = three.outputs.softmax(-1), three.outputs.softmax(-1).mean(0)
    own = three.base.softmax(-1)

    def entropy(p: torch.Tensor) -> torch.Tensor:
        return -(p * p.log()).sum(-1)

    wanted = {
        "base_entropy": entropy(own),
        "predictive_entropy": entropy(mean),
        "mutual_information": entropy(mean) - entropy(p).mean(0),
        "spread": p.var(0, correction=0).mean(1).sqrt(),
    }
    for name, values in wanted.items():
        assert torch.allclose(tensors[f"uncertainty/{name}"], values, atol=1e-4), name
    assert wanted.keys() == SCORES


def test_results_are_json_and_costs_are_microseconds(judged):
    results = judged.numbers
    assert json.loads(json.dumps(results)) == results
    assert results.keys() >= {"methods", "costs", "training_seconds", "parameters", "uses_label",
                              "skipped", "num_test"}  # fmt: skip
    assert results["num_test"] == 30
    assert results["skipped"] == {}
    assert results["costs"].keys() == METHODS["all"] - {"ocd_mean_network_3"}  # of the same draws
    assert all(0 < cost < 1e6 for cost in results["costs"].values())


@pytest.mark.parametrize("names", ["all", "alternative"])
def test_parameters_are_those_that_must_be_kept(parts, judged, names):
    found = judged.numbers["parameters"]
    assert found.keys() == METHODS["all"]

    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    base, own = size(parts.main.base), size(parts.main.hypernetwork)
    last_layer = parts.main.base.fc2.weight.numel()
    wanted = dict.fromkeys(METHODS["all"], base)
    wanted |= dict.fromkeys(OWN - {"base"} | {"no_scale", "random_direction"}, base + own)
    heads = {kind: size(baseline.network) for kind, baseline in parts.trained.items()}
    wanted |= {kind: base + heads[kind] for kind in ("delta_regression", "label_head")}
    wanted |= {"label_network": heads["label_network"], "laplace": base + last_layer**2}
    wanted |= {"deep_ensemble_2": 2 * base}
    alternative = {name for name in METHODS["all"] if name.startswith("alternative_layer")}
    if names == "all":
        assert {k: v for k, v in found.items() if k not in alternative} == {
            k: v for k, v in wanted.items() if k not in alternative
        }
    else:
        other = base + size(parts.alternative.hypernetwork)
        assert {name: found[name] for name in alternative} == dict.fromkeys(alternative, other)


def test_training_seconds_follow_the_phases(parts, judged):
    found = judged.numbers["training_seconds"]
    assert found.keys() == METHODS["all"]
    assert found["base"] == 10
    for name in OWN - {"base"} | {"no_scale", "random_direction"}:
        assert found[name] == 7, name  # select, overfit, train
    assert found["alternative_layer"] == found["alternative_layer_ensemble_3"] == 5
    assert found["delta_regression"] == 8 + 2  # it needs the overfitted deltas too
    for kind in ("label_head", "label_network", "fine_tuned_layer"):
        assert found[kind] == 8
    assert found["deep_ensemble_2"] == 40
    for name in ("mean_delta", "temperature", "laplace"):
        assert 0 < found[name] < 60  # fitted here, and timed here
    for name in PAPER | {"overfit_test"}:
        assert found[name] == 0, name
    unknown = evaluate(parts.comparison(baselines="none", seconds={"base": None}), TEST).numbers
    assert unknown["training_seconds"]["base"] is None
    assert unknown["training_seconds"]["ocd"] is None


def test_evaluating_twice_gives_the_same_numbers(parts, judged):
    again = evaluate(parts.comparison(DIGITS), TEST)
    assert again.numbers["methods"] == judged.numbers["methods"]
    assert all(torch.equal(values, judged.tensors[name]) for name, values in again.tensors.items())


def test_one_draw_is_an_ensemble_of_its_own(parts):
    found = evaluate(parts.comparison(num_draws=1, baselines="none"), TEST)
    outputs = outputs_of(found.numbers)
    assert outputs.keys() == {"base", "ocd", "ocd_ensemble_1", "ocd_mean_network_1", "ocd_mean",
                              "overfit_test"}  # fmt: skip
    assert torch.equal(outputs["ocd"], outputs["ocd_ensemble_1"])
    assert torch.equal(outputs["ocd"], outputs["ocd_mean_network_1"])
    assert not found.tensors["uncertainty/spread"].any()


def test_no_mean_in_one_pass_where_the_noise_is_predicted():
    noisy = fitted({"diffusion.prediction": "epsilon"})
    comparison = Comparison(
        SHOWS,
        OCDFits(noisy, LR),
        TrainingData(digits(10)),
        MethodSettings(num_draws=1, baselines="paper"),
    )
    results = evaluate(comparison, test_digits(6)).numbers
    assert "ocd_mean" not in results["methods"]
    assert "alternative_layer" not in results["methods"]
    assert "no_scale" in results["methods"]


# Methods that are left out


def refuse(*_: Any, **__: Any) -> Any:
    raise OCDError("not possible here")


FITTED = {
    "ocd.evaluation.baseline_methods.fit_laplace": {"laplace"},
    "ocd.evaluation.baseline_methods.fit_temperature": {"temperature"},
    "ocd.evaluation.baseline_methods.mean_delta": {"mean_delta"},
    "ocd.evaluation.baseline_methods.OverfitTestAllLayers.with_chosen_lr": {"overfit_test_all_layers"},
}
PREDICTING = {
    "ocd.baselines.NearestNeighbor.predict": {"nearest_neighbor"},
    "ocd.baselines.Tent.predict": {"tent_1", "tent_10", "tent_30"},
    "ocd.baselines.OverfitTest.predict": {"overfit_test"},
    "ocd.baselines.DeepEnsemble.predict": {"deep_ensemble_2"},
    "ocd.baselines.TrainedBaseline.predict": {*TRAINED},
}


@pytest.mark.parametrize("functions", [FITTED, PREDICTING], ids=["while fitted", "while predicting"])
def test_a_method_that_is_not_possible_is_left_out_with_its_reason(
    parts, judged, monkeypatch, functions
):
    for function in functions:
        monkeypatch.setattr(function, refuse)
    found = evaluate(parts.comparison(DIGITS), TEST)
    results, tensors = found.numbers, found.tensors
    missing = set().union(*functions.values())
    assert results["skipped"] == dict.fromkeys(missing, "not possible here")
    left = METHODS["all"] - missing
    assert results["methods"] == {name: judged.numbers["methods"][name] for name in left}
    for key in ("training_seconds", "parameters"):
        assert results[key].keys() == left
    assert set(results["uses_label"]) == ORACLES - missing
    assert {name.split("/")[1] for name in tensors if name.startswith(("loss", "value"))} == left


def test_a_method_with_a_bug_is_not_left_out(parts, monkeypatch):
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("ocd.evaluation.baseline_methods.fit_laplace", broken)
    with pytest.raises(ZeroDivisionError):
        evaluate(parts.comparison(), TEST)


def test_the_report_is_told_what_tent_and_the_oracle_moved(parts, judged):
    for notes in (prepare_methods(parts.comparison()).notes, judged.notes):
        of_tent = [note for note in notes if "Tent" in note]
        assert of_tent == ["Tent moves the weight of fc1: the base has no normalisation layer"]
        assert any(note.startswith("all layers overfitted with lr ") for note in notes)


def test_oracles_are_prepared_once_and_given_new_labels(parts, monkeypatch):
    calls = []
    fit = baseline_methods.fit_laplace
    monkeypatch.setattr(
        baseline_methods, "fit_laplace", lambda *a, **k: calls.append(1) or fit(*a, **k)
    )
    table = prepare_methods(parts.comparison())
    first = table.for_labels(TEST.targets)["overfit_test_all_layers"].predictor
    second = table.for_labels(TEST.targets[:5])["overfit_test_all_layers"].predictor
    assert first.targets is TEST.targets and len(second.targets) == 5
    assert first.config == second.config
    assert calls == [1]


def test_how_a_method_combines_its_draws():
    outputs = torch.arange(12.0).view(3, 2, 2)
    prediction = Prediction(outputs, -outputs[0])

    def join(draws: torch.Tensor) -> torch.Tensor:
        assert len(draws) > 1  # one draw is not joined
        return draws.sum(dim=0)

    assert torch.equal(Method(None, 3).combine(prediction, join), outputs.sum(dim=0))
    assert torch.equal(Method(None, 3, uses_mean_network=True).combine(prediction, join), -outputs[0])
    one = Prediction(outputs[:1], outputs[0])
    assert torch.equal(Method(None).combine(one, join), outputs[0])


# A task without classes


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean(dim=1)


@pytest.mark.parametrize("kind", ["linear", "dict"])
def test_a_regression_has_no_entropies_no_tent_and_no_temperature(kind):
    tiny = TINY[kind]
    task = dataclasses.replace(
        DIGITS,
        loss=squared,
        metrics=REGRESSION_METRICS,
        classifies=False,
        join_draws=lambda draws: draws.mean(dim=0),
    )
    inputs = tiny.inputs(60)
    base = tiny.base()
    with torch.no_grad():
        targets = copy.deepcopy(base).eval()(**inputs) if kind == "dict" else base.eval()(inputs)
    targets = targets + 0.5 * torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))
    examples = Examples(inputs, targets)
    ocd = OCD(base, loss=squared, config=tiny.ocd().config, encoder=tiny.encoder())
    ocd.fit(examples, progress=False)
    trained = {
        name: TrainedBaseline(name, ocd, make_network(name, ocd, take_rows(inputs, slice(0, 2))).eval())
        for name in TRAINED
    }
    comparison = Comparison(
        task,
        OCDFits(ocd, OverfitConfig(lr=0.1)),
        TrainingData(examples),
        MethodSettings(num_draws=3),
        FittedBaselines(trained, [base, tiny.base(1)]),
    )
    test = Examples(*examples.rows(slice(10, 40)))
    found = evaluate(comparison, test)
    results, tensors = found.numbers, found.tensors
    assert results["skipped"].keys() == {"tent_1", "tent_10", "tent_30", "temperature"}
    assert "entropy of classes" in results["skipped"]["tent_1"]
    assert "is for classifiers" in results["skipped"]["temperature"]
    alternative = {name for name in ABLATIONS if "alternative" in name}
    assert results["methods"].keys() == METHODS["all"] - results["skipped"].keys() - alternative
    assert [name for name in tensors if name.startswith("uncertainty/")] == ["uncertainty/spread"]
    draws = ocd.predict(test.inputs, 3).outputs
    assert torch.allclose(
        tensors["uncertainty/spread"], draws.var(0, correction=0).mean(1).sqrt(), atol=1e-5
    )
    losses = tensors["loss/base"]
    assert tensors["base_error"].sum() == 3  # the worst tenth of thirty
    assert losses[tensors["base_error"] == 1].min() > losses[tensors["base_error"] == 0].max()
    joined = results["methods"]["ocd_ensemble_3"]
    assert joined["mse"] == pytest.approx(squared(draws.mean(0), test.targets).mean().item(), rel=1e-4)
    assert "value/ocd/mse" in tensors and "value/ocd/rmse" not in tensors


def test_the_page_says_which_rows_few_has(parts, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    said = re.search(r"`few`, (.*?), where they are possible,(.*?)\. Where", page, re.DOTALL)
    assert said is not None
    always, if_possible = (set(re.findall(r"`([a-z_]+)`", text)) for text in said.groups())
    monkeypatch.setattr(baseline_methods, "has_batch_norms", lambda base: True)
    criteria = dataclasses.replace(DIGITS, is_table=True, neighbours=lambda base, inputs: inputs)
    tuned = {kind: parts.trained[kind] for kind in FEW}
    fitted = FittedBaselines(tuned, (), {"fine_tuned_base": parts.main.base})
    whole = parts.comparison(criteria, baselines="few")
    found = {*list_methods(dataclasses.replace(whole, baselines=fitted)).names}
    ours = OWN | ORACLES | {"ocd_without_correction_3", "correction_only"}
    assert found - ours == always | if_possible
    assert if_possible == {"renewed_statistics", "nearest_labels", "boosting"}


def test_the_page_lists_every_row_of_a_table():
    page = (Path(__file__).resolve().parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    firsts = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    listed = {name for first in firsts for name in re.findall(r"`([a-z_0-9]+)`", first)}
    for _, pattern, _ in reported.METHODS:
        assert any(re.fullmatch(pattern, name) for name in listed), pattern


def test_what_a_task_leaves_out_is_not_even_fitted(parts, monkeypatch):
    def never(*given: object, **named: object) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr(baseline_methods, "fit_temperature", never)
    monkeypatch.setattr(baseline_methods, "OverfitTestAllLayers", never)
    whole = parts.comparison()
    why = {"temperature": "no logits", "overfit_test_all_layers": "too long", "mean_delta": "no"}
    left_out = dataclasses.replace(whole.baselines, skipped=why)
    table = prepare_methods(dataclasses.replace(whole, baselines=left_out))
    assert table.skipped == why and not {*table.names} & why.keys()
    assert {*table.names} == METHODS["all"] - why.keys()
