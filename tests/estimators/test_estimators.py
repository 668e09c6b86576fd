"""OCD as scikit-learn has its models: its own checks, pipelines, searches, intervals, classes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ocd import OCDError
from ocd.base import run_without_delta
from ocd.estimators import OCDClassifier, OCDRegressor

SMALL: dict[str, Any] = {
    "width": 16, "blocks": 1, "dropout": 0.0, "epochs": 30, "learning_rate": 0.03, "weight_decay": 0.0,
    "folds": 2, "draws": 3, "device": "cpu", "random_state": 0,
    "config": {
        "training.num_steps": 10, "denoiser.width": 16, "denoiser.embedding": 16,
        "training.batch_size": 32,
    },
}  # fmt: skip
CHECKS = [OCDRegressor(**SMALL), OCDClassifier(**SMALL)]


@pytest.mark.slow
@parametrize_with_checks(CHECKS)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    return load_diabetes(return_X_y=True)


def fit_regressor(**changes: Any) -> OCDRegressor:
    return OCDRegressor(**(SMALL | changes)).fit(*diabetes())


def fit_classifier(**changes: Any) -> tuple[OCDClassifier, np.ndarray, np.ndarray]:
    X, y = load_wine(return_X_y=True)
    names = np.array(["red", "white", "rose"])[y]
    return OCDClassifier(**(SMALL | changes)).fit(X, names), X, names


def test_a_regressor_answers_in_the_targets_unit() -> None:
    X, y = diabetes()
    model = fit_regressor()
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.3
    assert model.n_features_in_ == 10
    assert model.notes_ == model.ocd_.notes and model.notes_


def test_the_mean_is_that_of_the_draws_and_quantiles_are_theirs() -> None:
    X, _ = diabetes()
    model = fit_regressor(draws=40, config=SMALL["config"] | {"sampling.scale_factor": 1.0})
    assert not model.answers_as_base_
    mean, std = model.predict(X[:30], return_std=True)
    low, middle, high = model.predict_quantiles(X[:30], (0.1, 0.5, 0.9)).T
    assert (low < middle).all() and (middle < high).all() and (std > 0).all()
    draws = model._drawn(X[:30]).T
    np.testing.assert_allclose(mean, draws.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(middle, np.median(draws, axis=0), rtol=1e-6)
    ends = model.predict_quantiles(X[:3], [0.0, 1.0])
    np.testing.assert_allclose(ends, np.sort(draws[:, :3], axis=0)[[0, -1]].T, rtol=1e-5)


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], []])
def test_quantiles_are_shares(wrong: list[float]) -> None:
    with pytest.raises(OCDError, match="each must be from 0 to 1"):
        fit_regressor().predict_quantiles(diabetes()[0], wrong)


def test_where_no_move_gains_the_base_answers() -> None:
    X, _ = diabetes()
    model = fit_regressor(
        config=SMALL["config"] | {"sampling.scale_factor": 0.0, "common_move": "never"}
    )
    assert model.answers_as_base_
    base = run_without_delta(model.base_, model._scaler(X))[:, 0]
    np.testing.assert_allclose(model.predict(X), base.numpy(), rtol=1e-5)


@pytest.mark.parametrize("exponent", [-20, 20])
def test_the_unit_of_the_target_does_not_count(exponent: int) -> None:
    X, y = diabetes()
    plain, factor = fit_regressor(), 2.0**exponent
    model = OCDRegressor(**SMALL).fit(X, factor * y)
    assert (model.predict(X) == factor * plain.predict(X)).all()
    std = model.predict(X, return_std=True)[1]
    assert (std == factor * plain.predict(X, return_std=True)[1]).all()
    assert (model.predict_quantiles(X[:9]) == factor * plain.predict_quantiles(X[:9])).all()
    base, same = model.base_(model._scaler(X)), plain.base_(plain._scaler(X))
    assert torch.equal(base, factor * same) and base.std() > 0.1 * factor


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 1.7e9), (1.0, -1e12)])
def test_any_unit_and_any_offset_are_as_good(factor: float, offset: float) -> None:
    X, y = diabetes()
    plain = fit_regressor().predict(X)
    found = (OCDRegressor(**SMALL).fit(X, factor * y + offset).predict(X) - offset) / factor
    np.testing.assert_allclose(found, plain, atol=0.02 * y.std())
    spread = ((y - y.mean()) ** 2).sum()
    assert 1 - ((y - found) ** 2).sum() / spread == pytest.approx(
        1 - ((y - plain) ** 2).sum() / spread, abs=0.005
    )


def test_a_rows_answer_is_the_same_whatever_else_is_asked_for() -> None:
    X, _ = diabetes()
    model = fit_regressor(draws=21, config=SMALL["config"] | {"sampling.scale_factor": 1.0})
    whole, order = model.predict(X[:70]), np.random.default_rng(0).permutation(70)
    assert (model.predict(X[:70][order]) == whole[order]).all()
    assert (np.concatenate([model.predict(X[n : n + 1]) for n in range(5)]) == whole[:5]).all()


def test_few_different_targets_may_leave_a_fold_without_any() -> None:
    X, _ = diabetes()
    y = np.zeros(len(X))
    y[3] = 1.0
    assert np.isfinite(OCDRegressor(**SMALL).fit(X, y).predict(X)).all()


@pytest.mark.parametrize("value", [0.0, 7.5, 1e300])
def test_a_constant_target_is_refused(value: float) -> None:
    X, y = diabetes()
    with pytest.raises(OCDError, match="in all 442 rows: there is nothing to learn"):
        OCDRegressor(**SMALL).fit(X, np.full(len(X), value))
    with pytest.raises(OCDError, match="y goes from .* numbers of 64 bits do not hold: subtract"):
        OCDRegressor(**SMALL).fit(X, 1e17 + y)


def test_classes_are_those_that_came() -> None:
    model, X, names = fit_classifier()
    assert list(model.classes_) == ["red", "rose", "white"]
    shares = model.predict_proba(X)
    assert shares.shape == (len(X), 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (model.predict(X) == model.classes_[shares.argmax(axis=1)]).all()
    assert model.score(X, names) > 0.9


def test_a_seed_gives_the_same_model_and_another_another() -> None:
    X, _ = diabetes()
    one, two, other = fit_regressor(), fit_regressor(), fit_regressor(random_state=1)
    assert (one.predict(X) == two.predict(X)).all()
    assert not np.allclose(one.predict(X), other.predict(X))
    state = torch.get_rng_state()
    fit_regressor(random_state=None)
    assert torch.equal(state, torch.get_rng_state())


def test_in_a_pipeline_and_a_search() -> None:
    X, y = diabetes()
    pipeline = make_pipeline(StandardScaler(), OCDRegressor(**SMALL))
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.1
    search = GridSearchCV(OCDRegressor(**SMALL), {"width": [8, 16]}, cv=2, n_jobs=1).fit(X, y)
    assert search.best_params_["width"] in (8, 16)
    assert search.predict(X).shape == y.shape


def test_copies_and_files_answer_alike() -> None:
    X, _ = diabetes()
    model = fit_regressor()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (other.predict(X) == model.predict(X)).all()
    assert not hasattr(clone(model), "ocd_")


def test_groups_are_never_parted() -> None:
    X, y = diabetes()
    model = OCDRegressor(**SMALL).fit(X, y, groups=np.arange(len(X)) // 2)
    assert model.ocd_.belongs is not None and len(model.ocd_.belongs) == len(X)


@pytest.mark.parametrize("given", [True, False], ids=["groups", "copies"])
def test_classes_have_their_share_in_folds_of_groups(given: bool) -> None:
    """Every row twice: said by groups, or found."""
    X, y = (np.repeat(values[:60], 2, axis=0) for values in load_wine(return_X_y=True))
    X, y = X[np.argsort(y % 2, kind="stable")], np.sort(y % 2)
    model = OCDClassifier(**SMALL).fit(X, y, groups=np.arange(120) // 2 if given else None)
    assert model.ocd_.belongs is not None and len(model.ocd_.belongs.unique()) == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "tree"}, "network is 'tree'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"config": {"training.num_stepz": 3}}, "training.num_stepz"),
        ({"epochs": 0}, "base_epochs is 0"),
        ({"draws": 0}, "draws is 0: it must be a whole number, at least 1, or None"),
        ({"draws": 2.5}, "draws is 2.5: it must be a whole number"),
        ({"folds": 0}, "folds is 0: it must be a whole number, at least 2"),
        ({"folds": 1}, "folds is 1: it must be a whole number, at least 2"),
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OCDError, match=message):
        fit_regressor(**change)
    with pytest.raises(OCDError, match=message):
        fit_classifier(**change)


def test_too_few_rows_and_one_class_are_refused() -> None:
    X, y = diabetes()
    with pytest.raises(ValueError, match="n_samples=3"):
        OCDRegressor(**SMALL).fit(X[:3], y[:3])
    with pytest.raises(ValueError, match="y has 1 class"):
        OCDClassifier(**SMALL).fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="NaN"):
        OCDRegressor(**SMALL).fit(np.full_like(X, np.nan), y)
