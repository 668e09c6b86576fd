"""Does a method see the test labels? Predictions with true, exchanged and no labels must agree.

    finding = check_labels(build, inputs, targets, uses_label)

The whole comparison is built three times. A method that never sees a label gives the same numbers,
bit for bit. A method that says that it uses the label must change, or the check itself would be
blind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ocd.audit.findings import Finding, counted, listed
from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction, Predictor

Build = Callable[[Tensor | None], Mapping[str, Predictor]]
"""Makes the methods of the table; the test labels that it is given are all that they may know."""


def check_labels(
    build: Build,
    inputs: Inputs,
    targets: Tensor,
    uses_label: Collection[str] = (),
    draws: int = 5,
    seed: int = 0,
) -> Finding:
    """Predict the same inputs (B, ...) with the labels `targets` (B, ...), exchanged ones, and none.

    A method must give bit-identical outputs in all three (NaN equals NaN), and must be there when
    there are no labels. One in `uses_label` must move when they are exchanged, or else the check would
    see nothing; without labels it may be missing from `build(None)` or raise. What a method knows of
    the labels by another way than `build` is not seen here. A method that raises OCDError with the true
    labels is in no table: it is left out and named.
    """
    exchanged = exchange_labels(targets, seed)
    moved = int((exchanged != targets).reshape(len(targets), -1).any(dim=1).sum())
    if not moved:
        same = f"{counted(len(targets), 'test label')} of the check: all equal"
        return Finding("labels", None, f"{same}, so that there is nothing to exchange")

    def predict(method: Predictor) -> Prediction:
        return method.predict(inputs, draws=draws, seed=seed)

    true, unable = _able(build(targets), predict)
    with_others = build(exchanged)
    shuffled = {name: _difference(true[name], predict(with_others[name])) for name in true}
    absent, refusals = _without_labels(build, true, uses_label, predict)

    suspects = [n for n in true if n not in uses_label]
    suspects = [n for n in suspects if n in refusals or shuffled[n] or absent[n]]
    again = build(targets) if suspects else {}
    restless = [n for n in suspects if _difference(true[n], predict(again[n]))]
    details: dict[str, Any] = {
        "examples": len(targets),
        "moved": moved,
        "unable": unable,
        "leaks": [name for name in suspects if name not in restless],
        "not_repeatable": restless,
        "blind": [name for name in true if name in uses_label and not shuffled[name]],
        "refused_without_labels": sorted(refusals),
        "shuffled": {name: _jsonable(value) for name, value in shuffled.items()},
        "absent": {name: _jsonable(value) for name, value in absent.items()},
    }
    if faults := _faults(details, shuffled, absent, refusals):
        return Finding("labels", False, "; ".join(faults), details)
    seeing = {name: shuffled[name] for name in true if name in uses_label}
    return _passed(len(true), seeing, details)


def _able(
    methods: Mapping[str, Predictor], predict: Callable[[Predictor], Prediction]
) -> tuple[dict[str, Prediction], list[str]]:
    """Predictions by method, and the names of the methods that refuse to predict."""
    predictions: dict[str, Prediction] = {}
    unable: list[str] = []
    for name, method in methods.items():
        try:
            predictions[name] = predict(method)
        except OCDError:
            unable.append(name)
    return predictions, unable


def _faults(
    details: Mapping[str, Any],
    shuffled: Mapping[str, float],
    absent: Mapping[str, float],
    refusals: Mapping[str, str],
) -> list[str]:
    """One clause for each method that leaks, does not repeat itself, or leaves the check blind."""
    return [
        *(_leak(n, shuffled[n], absent.get(n), refusals.get(n)) for n in details["leaks"]),
        *(
            f"`{n}` does not repeat its predictions: nothing is known of it"
            for n in details["not_repeatable"]
        ),
        *(f"`{n}` uses the label and does not move: the check is blind" for n in details["blind"]),
    ]


def _passed(count: int, seeing: Mapping[str, float], details: dict[str, Any]) -> Finding:
    """The finding where no fault was found.

    `count`: methods that were checked, those in `seeing` among them, which use the label, with how far
    they moved.
    """
    if count == len(seeing):
        return Finding("labels", None, "there is no method that must not see the labels", details)
    text = _praise(count - len(seeing), seeing, details["examples"], details["moved"])
    if details["unable"]:
        names = listed([f"`{name}`" for name in details["unable"]])
        text += f"; left out, as they cannot predict at all: {names}"
    return Finding("labels", True, text, details)


def exchange_labels(targets: Tensor, seed: int = 0) -> Tensor:
    """The same labels on other examples: as many examples as can be get another label (all of
    them where no label has more than half of the examples), in continuous targets a distant one."""
    if len(targets) == 0:
        return targets
    _, kinds, counts = targets.reshape(len(targets), -1).unique(
        dim=0, return_inverse=True, return_counts=True
    )
    mixed = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = mixed.to(kinds.device)[kinds[mixed].argsort(stable=True)]  # equal labels side by side
    # A turn by at least the largest group takes every label out of its own group.
    turn = max(int(counts.max()), len(targets) // 2)
    exchanged = targets.clone()
    exchanged[order] = targets[order.roll(turn)]
    return exchanged


def _without_labels(
    build: Build,
    true: Mapping[str, Prediction],
    uses_label: Collection[str],
    predict: Callable[[Predictor], Prediction],
) -> tuple[dict[str, float], dict[str, str]]:
    """Differences of the methods that must do without labels, and why some of them cannot."""
    differences: dict[str, float] = {}
    refusals: dict[str, str] = {}
    wanted = [name for name in true if name not in uses_label]
    try:
        methods = build(None)
    except Exception as error:  # whatever it is, it comes of the missing labels
        return differences, {name: _reason(error) for name in wanted}
    for name in wanted:
        if name not in methods:
            refusals[name] = "it is missing then"
            continue
        try:
            differences[name] = _difference(true[name], predict(methods[name]))
        except Exception as error:
            refusals[name] = _reason(error)
    return differences, refusals


def _difference(one: Prediction, other: Prediction) -> float:
    """The largest difference of outputs or mean network: 0 only where all numbers are the same;
    infinite where shapes differ, or where one is not finite and the other another number."""
    pairs = ((one.outputs, other.outputs), (one.mean_network, other.mean_network))
    largest = 0.0
    for first, second in pairs:
        if first.shape != second.shape or first.dtype != second.dtype:
            return math.inf
        a, b = first.detach().cpu(), second.detach().cpu()
        differs = (a != b) & ~(a.isnan() & b.isnan())
        if differs.any():
            size = float((a[differs].double() - b[differs].double()).abs().max())
            largest = max(largest, math.inf if math.isnan(size) else size)
    return largest


def _praise(num_honest: int, seeing: Mapping[str, float], num_examples: int, moved: int) -> str:
    moves = [f"`{name}` ({_size(difference)})" for name, difference in seeing.items()]
    return (
        f"{counted(num_honest, 'method')} predict bit for bit the same for "
        f"{counted(num_examples, 'test example')} with their labels, with {moved:,} labels exchanged, "
        "and without labels; "
    ) + (
        f"those that use the label move, as they must: {listed(moves)}"
        if moves
        else "no method that uses the label was there to show that the check sees one"
    )


def _leak(name: str, shuffled: float, absent: float | None, refusal: str | None) -> str:
    ways = []
    if shuffled:
        ways.append(f"moves by up to {_size(shuffled)} when the test labels are exchanged")
    if absent:
        ways.append(f"moves by up to {_size(absent)} without labels")
    if refusal:
        ways.append(f"cannot predict without labels ({refusal})")
    return f"`{name}` sees the test labels: it {' and '.join(ways)}"


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _size(difference: float) -> str:
    return f"{difference:.3g}" if math.isfinite(difference) else "more than a number can say"


def _jsonable(difference: float) -> float | None:
    return difference if math.isfinite(difference) else None
