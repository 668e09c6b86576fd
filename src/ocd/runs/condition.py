"""Which parts of the condition matter: the generator of a run, trained again on some of them alone."""

from __future__ import annotations

import shutil
from typing import Any

from ocd.base import example_losses
from ocd.baselines import OCDVariant, UnchangedBase
from ocd.data import read_json, write_json, write_text
from ocd.errors import OCDError
from ocd.evaluation import TOGETHER
from ocd.generator import PARTS
from ocd.lessons import Plan, Workdir
from ocd.model import OCD
from ocd.reporting import condition_table
from ocd.runs.baselines import base_trainer
from ocd.runs.run import Run

VARIANTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "all": (PARTS, True),
    "x": ((), True),
    "I(x)": (PARTS, False),
    "layer input": (("layer_input",), False),
    "layer output": (("layer_output",), False),
    "output": (("output",), False),
    "x, output": (("output",), True),
}
"""Name -> the parts of I(x) in the condition, and whether x is in it."""


def compare_conditions(run: Run) -> str:
    """Train a generator for each of `VARIANTS` on the deltas that the run has overfitted, and predict
    the test examples; variants that are finished are kept.

    Writes condition.json and condition.md, and returns the table. Nothing else of the run changes, and
    nothing is chosen by this: settings are chosen on held-out training examples.
    """
    values: dict[str, Any] = {"task": run.task.name, "seeds": run.seeds, "variants": {}}
    if (evidence := run.data.evidence) is not None:
        values |= {TOGETHER: evidence.together.tolist(), "unit": evidence.unit}
    for seed in run.seeds:
        for name, losses in _of_seed(run, seed).items():
            values["variants"].setdefault(name, []).append(losses)
    write_json(run.root / "condition.json", values)
    table = condition_table(values)
    write_text(run.root / "condition.md", table)
    return table


def _of_seed(run: Run, seed: int) -> dict[str, dict[str, list[float]]]:
    """Losses of the test examples by variant: of one draw, and of the mean where there is one."""
    path = run.root / "condition" / f"seed-{seed}.json"
    known: dict[str, dict[str, list[float]]] = read_json(path) if path.exists() else {}
    run = run.at(seed)
    run.overfit(seed)
    lessons = run.lessons(seed)
    base = run.base(seed)
    selection = read_json(run.selection_path(seed))
    has_encoder = run.task.make_encoder(run.options, run.base_data) is not None
    if "base" not in known:
        known["base"] = {"draw": _losses(run, UnchangedBase(base))}
    for name, (parts, encode_x) in VARIANTS.items():
        if name in known or (encode_x and not has_encoder):
            continue
        seen = {f"condition.{part}": part in parts for part in PARTS}
        config = run.config.replace({"layer": selection["chosen"], "seed": seed, **seen})
        ocd = run.unfitted(base, config, seed, encode_x)
        if run.crosses_fits:
            ocd.seen, ocd.fit_base = True, base_trainer(run, seed)
        member = f"condition-{seed}-{name.replace(' ', '-').replace(',', '').replace('(x)', '')}"
        context = {"seed": seed, "role": f"condition: {name}"}
        work = Workdir(run.root, member, context, deltas_of=f"seed-{seed}")
        _take_plan(run, seed, work, ocd)
        ocd.train(lessons, work)
        known[name] = {"draw": _losses(run, OCDVariant(ocd))}
        if config.diffusion.prediction == "x0":
            known[name]["mean"] = _losses(run, OCDVariant(ocd, "mean"))
        write_json(path, known)
        shutil.rmtree(work.checkpoint)  # only the losses are kept
    return known


def _take_plan(run: Run, seed: int, work: Workdir, ocd: OCD) -> None:
    """The run's plan holds for the variants too: what was measured is not measured again."""
    if work.plan.exists():
        return
    main = Workdir(run.root, f"seed-{seed}")
    made = read_json(main.plan)
    _, record = ocd.open(run.lessons(seed), work)
    record.layer, record.plan = made["layer"], Plan.from_dict(made["plan"])
    record.has_common_move = made["has_common_move"]
    record.num_folds = made["num_folds"]
    if record.has_common_move:
        work.checkpoint.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(main.common_moves, work.common_moves)
    record.save()


def _losses(run: Run, predictor: Any) -> list[float]:
    test = run.data.test
    prediction = predictor.predict(test.inputs, draws=1)
    losses = example_losses(run.task.loss, prediction.outputs[0].cpu(), test.targets)
    if not losses.isfinite().all():
        raise OCDError("a loss of the test examples is not finite: the table would not be comparable")
    return [float(value) for value in losses]
