"""What draws are for (`goal`), settled before long work: are the outputs the target itself?

Draws are a distribution of the target only where an output is the target, in its unit. Its shape does
not say that: logits have the shape of their 0/1 labels, log rates that of counts. The user's loss does:
put in the place of the outputs, the targets themselves have the smallest loss there is. So they are
tried against the base's own outputs, and against themselves moved by a little. And the loss has to see
what a distribution is judged by: the outputs' size, level and order, and each of their columns. A
cosine does not see the size, and a loss of the best order (separated voices) not which is which.

    kind, note = settled_goal("auto", problem, "fc1")   # "answer" or "distribution", and why
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ocd.base import FrozenBase, example_losses
from ocd.data import dataset_size, seeded
from ocd.errors import OCDError
from ocd.lessons import Problem
from ocd.training import distribution_score, known_rows

TRIED = 256
"""Examples, evenly among all, on which the targets are tried in the outputs' place."""
STEP = 0.25
"""How far targets are moved: towards the outputs, from their mean, and by their deviation."""
SLACK = 0.01
"""Of the range of the losses that were tried: by so much another may be below that of the targets, as
where a loss has a small penalty besides."""
SAME = 1e-4
"""Of that range: by less than this much a loss does not rise."""


@torch.no_grad()
def settled_goal(goal: str, problem: Problem, layer: str) -> tuple[str, str | None]:
    """`goal` as "answer" or "distribution", and a note on what was found; None where nothing was asked.

    "auto" takes a distribution only where the outputs are shown to be the target. Where a distribution
    is asked for and they are not, the note warns. Raises OCDError where no draw can be scored.
    """
    if goal == "answer":
        return goal, None
    total = dataset_size(problem.dataset)
    index = torch.linspace(0, total - 1, min(TRIED, total)).round().long().unique()
    inputs, targets = problem.fetch(index)
    packed = FrozenBase(problem.base, layer, outputs=problem.outputs).answer(inputs)
    output = problem.outputs.named(packed)
    kind = distribution_score(goal, output, targets)
    if kind is None:
        return "answer", None
    assert isinstance(targets, Tensor)  # else no score is known for them
    known = int(known_rows(targets, output.shape[-1]).sum())
    if not known and kind == "log" and total > 2:  # of the two of a rehearsal both may be ignored
        raise OCDError(
            f"goal is 'distribution', and none of {len(targets)} targets ({int(targets.min())} to "
            f"{int(targets.max())}) is a class of the {output.shape[-1]} columns of the outputs, from "
            "0 on: give logits with a column for each class, or use 'answer'"
        )
    if kind == "log":
        return "distribution", None
    doubt = _doubt(problem, packed, targets)
    if goal == "auto":
        if doubt is None:
            return "distribution", "goal: distribution (auto), since by the loss outputs are the target"
        return "answer", f"goal: answer (auto), since outputs may not be the target: {doubt}"
    if doubt is None:
        return "distribution", None
    return "distribution", (
        "goal: a distribution is asked for, but outputs may not be the target in its unit, so that "
        f"draws are compared with what they are not (goal=answer judges by the loss): {doubt}"
    )


def _doubt(problem: Problem, packed: Tensor, targets: Tensor) -> str | None:
    """Why the outputs may not be the target, in words; None where the loss says that they are."""
    outputs = problem.outputs
    own = example_losses(problem.packed_loss, packed, targets)
    usable = own.isfinite() & known_rows(targets)
    if not bool(usable.any()):
        return "the base's loss is finite on no example"
    packed, targets = packed[usable], targets[usable]
    output = outputs.named(packed)
    place = torch.where(targets.isnan(), output, targets.to(output))  # NaN: any number will do there

    def loss_of(values: Tensor) -> float:
        put = outputs.joined(packed[None], lambda _: values)
        return float(example_losses(problem.packed_loss, put, targets).double().mean())

    try:
        found = loss_of(place)
        others = {name: loss_of(values) for name, values in _others(place, output)}
    except Exception as error:  # the user's loss need not take such outputs
        return f"the loss does not take targets in their place ({type(error).__name__})"
    if found != found:
        return "the loss of the targets in their place is not finite"
    known = {name: loss for name, loss in others.items() if loss == loss}
    highest = max(known.values(), default=found)
    if highest <= found + 1e-9 * abs(found):
        return f"with targets in their place the loss is {found:.4g}, and with other numbers no larger"
    name = min(known, key=lambda one: known[one])
    if known[name] < found - SLACK * (highest - found):
        return f"with targets in their place the loss is {found:.4g}, with {name} {known[name]:.4g}"
    unseen = _unseen(loss_of, place, found + SAME * (highest - found))
    return unseen or _unseen_columns(problem, packed, targets, place)


def _unseen(loss_of: Callable[[Tensor], float], targets: Tensor, least: float) -> str | None:
    """What of the outputs the loss does not see, in words: what leaves it below `least` is not seen."""
    changed = {
        "their size": targets * (1 - STEP),
        "their level": targets + STEP * (targets.std(correction=0) or 1.0),
    }
    if targets.dim() > 1:
        changed["the order of their columns"] = targets.roll(targets.shape[1] // 2, dims=1)
    for name, values in changed.items():
        if torch.equal(values, targets):
            continue
        try:
            loss = loss_of(values)
        except Exception:  # out of the range that the loss takes: not what is asked here
            continue
        if loss <= least:
            return f"the loss does not see {name}"
    return None


def _unseen_columns(problem: Problem, packed: Tensor, targets: Tensor, place: Tensor) -> str | None:
    """Columns of the outputs by which the loss does not change beside the targets, in words."""
    chance = torch.randn(place.shape, generator=seeded(0)).to(place)
    beside = (place + STEP * place.std(correction=0) * chance).clamp(place.min(), place.max())
    with torch.enable_grad():
        beside = beside.requires_grad_()
        put = problem.outputs.joined(packed[None], lambda _: beside)
        losses = example_losses(problem.packed_loss, put, targets)
        if not losses.requires_grad:
            return "the loss has no gradient"
        (slope,) = torch.autograd.grad(losses.sum(), beside)
    largest = slope.abs().amax(dim=0).flatten()
    count = int((largest <= 1e-9 * largest.max()).sum())
    return f"the loss does not see {count} of their {len(largest)} columns" if count else None


def _others(targets: Tensor, output: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Other outputs than the targets, by name; none beyond the range of both, since a loss may take
    probabilities alone."""
    low, high = (torch.stack([end(targets), end(output)]) for end in (torch.min, torch.max))
    mean, deviation = targets.mean(dim=0), targets.std(correction=0)
    moves = {
        ("towards the base's outputs", "away from the base's outputs"): output - targets,
        ("away from their mean", "towards their mean"): targets - mean,
        ("up", "down"): deviation.expand_as(targets),
    }
    yield "the base's outputs", output
    for names, move in moves.items():
        for name, sign in zip(names, (1, -1), strict=True):
            moved = targets + sign * STEP * move
            yield f"targets moved {name}", moved.clamp(low.min(), high.max())
