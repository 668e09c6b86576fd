"""Choose the spread of draws by what their intervals cover, where draws are a distribution.

Their centre is judged apart: where the mean of the draws does not gain against the base beyond doubt,
draws lie around the base's own answer.

Draws cannot always be widened to cover: of a target with few values (grades, counts, mostly zeros) they
lie close to these, and beside them by a little, so that no width holds nine tenths. A spread that is
paid for with a worse score than another has is therefore not taken.

Targets that are NaN are not known, and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import example_losses
from ocd.data import Targets
from ocd.errors import OCDError
from ocd.generator import Placement
from ocd.lessons import FEWEST_JUDGES, as_evidence, is_gain
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut
from ocd.prediction.sampling import EnsembleLoss, SamplingConfig, keep_sampling
from ocd.prediction.scoring import HARM, SPREADS, Drawn
from ocd.prediction.scoring import NUM_DRAWS as FEW_DRAWS
from ocd.prediction.uncertainty import covered_by_interval
from ocd.training import energy_scores, known_rows

SPREADS_TRIED = (0.25, 4.0)
"""The narrowest and the widest spread that is tried."""
CENTRES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the conditional mean that are tried, beside none."""
NUM_DRAWS = 100
"""Draws of each example; their twentieths are the ends of an interval of nine tenths."""
PRICE = 0.05
"""By how much of the best score a spread that covers may be worse."""


@torch.no_grad()
def choose_spread_by_coverage(
    fitted: FittedGenerator,
    held_out: HeldOut,
    config: SamplingConfig,
    chunk_size: int = 256,
    judge: EnsembleLoss | None = None,
) -> str:
    """Set the network's `spread` to the smallest with which the draws' central interval covers its
    share of the held-out targets; returns a line that says so. `judge`: of the draws' centre, which
    stays the conditional mean without one.

    Raises OCDError for a generator that predicts the noise, and for targets that do not have the shape
    of the outputs.
    """
    network = fitted.network
    if network.diffusion.config.prediction != "x0":
        raise OCDError(
            "sampling.coverage needs diffusion.prediction = 'x0', which has a mean to widen from"
        )
    factor = 1.0 if config.scale_factor is None else config.scale_factor
    drawn = _draw(fitted, held_out, chunk_size)
    if not _known(drawn).any():
        return keep_sampling(fitted, config, "since the targets of all held-out examples are NaN")
    together = held_out.copy_of()
    centre, words = _choose_centre(drawn, judge, config, together)
    trial = _Trial(drawn, factor, centre, config.coverage, together)
    best, says = trial.covering()
    if (cheaper := trial.cheaper_than(best)) is not None:
        best, prices = cheaper
        says = f"spread {best:g}, by its score ({prices}), in place of {says}"
    network.set_sampling(spread=best, scale_factor=factor, centre=centre, balanced=1.0)
    return f"sampling: {words}{says}"


def _draw(fitted: FittedGenerator, held_out: HeldOut, chunk_size: int) -> list[Drawn]:
    """Draws for all held-out examples."""
    drawn = []
    for here, rows, labels, known in held_out.chunks(fitted, chunk_size):
        capture = here.frozen.capture(rows) if known is None else known
        _check_shapes(here.frozen.outputs.named(capture.output), labels)
        drawn.append(Drawn.of(here, rows, labels, capture, NUM_DRAWS))
    return drawn


@dataclass(frozen=True)
class _Trial:
    """Spreads around one centre, tried on held-out examples. `share`: that is to be covered.
    `together`: which examples are one piece of evidence."""

    drawn: list[Drawn]
    factor: float
    centre: float
    share: float
    together: Tensor | None

    def placement(self, spread: float) -> Placement:
        return Placement(self.centre, spread, balanced=True)

    def outputs(self, of: Drawn, spread: float, num_draws: int = NUM_DRAWS) -> Tensor:
        """(B, K, ...)."""
        moved = self.placement(spread).around(of.draws[:, :num_draws], of.mean)
        return of.here.frozen.outputs.named(of.outputs(self.factor * moved))

    def covered(self, spread: float) -> float:
        """Per cent of the targets in the central interval of their draws."""
        parts = []
        for of in self.drawn:
            outputs = self.outputs(of, spread).transpose(0, 1)
            parts.append(covered_by_interval(outputs, of.labels, 100 * self.share))
        return 100 * float(torch.cat(parts).nanmean())

    def scores(self, spread: float) -> Tensor:
        """The CRPS, or energy score, of each piece of evidence."""
        balanced = self.placement(spread).balances(FEW_DRAWS)
        parts = [
            energy_scores(self.outputs(of, spread, FEW_DRAWS).float(), of.labels, balanced)
            for of in self.drawn
        ]
        scores, together = torch.cat(parts).double(), self.together
        if together is not None:
            together = together.to(scores.device)[self.known]
        return as_evidence(scores[self.known].nan_to_num(torch.inf), together)

    @property
    def known(self) -> Tensor:
        """Examples of whose target something is known."""
        return _known(self.drawn)

    def covering(self) -> tuple[float, str]:
        """The smallest spread that covers its share, and what it and the paper's way cover."""
        best = _smallest_spread(self.covered, 100 * self.share)
        count = int(self.known.sum())
        unknown = len(self.known) - count
        return best, (
            f"spread {best:g}, with which the central {100 * self.share:g} % of the draws cover "
            f"{self.covered(best):.1f} % of {count} held-out targets, where the paper's way, 1, covers "
            f"{self.covered(1.0):.1f} %{f' ({unknown:,} are NaN, and left out)' if unknown else ''}"
        )

    def cheaper_than(self, covering: float) -> tuple[float, str] | None:
        """The spread with the best score, and both scores in words, where the one that covers is worse
        beyond doubt, and by more than `PRICE`."""
        of_covering = self.scores(covering)
        known = {spread: self.scores(spread) for spread in SPREADS}
        spread = min(known, key=lambda one: float(known[one].mean()))
        own, best = float(of_covering.mean()), float(known[spread].mean())
        worse = bool(is_gain((of_covering - known[spread])[None], HARM))
        if not worse or own <= (1 + PRICE) * best:
            return None
        return spread, f"{best:.4g}, and {own:.4g} with a spread that covers"


def _smallest_spread(covered: Callable[[float], float], wanted: float) -> float:
    """The smallest spread that covers so many per cent: the wider the draws, the more they cover."""
    low, high = SPREADS_TRIED
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= wanted else (middle, high)
    return round(high, 2)


def _known(drawn: list[Drawn]) -> Tensor:
    """Examples of whose target not every number is NaN."""
    return torch.cat([known_rows(of.labels) for of in drawn])


def _choose_centre(
    drawn: list[Drawn],
    judge: EnsembleLoss | None,
    config: SamplingConfig,
    together: Tensor | None,
) -> tuple[float, str]:
    """The share of the conditional mean around which draws lie, and words that say why. `together`:
    which examples are one piece of evidence."""
    if judge is None or not config.confidence:
        return 1.0, ""
    parts = []
    for of in drawn:
        rows = [example_losses(judge.loss, of.capture.output, of.labels)]
        for centre in CENTRES:
            rows.append(example_losses(judge.loss, of.outputs(centre * of.mean)[:, 0], of.labels))
        parts.append(torch.stack(rows))
    losses = torch.cat(parts, dim=1).double()
    usable = losses[0].isfinite() & _known(drawn)
    losses = losses[:, usable].nan_to_num(torch.inf)
    losses = as_evidence(losses, None if together is None else together.to(usable.device)[usable])
    sure = is_gain(losses[:1] - losses[1:], config.confidence, FEWEST_JUDGES)
    means, base = losses.mean(dim=1).tolist(), float(losses[0].mean())
    allowed = [place for place in range(len(CENTRES)) if sure[place]]
    kind = "examples" if together is None else "groups of examples"
    if not allowed:
        return 0.0, (
            "draws lie around the base's answer, since their mean does not gain beyond doubt on "
            f"{losses.shape[1]} {kind} (loss {min(means[1:]):.4g}, the base {base:.4g}); "
        )
    best = min(allowed, key=lambda place: means[1 + place])
    return CENTRES[best], (
        f"draws lie around {CENTRES[best]:g} of the expected delta, whose loss is "
        f"{means[1 + best]:.4g}, the base's {base:.4g}; "
    )


def _check_shapes(answer: Tensor, labels: Targets) -> None:
    if isinstance(labels, Tensor) and answer.shape == labels.shape:
        return
    found = tuple(labels.shape) if isinstance(labels, Tensor) else "several tensors"
    raise OCDError(
        "sampling.coverage is for continuous targets in the shape of the outputs, not "
        f"{found} for outputs {tuple(answer.shape)}: set it to 0"
    )
