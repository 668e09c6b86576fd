"""`ocd audit`: every check of ocd.audit, on the files of a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ocd.audit import (
    Audit,
    Finding,
    check_copying,
    check_labels,
    check_manifest,
    check_overlap,
    generated_deltas,
    training_deltas,
)
from ocd.base import example_losses
from ocd.data import Examples, Inputs, read_tensors, write_json
from ocd.errors import OCDError
from ocd.evaluation import USES_LABEL, Comparison, Method, Oracle, list_methods
from ocd.prediction import Predictor
from ocd.runs.comparing import make_comparison, missing_file
from ocd.runs.run import Run

AUDITED = 300  # test examples that are predicted again


def audit_run(run: Run) -> Audit:
    """Check a run for leaks, copied deltas, and files that changed.

    Trains nothing: a seed that is not trained is named and left out. Writes audit.json.
    """
    findings = [
        check_manifest(run.root, *run.facts),
        *_check_overlap(run),
    ]
    for seed in run.seeds:
        try:
            if missing := missing_file(run, seed):
                text = f"not checked, since {missing} is missing: `ocd predict {run.root}` makes it"
                findings.append(Finding(f"seed {seed}", None, text, {}))
                continue
            of_seed = list(_check_seed(run, seed))
        except OCDError as error:  # weights of another base, files that cannot be read
            of_seed = [Finding("files", False, str(error), {})]
        findings += [dataclasses.replace(f, name=f"{f.name}, seed {seed}") for f in of_seed]
    audit = Audit(findings)
    write_json(run.root / "audit.json", audit.as_dict())
    return audit


def _check_overlap(run: Run) -> Iterator[Finding]:
    """Once for all seeds, or for each where they draw their own training examples: a text of the test
    set may be among all that there are to draw from, and among none that were drawn."""
    seeds = run.seeds if run.task.for_seed is not None else run.seeds[:1]
    for seed in seeds:
        data = run.at(seed).data
        found = check_overlap(data.train.inputs, data.test.inputs)
        several = run.task.for_seed is not None
        yield dataclasses.replace(found, name=f"{found.name}, seed {seed}") if several else found


def _check_seed(run: Run, seed: int) -> Iterator[Finding]:
    run = run.at(seed)
    inputs, targets = run.data.test.rows(slice(0, AUDITED))
    builds = _Builds(run, seed, inputs, targets)
    yield check_labels(builds.predictors, inputs, targets, USES_LABEL)
    methods, comparison = builds.with_true_labels
    yield _check_figures(run, seed, methods)
    ocd, overfit = comparison.fits.main, comparison.fits.overfit
    network, _ = ocd.fitted()
    training = training_deltas(ocd, overfit, run.lessons(seed))
    yield check_copying(generated_deltas(ocd, inputs), training)
    if network.correction is not None:  # which would hide a diffusion that copies
        with network.only("diffusion"):
            alone = check_copying(generated_deltas(ocd, inputs), training)
        yield dataclasses.replace(alone, name="copying without the correction")


@dataclass
class _Builds:
    """All methods of a seed, made as often as it takes with other test labels.

    What sees no label is fitted anew each time, or a leak into a fit would not be seen. The oracles see
    the label and must move with it; their learning rate, the dearest of all fits, is chosen on training
    examples, and need not be chosen more than once. The methods with the true labels are those whose
    figures are compared with the recorded ones.
    """

    run: Run
    seed: int
    inputs: Inputs
    targets: Tensor
    _oracles: dict[str, Oracle] = field(default_factory=dict)

    def predictors(self, labels: Tensor | None) -> dict[str, Predictor]:
        """By name. `labels`: of the test examples; None where nothing may know them."""
        first = labels is self.targets and "with_true_labels" not in self.__dict__
        methods, _ = self.with_true_labels if first else self._build(labels)
        return {name: method.predictor for name, method in methods.items()}

    @cached_property
    def with_true_labels(self) -> tuple[dict[str, Method], Comparison]:
        """Those of the run itself."""
        return self._build(self.targets)

    def _build(self, labels: Tensor | None) -> tuple[dict[str, Method], Comparison]:
        # The whole run again, with these test labels in all its data: whatever a method might read
        # them from now holds others.
        other = dataclasses.replace(self.run)
        known = torch.zeros_like(self.targets) if labels is None else labels
        other.__dict__["data"] = dataclasses.replace(self.run.data, test=Examples(self.inputs, known))
        comparison = make_comparison(other, self.seed)
        table = list_methods(comparison)
        table.take_oracles(self._oracles)  # they see the label anyway: their rate is looked for once
        methods = table.for_labels(labels)
        self._oracles |= table.oracles
        return methods, comparison


def _check_figures(run: Run, seed: int, methods: dict[str, Method]) -> Finding:
    """Whether the losses that the table is made of are those of the methods that were audited."""
    inputs, targets = run.data.test.rows(slice(0, AUDITED))
    saved = read_tensors(run.root / "predictions" / f"seed-{seed}.safetensors")
    compared, wrong = [], []
    for name, method in methods.items():
        # These answers depend on the rest of their batch, which is another one here.
        if name.startswith(("tent_", "mc_dropout_")) or f"loss/{name}" not in saved:
            continue
        prediction = method.predictor.predict(inputs, method.draws)
        output = method.combine(prediction, run.task.join_draws).cpu()
        losses = example_losses(run.task.loss, output, targets).float()
        compared.append(name)
        if not torch.allclose(
            losses, saved[f"loss/{name}"][:AUDITED], rtol=1e-2, atol=1e-3, equal_nan=True
        ):
            wrong.append(name)
    if wrong:
        text = f"the recorded losses are not those of {', '.join(wrong)}: predict again"
    else:
        text = (
            f"the recorded losses of the first {len(targets)} test examples are those of "
            f"{len(compared)} methods, predicted again"
        )
    return Finding("figures", not wrong, text, {"compared": len(compared), "wrong": len(wrong)})
