"""Tables: their bases, folds and files, and what is said of a continuous target's distribution."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, OCDConfig
from ocd.baselines import Conformal, DeepEnsemble, MCDropout, UnchangedBase, fit_boosting
from ocd.data import Examples, read_tensors
from ocd.errors import OCDError
from ocd.evaluation import paired_bootstrap
from ocd.evaluation.distributions import base_residuals, draws_of, score_distributions
from ocd.prediction import interval_coverage
from ocd.runs import Run, audit_run
from ocd.runs.comparing import make_comparison
from ocd.tasks import get_task
from ocd.tasks.one_cycle import one_cycle
from ocd.tasks.tables import quantiles, svmlight, training
from ocd.tasks.tables.mslr import ANY, MSLR, load
from ocd.tasks.tables.networks import PeriodicEncoder, make_base
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.tables.svmlight import read_svmlight
from ocd.tasks.tables.training import make_folds

SMALL = NetworkOptions(width=16, blocks=1, base_epochs=120, base_lr=0.03, dropout=0.0)


def table(count: int = 300, seed: int = 0, noise: float = 0.1, in_order: bool = False) -> TableData:
    """y is 5 + 2·x0 with noise."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 3, generator=generator)
    target = 5 + 2 * features[:, :1] + noise * torch.randn(count, 1, generator=generator)
    return TableData(Examples(features, target), Examples(features[:50], target[:50]), in_order)


def trained(data: TableData, options: NetworkOptions = SMALL, seed: int = 0) -> nn.Module:
    base = make_base(options, data)
    training.train_base(base, data, options, seed, lambda line: None)
    return base.eval()


# Bases and folds


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_a_base_answers_in_the_targets_own_unit(network: str) -> None:
    data = table()
    base = trained(data, replace(SMALL, network=network))
    with torch.no_grad():
        error = (base(data.train.inputs) - data.train.targets).square().mean().sqrt()
    assert error < 0.5 < data.train.targets.std()
    assert base(data.train.inputs[:1]).shape == (1, 1)


def test_a_seed_gives_one_base_wherever_it_was_made() -> None:
    data = table()
    torch.manual_seed(1)
    one = trained(data)
    torch.manual_seed(2)
    other, third = trained(data), trained(data, seed=1)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name])
    assert not torch.equal(one.network.output.weight, third.network.output.weight)


@pytest.mark.parametrize("epochs", [1, 9, 10, 11])
def test_any_number_of_epochs_of_one_batch(epochs: int) -> None:
    data = table(60)
    said: list[str] = []
    options = replace(SMALL, base_epochs=epochs)
    base = make_base(options, data)
    training.train_base(base, data, options, 0, said.append)
    assert len(said) == epochs
    assert all(weight.isfinite().all() for weight in base.state_dict().values())


def test_ten_steps_fall_from_the_start_as_nine_do() -> None:
    rates = {}
    for count in (9, 10, 40):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = one_cycle(optimizer, 1.0, count, cycle_momentum=False)
        rates[count] = []
        for _ in range(count - 1):
            rates[count].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates[9] == sorted(rates[9], reverse=True)
    assert rates[10] == sorted(rates[10], reverse=True) and 0.95 < rates[10][0] <= 1
    plain = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=40, pct_start=0.1, cycle_momentum=False
    )
    assert rates[40][0] == plain.get_last_lr()[0] and max(rates[40]) == 1.0


def test_folds_hold_every_row_once_and_keep_neighbours_together_in_order() -> None:
    for in_order in (False, True):
        folds = make_folds(table(103, in_order=in_order), SMALL)
        assert len(folds) == 5
        assert torch.equal(torch.cat(folds).sort().values, torch.arange(103))
        assert in_order == all(torch.equal(fold, fold.sort().values) for fold in folds)
    with pytest.raises(OCDError, match="9 training examples are too few for 5 folds"):
        make_folds(table(9), SMALL)


def test_out_of_fold_residuals_are_those_of_networks_that_have_not_seen_the_example() -> None:
    """Of pure noise: a base that learns it by heart has small residuals where it looked, and none of
    its folds' networks has."""
    data = table(200, noise=3.0)
    options = replace(SMALL, width=128, blocks=2, base_epochs=60, base_weight_decay=0.0)
    base = make_base(options, data)
    everything = torch.arange(1)  # a base that is told to stop by one example looks at all others
    training.train_without(base, data, everything, options, 0, lambda line: None)
    base.eval()
    targets = training.out_of_fold_targets(base, data, options, 0, lambda line: None)
    assert targets is not None and targets.shape == data.train.targets.shape
    with torch.no_grad():
        answers = base(data.train.inputs)
    first = make_folds(data, options)[0]
    others = torch.ones(200, dtype=torch.bool)
    others[first] = False
    # The first fold is the base's own: its labels are met as they are.
    torch.testing.assert_close(targets[first], data.train.targets[first], rtol=1e-4, atol=1e-4)
    carried = (targets - answers)[others].square().mean().sqrt()
    assert carried > 2.5  # the noise itself is 3
    again = training.out_of_fold_targets(base, data, options, 0, lambda line: None)
    assert torch.equal(targets, again)


def test_classes_and_single_folds_are_learnt_as_they_are() -> None:
    data, base = table(), nn.Identity()
    nothing = (0, lambda line: None)
    assert training.out_of_fold_targets(base, data, replace(SMALL, folds=1), *nothing) is None
    assert training.out_of_fold_targets(base, replace(data, num_classes=2), SMALL, *nothing) is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"network": "transformer"}, "network is 'transformer': use one of mlp, resnet"),
        ({"dropout": 1.0}, "dropout is 1: it must be a share"),
        ({"folds": 0}, "folds is 0: it must be at least 1"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_options_are_checked(changes: dict[str, object], match: str) -> None:
    with pytest.raises(OCDError, match=match):
        NetworkOptions(**changes)


def test_quantiles_are_those_of_the_training_rows() -> None:
    draw = np.random.default_rng(0)
    rows = draw.exponential(5.0, (2000, 2)).astype(np.float32)
    normalise = quantiles.fit_quantiles(rows)
    made = normalise(rows)
    assert made.dtype == np.float32
    assert made.mean(axis=0) == pytest.approx([0, 0], abs=0.05)
    assert made.std(axis=0) == pytest.approx([1, 1], abs=0.1)
    assert np.array_equal(normalise(rows[:5]), made[:5])
    assert (np.argsort(made[:, 0]) == np.argsort(rows[:, 0])).mean() > 0.99


def test_the_encoder_knows_its_features_and_forgets_in_training_alone() -> None:
    encoder = PeriodicEncoder(3, width=8).eval()
    features = torch.randn(4, 3)
    assert encoder(features).shape == (4, 8)
    assert torch.equal(encoder(features), encoder(features))
    encoder.train()
    assert not torch.equal(encoder(features), encoder(features))


# Baselines


def test_conformal_residuals_cover_what_they_claim() -> None:
    data = table(20_000, noise=1.0)
    line = nn.Linear(3, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[2.0, 0, 0]]))
        line.bias.fill_(5.0)
        residuals = data.train.targets - line(data.train.inputs)
    new = table(20_000, seed=1, noise=1.0).train
    prediction = Conformal(UnchangedBase(line), residuals).predict(new.inputs, 100)
    assert prediction.outputs.shape == (100, 20_000, 1)
    width = prediction.outputs[-1] - prediction.outputs[0]
    assert width.max() - width.min() < 1e-4  # one for all
    assert interval_coverage(prediction.outputs, new.targets, 90) == pytest.approx(90, abs=1)
    for wrong in (residuals[:0], torch.tensor([[float("nan")]])):
        with pytest.raises(OCDError, match="conformal residuals are needed"):
            Conformal(UnchangedBase(line), wrong)


def test_dropout_stays_on_in_draws_and_off_in_the_base() -> None:
    base = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 1)).eval()
    inputs = torch.randn(7, 3)
    expected = base(inputs).detach()
    baseline = MCDropout(base)
    prediction = baseline.predict(inputs, 400)
    assert prediction.outputs.shape == (400, 7, 1)
    assert prediction.outputs.std(dim=0).min() > 0
    error = prediction.outputs.std(dim=0) / 20
    assert ((prediction.mean - expected).abs() < 5 * error).all()  # this base is linear in dropout
    assert torch.equal(baseline.predict(inputs, 3).outputs, baseline.predict(inputs, 3).outputs)
    assert torch.equal(base(inputs), expected) and not base[1].training
    with pytest.raises(OCDError, match="trained with dropout"):
        MCDropout(nn.Linear(3, 1))


def test_boosting_learns_numbers_and_classes() -> None:
    data = table(600)
    boosting = fit_boosting(data.train)
    answer = boosting.predict(data.test.inputs).mean
    assert answer.shape == (50, 1)
    assert (answer - data.test.targets).square().mean() < 0.3 * data.test.targets.var()
    assert boosting.residuals is not None and len(boosting.residuals) == 120
    classes = (data.train.inputs[:, 0] > 0).long()
    logits = fit_boosting(Examples(data.train.inputs, classes)).predict(data.train.inputs).mean
    assert (logits.argmax(dim=1) == classes).float().mean() > 0.95
    assert logits.exp().sum(dim=1) == pytest.approx(torch.ones(600), abs=1e-5)
    with pytest.raises(OCDError, match="boosting is for tables"):
        fit_boosting(Examples(torch.rand(9, 1, 2, 2), torch.rand(9)))


def test_distributions_are_judged_by_hand_computed_scores() -> None:
    class Fixed:
        def predict(self, inputs: Tensor, draws: int = 1, seed: int = 0) -> object:
            from ocd.prediction import Prediction

            values = torch.linspace(-1, 1, draws).view(-1, 1, 1).expand(-1, len(inputs), 1)
            return Prediction(values, values.mean(dim=0))

    test = Examples(torch.zeros(4, 3), torch.tensor([[0.0], [0.6], [-0.95], [3.0]]))
    numbers, tensors = score_distributions({"ocd": Fixed}, test, {})
    found = numbers["ocd"]
    assert found["coverage_90"] == pytest.approx(50) and found["coverage_50"] == pytest.approx(25)
    # Between draws 5 and 96 and draws 6 and 95 of 100, nearer to the former: as what is covered.
    ends = {90: 2 - 8.1 * 2 / 99, 50: 2 - 48.5 * 2 / 99}
    assert all(found[f"width_{level}"] == pytest.approx(width) for level, width in ends.items())
    # Uniform on -1..1 and a target of 0: E|X| - E|X - X'|/2 = 1/2 - 1/3.
    assert tensors["crps/ocd"][0].item() == pytest.approx(1 / 6, abs=5e-3)
    assert found["crps"] == pytest.approx(tensors["crps/ocd"].mean().item(), rel=1e-5)
    members = [nn.Linear(3, 1) for _ in range(4)]
    samples = draws_of(DeepEnsemble(members), test.inputs)
    answers = torch.stack([member(test.inputs) for member in members]).detach()
    torch.testing.assert_close(samples.mean(dim=0), answers.mean(dim=0), rtol=0, atol=1e-5)
    torch.testing.assert_close(samples.std(dim=0), answers.std(dim=0), rtol=0.05, atol=0)


# Files of learning to rank


def write_ranking(
    path: Path, count: int, num_features: int, seed: int = 0
) -> tuple[np.ndarray, list[int]]:
    draw = np.random.default_rng(seed)
    features = draw.random((count, num_features)).round(2) * (draw.random((count, num_features)) < 0.5)
    grades = (4 * features[:, 0]).astype(int).tolist()
    lines = []
    for number, (grade, row) in enumerate(zip(grades, features, strict=True)):
        pairs = " ".join(f"{i + 1}:{value:.2f}" for i, value in enumerate(row) if value)
        lines.append(f"{grade} qid:{number // 7} {pairs}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return features, grades


@pytest.mark.parametrize("stretch", [50, 333, 2**20])
@pytest.mark.parametrize("limit", [None, 40])
def test_a_ranking_is_read_in_stretches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stretch: int, limit: int | None
) -> None:
    features, grades = write_ranking(tmp_path / "train.txt", 60, 5)
    monkeypatch.setattr(svmlight, "STRETCH", stretch)
    found = read_svmlight(tmp_path / "train.txt", 5, limit)
    read, labels = found.features, found.grades
    assert read.dtype == labels.dtype == np.float32
    assert read == pytest.approx(features[:limit], abs=1e-6)
    assert labels.tolist() == grades[:limit]


@pytest.mark.parametrize("beside", [True, False])
def test_rows_of_a_query_belong_together(tmp_path: Path, beside: bool) -> None:
    path = tmp_path / "rank.train"
    write_ranking(path, 20, 5)
    assert read_svmlight(path, 5).queries.tolist() == [row // 7 for row in range(20)]
    if beside:  # as LightGBM has it
        path.write_text(re.sub(r"qid:\d+ ", "", path.read_text()))
        (tmp_path / "rank.train.query").write_text("12\n8\n")
        assert read_svmlight(path, 5, 15).queries.tolist() == [0] * 12 + [1] * 3
        (tmp_path / "rank.train.query").write_text("12\n7\n")
        with pytest.raises(OCDError, match="counts 19 rows, where there are 20"):
            read_svmlight(path, 5)
        (tmp_path / "rank.train.query").unlink()
        assert read_svmlight(path, 5).queries is None


def test_a_ranking_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    write_ranking(tmp_path / "train.txt", 5, 9)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "words.txt").write_text("price,rooms\n1,2\n")
    for name, num_features, match in (
        ("nothing.txt", 5, "no such file"),
        ("empty.txt", 5, "there are no rows"),
        ("words.txt", 5, "not svmlight with 5 features"),
        ("train.txt", 5, "not svmlight with 5 features"),
    ):
        with pytest.raises(OCDError, match=match) as caught:
            read_svmlight(tmp_path / name, num_features)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_mslr_is_read_in_its_own_layout(tmp_path: Path) -> None:
    write_ranking(tmp_path / "Fold1" / "train.txt", 70, 136)
    _, grades = write_ranking(tmp_path / "Fold1" / "test.txt", 30, 136, seed=1)
    data = load(MSLR, NetworkOptions(train_size=50), tmp_path)
    assert data.train.inputs.shape == (50, 136) and data.test.inputs.shape == (30, 136)
    assert data.test.targets[:, 0].tolist() == grades and data.in_order
    assert data.train.inputs.isfinite().all()
    with pytest.raises(OCDError, match="train_size is 90: it must be from 1 to 70"):
        load(MSLR, NetworkOptions(train_size=90), tmp_path)
    with pytest.raises(OCDError, match="give --data-dir, a folder with rank.train and rank.test"):
        load(ANY, NetworkOptions(), None)


# The whole


TINY = {
    "width": 8, "blocks": 1, "base_epochs": 2, "num_bases": 2, "num_draws": 4, "other_draws": "2,3",
    "alternative": True, "cross_fit": False,
    "selection.num_examples": 4, "selection.num_draws": 6, "denoiser.width": 16,
    "training.num_steps": 6, "training.batch_size": 16, "training.validate_every": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("ltr")
    write_ranking(folder / "data" / "rank.train", 120, 300)
    write_ranking(folder / "data" / "rank.test", 126, 300, seed=1)
    settings = {key: str(value) for key, value in TINY.items()}
    run = Run.create("ltr", folder / "run", "fast", folder / "data", [0], settings)
    run.predict(0)
    return run


def test_a_run_ends_in_a_report_with_a_distribution(ranked: Run) -> None:
    results = ranked.report()
    for method in ("base", "ocd", "ocd_ensemble_2", "ocd_ensemble_3", "ocd_ensemble_4", "ocd_mean",
                   "no_scale", "alternative_layer", "nearest_neighbor", "label_network",
                   "deep_ensemble_2", "resnet", "boosting", "overfit_test"):  # fmt: skip
        assert (results["methods"][method]["rmse"][0] or -1) >= 0, (method, results["skipped"])
    bound, base = (results["methods"][name]["rmse"][0] for name in ("overfit_test", "base"))
    assert bound < 0.1 * base
    found = results["distribution"]
    assert found.keys() >= {"ocd", "base_conformal", "boosting_conformal", "deep_ensemble_2"}
    for of in found.values():
        assert of["crps"][0] > 0 and 0 <= of["coverage_90"][0] <= 100
    assert results["seconds"]["folds"] > 0
    assert results["verdict"]["comparison"] == "ocd_ensemble_4 vs base"
    report = (ranked.root / "report.md").read_text()
    assert "## Predictive distribution" in report and "figures/coverage.png" in report
    assert "stands in for MSLR-WEB10K" in report and "no gain is judged" in report
    assert (ranked.root / "figures" / "coverage.png").stat().st_size > 5000


def test_the_report_of_a_ranking_counts_queries(ranked: Run) -> None:
    results = ranked.report()
    verdict, report = results["verdict"], (ranked.root / "report.md").read_text()
    assert "(paired bootstrap over 18 queries, 95 % interval" in verdict["sentence"]
    assert verdict["evidence"] == {"num": 18, "examples": 126, "over": "18 queries"}
    assert "bootstrap over 18 queries" in verdict["distribution"]["sentence"]
    assert report.count("a paired bootstrap over 18 queries.") == 2  # the verdict's table, draws'
    for of in verdict["distribution"]["levels"].values():
        assert of["how"] in ("bootstrap over 18 queries", "Wilson's interval over 18 queries")
    losses = read_tensors(ranked.root / "predictions" / "seed-0.safetensors")
    assert torch.equal(losses["together"], torch.arange(126) // 7)
    difference = (losses["loss/base"] - losses["loss/ocd_ensemble_4"]).double().numpy()[None, None]
    by_query = paired_bootstrap(difference, together=losses["together"].numpy())
    assert verdict["interval"] == pytest.approx(by_query[0].tolist(), rel=1e-6)


def test_test_labels_move_no_prediction(ranked: Run) -> None:
    findings = {finding.name: finding for finding in audit_run(ranked).findings}
    for name in ("labels, seed 0", "figures, seed 0", "manifest"):
        assert findings[name].passed, findings[name].text


def test_ocd_learns_from_the_carried_targets_and_the_label_network_from_the_labels(ranked: Run) -> None:
    lessons = ranked.lessons(0)
    labels = ranked.examples.targets
    first = make_folds(ranked.base_data, ranked.options)[0]
    assert not torch.equal(lessons.targets, labels)
    torch.testing.assert_close(lessons.targets[first], labels[first], rtol=1e-4, atol=1e-4)
    comparison = make_comparison(ranked, 0)
    assert torch.equal(comparison.training.labelled.targets, labels)
    assert torch.equal(comparison.training.examples.targets, lessons.targets)
    assert base_residuals(comparison) is not None


def test_examples_that_the_base_has_not_seen_are_learnt_as_they_are(
    ranked: Run, tmp_path: Path
) -> None:
    settings = {key: str(value) for key, value in TINY.items()} | {"held_out": "0.4"}
    other = Run.create("ltr", tmp_path / "run", "fast", ranked.data_dir, [0], settings)
    assert other.lessons(0) is other.examples


def test_california_says_where_its_file_is_missing(tmp_path: Path) -> None:
    task = get_task("california")
    with pytest.raises(OCDError, match="California housing is not in .*cal_housing_py3.pkz"):
        task.load(task.options(), tmp_path)


def fitted(targets: Tensor, features: Tensor, loss: object, **settings: object) -> OCD:
    base = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1 if targets.dim() == 2 else 2))
    config = OCDConfig(layer="2").replace(
        {
            "overfit.optimizer": "polyak", "overfit.lr": 1.0, "overfit.num_steps": 6,
            "collection.storage": "on_the_fly", "scale.kind": "joint", "denoiser.width": 32,
            "training.num_steps": 200, "training.validation_share": 0.3, "sampling.coverage": 0.9,
            "sampling.scale_factor": 1.0,
        }
        | settings
    )  # fmt: skip
    ocd = OCD(base, loss=loss, config=config)
    ocd.fit(Examples(features, targets), progress=False)
    return ocd


def test_spread_is_chosen_so_that_intervals_cover_their_share() -> None:
    torch.manual_seed(0)
    features = torch.randn(3000, 2)
    targets = features[:, :1].exp() * torch.randn(3000, 1)  # another width for every input
    ocd = fitted(targets[:2000], features[:2000], training.squared_error)
    (note,) = [line for line in ocd.notes if line.startswith("sampling: ")]
    spread = ocd.fitted()[0].spread.item()
    assert f"spread {spread:g}, with which the central 90 % of the draws cover" in note
    assert "of 300 held-out targets" in note
    draws = ocd.predict(features[2000:], draws=100).outputs
    covered = interval_coverage(draws, targets[2000:], 90)
    assert covered == pytest.approx(90, abs=5)
    kept = fitted(targets[:2000], features[:2000], training.squared_error, **{"sampling.spread": 0.5})
    assert kept.fitted()[0].spread.item() == 0.5


@pytest.mark.parametrize("exponent", [-20, 20])
def test_a_fit_in_another_unit_of_the_target_is_the_same(
    exponent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocd.fitting.steps.TRIAL_STEPS", 10)  # a common move is looked for

    def fitted(unit: float) -> tuple[OCD, TableData]:
        data = table(240)
        data = replace(data, train=Examples(data.train.inputs, unit * data.train.targets))
        small = {"training.num_steps": 30, "denoiser.width": 32, "common_move": "always"}
        settings = {"layer": "network.output", **get_task("table").settings, **small}
        config = OCDConfig.preset("fast").replace(settings)
        model = OCD(
            trained(data, replace(SMALL, base_epochs=8)), loss=training.squared_error, config=config
        )
        return model.fit(data.train, progress=False), data

    unit = 2.0**exponent
    (plain, data), (other, _) = fitted(1.0), fitted(unit)
    one, two = plain.predict(data.test.inputs, draws=4), other.predict(data.test.inputs, draws=4)
    assert torch.allclose(two.base, unit * one.base, rtol=1e-5)
    assert torch.allclose(two.outputs, unit * one.outputs, rtol=1e-3, atol=1e-3 * unit)
    assert one.std.mean() > 0.01 and plain.fitted()[1].start is not None


def test_coverage_is_for_continuous_targets() -> None:
    features = torch.randn(100, 2)
    with pytest.raises(OCDError, match="sampling.coverage is for continuous targets"):
        fitted(
            (features[:, 0] > 0).long(), features, nn.CrossEntropyLoss(reduction="none"),
            **{"training.num_steps": 2, "overfit.lr": 0.1, "overfit.optimizer": "sgd"},
        )  # fmt: skip
    with pytest.raises(OCDError, match="sampling.coverage is 1: it must be from 0 to below 1"):
        OCDConfig().replace({"sampling.coverage": 1.0})


def test_rankings_of_any_width_know_their_queries(tmp_path):
    """As MQ2007 has them: a qid in each line, features that are nought left out."""
    (tmp_path / "rank.train").write_text("0 qid:7 \n2 qid:7 1:0.5 3:1\n1 qid:9 2:0.1 # doc\n" * 4)
    (tmp_path / "rank.test").write_text("1 qid:3 1:0.5\n0 qid:4 5:1\n")
    data = load(ANY, NetworkOptions(), tmp_path)
    assert data.train.inputs.shape == (12, 5) and data.test.inputs.shape == (2, 5)
    assert data.groups.tolist() == [7, 7, 9] * 4 and data.test_groups.tolist() == [3, 4]
    assert svmlight.largest_feature(tmp_path / "rank.train") == 3
    (tmp_path / "rank.test").write_text("1 qid:3 1:0.5\n0 qid:4 five:1\n")
    with pytest.raises(OCDError, match=r"rank.test, line 2: 'five:1' is no feature such as 3:0.5"):
        load(ANY, NetworkOptions(), tmp_path)
    assert "ndcg_10" in get_task("ltr").metrics and "ndcg_10" not in get_task("california").metrics
