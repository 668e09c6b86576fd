"""The verdict says what a bootstrap over examples and seeds allows, and names the right baseline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocd.evaluation import paired_bootstrap
from ocd.reporting.parts import Parts, parts_sentence
from ocd.reporting.records import read_run
from ocd.reporting.results import make_results
from ocd.reporting.verdict import ANY_COST, EQUAL_COST, costs_no_more
from run_folders import MADE, Made, change_json, change_tensors, make_run, make_tensors

OCD, BASE = MADE["ocd_ensemble_5"], MADE["base"]
SEEDS = (0, 1, 2)


def verdict_of(folder: Path) -> dict[str, Any]:
    verdict: dict[str, Any] = make_results(read_run(folder))["verdict"]
    return verdict


def make_verdict(
    folder: Path, seeds: tuple[int, ...] = SEEDS, num_test: int = 400, **baselines: Made
) -> dict[str, Any]:
    """Of base, OCD's ensemble and these others."""
    made = {"base": BASE, "ocd_ensemble_5": OCD, **baselines}
    return verdict_of(make_run(folder, seeds=seeds, made=made, num_test=num_test))


def chosen(verdict: dict[str, Any]) -> dict[str, str]:
    return {found["baseline"]: found["why"] for found in verdict["against"]}


def brute_force(difference: Any, num_resamples: int = 4000) -> Any:
    """Number by number: draw seeds, draw examples, average what was drawn."""
    generator = np.random.default_rng(1)
    num_seeds, num = difference.shape
    means = []
    for _ in range(num_resamples):
        examples = generator.integers(num, size=num)
        seeds = generator.integers(num_seeds, size=num_seeds)
        means.append(np.mean([difference[seed, examples].mean() for seed in seeds]))
    return np.percentile(means, [2.5, 97.5])


@pytest.mark.parametrize(("num_seeds", "seed_scatter"), [(1, 0.0), (3, 0.0), (3, 0.3), (6, 0.3)])
def test_interval_agrees_with_brute_force(num_seeds: int, seed_scatter: float) -> None:
    generator = np.random.default_rng(0)
    difference = generator.exponential(1, 80) + generator.normal(0, 0.5, (num_seeds, 80))
    difference += generator.normal(0, 1, (num_seeds, 1)) * seed_scatter
    (interval,) = paired_bootstrap(difference[None])
    expected = brute_force(difference)
    assert interval == pytest.approx(expected, abs=0.08 * np.diff(expected).item())


def test_interval_agrees_with_the_normal_one() -> None:
    difference = np.random.default_rng(0).normal(0.3, 2.0, 5000)
    error = difference.std() / np.sqrt(5000)
    interval = paired_bootstrap(difference[None, None])
    expected = [[difference.mean() - 1.96 * error, difference.mean() + 1.96 * error]]
    assert interval == pytest.approx(np.array(expected), abs=0.15 * error)
    assert (interval == paired_bootstrap(difference[None, None])).all()


def test_seeds_share_the_examples_of_a_resample() -> None:
    """Three seeds that say the same are worth one: were examples drawn by seed, √3 narrower."""
    difference = np.random.default_rng(0).normal(0, 1, (1, 1, 500))
    one, three = (np.diff(paired_bootstrap(np.repeat(difference, s, axis=1))) for s in (1, 3))
    assert three == pytest.approx(one, rel=0.1)


def test_many_comparisons_take_less_than_three_seconds() -> None:
    differences = np.random.default_rng(0).normal(size=(15, 3, 10_000))
    start = time.process_time()
    paired_bootstrap(differences)
    assert time.process_time() - start < 3


@pytest.mark.parametrize(("margin", "statement"), [(5.0, "gain"), (3.0, "worse"), (4.0, "no gain")])
def test_statement_has_the_sign_of_the_difference(
    tmp_path: Path, margin: float, statement: str
) -> None:
    made = {"base": BASE, "ocd_ensemble_5": OCD._replace(margin=margin)}
    verdict = verdict_of(make_run(tmp_path, made=made))
    tensors = [make_tensors(seed, made, 400) for seed in SEEDS]
    losses = [np.mean([t[f"loss/{name}"] for t in tensors]) for name in ("base", "ocd_ensemble_5")]
    low, high = verdict["interval"]
    assert verdict["comparison"] == "ocd_ensemble_5 vs base"
    assert verdict["metric"] == "cross_entropy"
    assert verdict["difference"] == pytest.approx(losses[0] - losses[1], rel=1e-4)
    assert low < verdict["difference"] < high
    assert verdict["statement"] == statement
    assert verdict["sentence"].startswith(f"{statement.capitalize()}: on `digits`, the ensemble of 5")
    assert "over test examples and seeds" in verdict["sentence"]
    (against,) = verdict["against"]
    assert against["baseline"] == against["why"] == "base"
    assert [against[key] for key in ("difference", "interval")] == [verdict["difference"], [low, high]]


def test_positive_means_better_where_higher_is_better_too(tmp_path: Path) -> None:
    verdict = make_verdict(tmp_path)
    (against,) = verdict["against"]
    tensors = [make_tensors(seed, {"base": BASE, "ocd_ensemble_5": OCD}, 400) for seed in SEEDS]
    for metric, sign in (("accuracy", 1), ("brier", -1)):
        base = np.mean([t[f"value/base/{metric}"] for t in tensors])
        ocd = np.mean([t[f"value/ocd_ensemble_5/{metric}"] for t in tensors])
        assert sign * (ocd - base) > 0
        assert against["metrics"][metric]["difference"] == pytest.approx(sign * (ocd - base), rel=1e-4)
    assert against["metrics"]["cross_entropy"]["interval"] == pytest.approx(against["interval"])
    assert "calibration_error" not in against["metrics"]  # no mean of examples


def test_best_baselines_by_cost(tmp_path: Path) -> None:
    """A cheap and worse one, a cheap and better one, a dear and still better one: the last two."""
    verdict = make_verdict(
        tmp_path,
        temperature=Made(4.5, 80.0, 1.0),
        label_head=Made(5.5, 130.0, 300.0),
        deep_ensemble_5=Made(6.5, 400.0, 900.0),
    )
    assert chosen(verdict) == {
        "base": "base",
        "label_head": EQUAL_COST,
        "deep_ensemble_5": ANY_COST,
    }
    assert [found["statement"] for found in verdict["against"]] == ["gain", "worse", "worse"]
    first, equal, any_cost = verdict["sentence"].split(" Against ")
    assert first.startswith("Gain:")
    assert equal.startswith("the best baseline of at most equal cost, head trained on labels")
    assert "(`label_head`): worse, -0.0" in equal
    assert any_cost.startswith("the best baseline at any cost, deep ensemble of 5 bases")
    assert "0.8 × OCD's time to predict and 2.2 × its training): worse, -0.0" in any_cost


def test_a_dearer_and_worse_baseline_is_not_mentioned(tmp_path: Path) -> None:
    verdict = make_verdict(tmp_path, label_head=Made(4.5, 130.0, 300.0), tent_30=Made(3.0, 5000.0, 0.0))
    assert chosen(verdict) == {"base": "base", "label_head": EQUAL_COST}
    assert (
        "Against the best baseline of at most equal cost and at any cost, head" in verdict["sentence"]
    )
    assert "gain, +0.0" in verdict["sentence"]


def test_a_baseline_of_unknown_cost_competes_at_any_cost_only(tmp_path: Path) -> None:
    verdict = make_verdict(
        tmp_path, laplace=Made(7.0, None, 2.0), delta_regression=Made(4.5, 130.0, None)
    )
    assert chosen(verdict) == {"base": "base", "laplace": ANY_COST}
    assert verdict["left_out"].keys() == {"laplace", "delta_regression"}
    assert "No baseline is known to be of at most equal cost." in verdict["sentence"]
    assert verdict["sentence"].endswith(
        "Left out at equal cost, as not all costs are known: `delta_regression`, `laplace`."
    )


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ((100.0, 100.0), True),
        ((109.0, 109.0), True),
        ((111.0, 0.0), False),
        ((1.0, 111.0), False),
        ((1.0, 0.0), True),
        ((None, 1.0), None),
        ((1.0, None), None),
        ((None, 111.0), False),
    ],
)
def test_cost_rule(baseline: tuple[float | None, float | None], expected: bool | None) -> None:
    costs = dict(zip(("microseconds", "training_seconds"), baseline, strict=True))
    assert costs_no_more(costs, {"microseconds": 100.0, "training_seconds": 100.0}) is expected
    assert costs_no_more(costs, {}) is None


def test_own_variants_and_users_of_the_label_are_no_baselines(tmp_path: Path) -> None:
    cheap = Made(9.0, 1.0, 0.0)
    own = ("ocd", "ocd_mean", "no_scale", "alternative_layer", "alternative_layer_ensemble_5",
           "correction_only", "ocd_without_correction_5")  # fmt: skip
    make_run(
        tmp_path,
        made=dict.fromkeys((*own, "overfit_test", "oracle"), cheap)
        | {"base": BASE, "ocd_ensemble_5": OCD, "mean_delta": cheap._replace(margin=4.1)},
    )
    for seed in SEEDS:
        path = tmp_path / f"predictions/seed-{seed}.json"
        change_json(path, lambda facts: facts["uses_label"].append("oracle"))
    assert chosen(verdict_of(tmp_path)) == {"base": "base", "mean_delta": EQUAL_COST}


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """Of a baseline, it is left out; of the base or of OCD, there is no verdict."""
    make_verdict(tmp_path, mean_delta=Made(4.5, 80.0, 4.0), label_head=Made(9.0, 80.0, 4.0))
    change_tensors(tmp_path, 1, lambda t: t["loss/label_head"].__setitem__(3, np.nan))
    verdict = verdict_of(tmp_path)
    assert chosen(verdict) == {"base": "base", "mean_delta": EQUAL_COST}
    assert verdict["sentence"].endswith("Left out altogether, as a loss is not finite: `label_head`.")
    change_tensors(tmp_path, 1, lambda t: t["loss/base"].__setitem__(3, np.nan))
    verdict = verdict_of(tmp_path)
    assert verdict["statement"] == "undecided"
    assert verdict["difference"] is verdict["interval"] is None
    assert verdict["sentence"].startswith("Undecided: a loss of `base` is not finite. Against the best")
    assert verdict["against"][1]["statement"] == "gain"
    change_tensors(tmp_path, 1, lambda t: t["loss/ocd_ensemble_5"].__setitem__(3, np.inf))
    assert {found["statement"] for found in verdict_of(tmp_path)["against"]} == {"undecided"}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    make_verdict(tmp_path, mean_delta=Made(4.5, 80.0, 4.0))
    change_tensors(tmp_path, 2, lambda t: t.pop("loss/mean_delta"))
    assert (
        "Left out altogether, as not every seed has its losses: `mean_delta`."
        in (verdict_of(tmp_path)["sentence"])
    )
    change_tensors(tmp_path, 2, lambda t: t.pop("loss/ocd_ensemble_5"))
    assert verdict_of(tmp_path)["sentence"].startswith(
        "Undecided: the predictions lack `ocd_ensemble_5`'s loss of each test example; predict again."
    )


def test_one_example_is_too_few(tmp_path: Path) -> None:
    sentence = make_verdict(tmp_path, num_test=1)["sentence"]
    assert sentence.startswith(
        "Undecided: there is only 1 test example, and what is found on fewer than 16 may be chance: no "
        "gain can be told, against the base or any other method."
    )


def test_one_seed_speaks_of_the_test_examples_only(tmp_path: Path) -> None:
    verdict = make_verdict(tmp_path, seeds=(4,))
    assert "(paired bootstrap over test examples, 95 %" in verdict["sentence"]
    tensors = make_tensors(4, {"base": BASE, "ocd_ensemble_5": OCD}, 400)
    difference = tensors["loss/base"] - tensors["loss/ocd_ensemble_5"]
    width = np.diff(brute_force(difference[None].astype(float))).item()
    assert np.diff(verdict["interval"]).item() == pytest.approx(width, rel=0.1)


def test_other_ensembles_stand_in_for_five_draws(tmp_path: Path) -> None:
    verdict = verdict_of(make_run(tmp_path, made={"base": BASE, "ocd_ensemble_20": OCD}))
    assert verdict["comparison"] == "ocd_ensemble_20 vs base"
    assert "the ensemble of 20 OCD draws" in verdict["sentence"]


# Which part helps


def test_parts_are_in_the_verdict(tmp_path: Path) -> None:
    made = {name: MADE[name] for name in ("correction_only", "ocd_without_correction_5")}
    verdict = make_verdict(tmp_path, label_head=Made(4.7, 130.0, 310.0), **made)
    parts = verdict["parts"]
    assert list(parts) == ["correction_only", "ocd_without_correction_5"]
    losses = {m: read_run(tmp_path).of_seeds(f"loss/{m}") for m in ("base", *parts)}
    for method, facts in parts.items():
        difference = losses["base"] - losses[method]
        assert facts["difference"] == pytest.approx(difference.mean())
        assert facts["interval"] == pytest.approx(paired_bootstrap(difference[None])[0])
        assert facts["interval"][0] < facts["difference"] < facts["interval"][1]
    whole, correction, diffusion = (
        f"{facts['difference']:.4f}" for facts in (verdict, *parts.values())
    )
    sentence = (
        f" Of this gain of {whole} the correction alone (no diffusion) has {correction}, and OCD "
        f"without the correction {diffusion}: what helps here is the correction. "
        "Against the best baseline"
    )
    assert sentence in verdict["sentence"]


def test_a_gain_of_the_common_move_is_not_said_to_be_of_a_part(tmp_path: Path) -> None:
    """OCD makes no move: one draw, the ensemble and the correction alone answer alike."""
    made = {name: MADE[name] for name in ("ocd", "correction_only", "ocd_without_correction_5")}
    make_verdict(tmp_path, **made)
    losses = read_run(tmp_path).of_seeds("loss/ocd_ensemble_5")
    for seed in read_run(tmp_path).seeds:
        alike = {f"loss/{name}": losses[seed] for name in ("ocd", "correction_only")}
        change_tensors(tmp_path, seed, lambda tensors, a=alike: tensors.update(a))
    verdict = verdict_of(tmp_path)
    assert verdict["parts"] == {} and "Of this gain" not in verdict["sentence"]
    assert "OCD makes no move here: all of this difference is the common move's" in verdict["sentence"]


@pytest.mark.parametrize("missing", ["correction_only", "ocd_without_correction_5"])
def test_without_both_parts_nothing_is_said(tmp_path: Path, missing: str) -> None:
    made = {name: MADE[name] for name in ("correction_only", "ocd_without_correction_5")}
    del made[missing]
    verdict = make_verdict(tmp_path, **made)
    assert verdict["parts"] == {}
    assert "Of this gain" not in verdict["sentence"]


@pytest.mark.parametrize(
    ("correction", "diffusion", "lead", "expected"),
    [
        (0.030, 0.005, [0.02, 0.03], "what helps here is the correction."),
        (0.005, 0.030, [-0.03, -0.02], "what helps here is the diffusion."),
        (0.030, 0.020, [0.005, 0.015], "the correction helps more."),
        (0.030, 0.029, [-0.01, 0.012], "which of them helps more cannot be told."),
        (0.0005, -0.02, [0.01, 0.03], "neither of them is certain to help by itself."),
    ],
)
def test_which_part_helps(
    correction: float, diffusion: float, lead: list[float], expected: str
) -> None:
    gains = {
        name: {"difference": size, "interval": [size - 0.001, size + 0.001]}
        for name, size in (("correction_only", correction), ("ocd_without_correction_5", diffusion))
    }
    sentence = parts_sentence(Parts(gains, lead), {"difference": 0.04, "statement": "gain"})
    assert sentence.startswith(
        f"Of this gain of 0.0400 the correction alone (no diffusion) has {correction:.4f}, "
    )
    assert sentence.endswith(f": {expected}")
    sentence = parts_sentence(Parts(gains, lead), {"difference": 0.0, "statement": "no gain"})
    assert sentence.startswith("Against the base, the correction alone (no diffusion) gains ")
