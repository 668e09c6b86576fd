"""Choose how draws are taken by a proper score of them, where a distribution is asked for.

`goal="distribution"` (beyond the paper): what is judged is how well draws describe where the target may
be (ocd.training.scores), not how near their mean is to it. Two numbers are chosen on held-out examples:
`centre`, the share of the expected delta around which draws lie, and `spread`,
their distance from there over the generated one. A centre that makes the answer worse beyond doubt is
not taken.

What draws have to beat is trivial: the base's answer with the residuals of other held-out examples,
which is a distribution as well, and knows nothing of the input but the base's answer. Draws that are
worse are taken all the same, since they are asked for, and a note says so.

What is not known of a target (NaN, or a class that is none of the outputs') is not scored, and an
example of which nothing is known judges nothing and lends no residual. A note says how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ocd.base import Capture, example_losses
from ocd.data import Inputs, Targets, of_other_groups
from ocd.generator import HyperNetwork, Placement
from ocd.lessons import FEWEST, as_evidence, is_gain
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut
from ocd.prediction.sampling import PAPER, EnsembleLoss, SamplingConfig, keep_sampling
from ocd.training import kind_of_score, known_rows, score_of

CENTRES = (1.0, 0.75, 0.5, 0.25, 0.0)
SPREADS = (1.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2.0)
"""The paper's way first: of two that score alike the first is taken."""
ROUNDS = 3
"""Of choosing a centre and a spread, each beside the other; seldom do they change after the second."""
NUM_DRAWS = 20
HARM = 0.95
"""One-sided confidence at which a centre makes the answer worse, or draws are worse than residuals."""
TRIVIAL = "the base's answer with residuals of other examples"
"""What draws have to beat, in notes."""
ALONE = "the base's own answer"
"""The same of classes, which have no residuals, and of examples that are all of one group."""


@dataclass(frozen=True)
class Drawn:
    """A chunk of held-out examples: `draws` (B, K, ...) and `mean` (B, 1, ...) are codes."""

    here: FittedGenerator
    capture: Capture
    labels: Tensor
    draws: Tensor
    mean: Tensor

    @classmethod
    def of(
        cls,
        here: FittedGenerator,
        rows: Inputs,
        labels: Targets,
        known: Capture | None,
        num_draws: int = NUM_DRAWS,
    ) -> Drawn:
        """`known`: the capture, if there is one."""
        network, frozen = here.network, here.frozen
        capture = frozen.capture(rows) if known is None else known
        embedding = network.embed(here.condition.features(frozen, rows, capture), rows)
        draws = network.raw_codes(embedding, here.noise(rows, 0, num_draws))
        mean = network.raw_mean(embedding) if _has_mean(network) else draws
        assert isinstance(labels, Tensor)  # else no score is known for them
        return cls(here, capture, labels, draws, mean)

    @property
    def answer(self) -> Tensor:
        """The base's own, (B, ...)."""
        return self.here.frozen.outputs.named(self.capture.output)

    def outputs(self, codes: Tensor) -> Tensor:
        """Outputs (B, K, F), packed."""
        delta = self.here.network.codec.decode(codes, self.capture.positions)
        return self.here.frozen.run(self.capture, delta)


def _has_mean(network: HyperNetwork) -> bool:
    return network.diffusion.config.prediction == "x0"


@dataclass(frozen=True)
class _Trial:
    """Ways to draw, tried on held-out examples. `factor`: of every delta. `together`: which examples
    are one piece of evidence."""

    chunks: list[Drawn]
    judge: EnsembleLoss
    factor: float
    together: Tensor | None

    @cached_property
    def kind(self) -> str:
        """Of the score."""
        kind = kind_of_score(self.chunks[0].answer, self.chunks[0].labels)
        assert kind is not None  # `settle_sampling` has asked
        return kind

    @cached_property
    def labels(self) -> Tensor:
        """Of all examples."""
        return torch.cat([of.labels for of in self.chunks])

    @cached_property
    def losses(self) -> Tensor:
        """The base's own, of each example."""
        found = [example_losses(self.judge.loss, of.capture.output, of.labels) for of in self.chunks]
        return torch.cat(found).double()

    @cached_property
    def known(self) -> Tensor:
        """Examples of whose target something is known."""
        return known_rows(self.labels, self.chunks[0].answer.shape[-1])

    @cached_property
    def usable(self) -> Tensor:
        """Which examples judge: the base's own loss is finite on them, and their target is known."""
        return self.losses.isfinite() & self.known

    @cached_property
    def complete(self) -> Tensor:
        """Those of them whose whole target is known: they have residuals."""
        return self.usable & ~self.labels[..., None].flatten(1).isnan().any(dim=1)

    def scores(self, centre: float, spread: float, among: Tensor | None = None) -> Tensor:
        """Of each piece of evidence. `among` (B,): which examples; all usable ones without it."""
        parts, placement = [], Placement(centre, spread, balanced=True)
        for of in self.chunks:
            codes = placement.around(of.draws, of.mean)
            outputs = of.here.frozen.outputs.named(of.outputs(self.factor * codes)).float()
            balanced = placement.balances(codes.shape[1])
            parts.append(score_of(self.kind)(outputs, of.labels, balanced))
        return self._as_evidence(torch.cat(parts), self.usable if among is None else among)

    def harm(self, centre: float) -> Tensor:
        """How much worse the answer of so much of the expected delta is than the base's: (G,)."""
        parts = []
        for of in self.chunks:
            output = of.outputs(self.factor * centre * of.mean)[:, 0]
            parts.append(example_losses(self.judge.loss, output, of.labels))
        return self._as_evidence(torch.cat(parts) - self.losses, self.usable)

    @property
    def num_rows(self) -> int:
        """Examples, those that judge nothing too."""
        return len(self.labels)

    @property
    def num_examples(self) -> int:
        """Examples that judge."""
        return int(self.usable.sum())

    @property
    def has_residuals(self) -> bool:
        """Whether an example has others whose residuals are not its own: there is more than one group,
        and targets are no classes."""
        own = self._groups(self.complete)
        return self.kind != "log" and len(self.complete.nonzero() if own is None else own.unique()) > 1

    def residual_scores(self) -> Tensor:
        """Of the base's answer with the residuals of held-out examples that are not of its group, for
        `complete` ones; of its answer alone, for all usable ones, where it `has_residuals` of none."""
        answers = torch.cat([of.answer for of in self.chunks])
        draws, among = answers[:, None], self.usable
        if self.has_residuals:
            among = self.complete
            rows = among.nonzero()[:, 0]
            own = torch.arange(len(rows)) if self.together is None else self._groups(among)
            assert own is not None
            other = of_other_groups(own.cpu(), NUM_DRAWS, torch.Generator().manual_seed(0))
            draws = draws.repeat_interleave(NUM_DRAWS, dim=1)
            draws[rows] += (self.labels - answers)[rows][other.to(rows.device)]
        return self._as_evidence(score_of(self.kind)(draws.float(), self.labels, False), among)

    def left_out(self) -> str:
        """Words on what is not known, and judges nothing; none where all is known."""
        nothing, some = int((~self.known).sum()), int((self.usable & ~self.complete).sum())
        what = "targets of which nothing is known (NaN, or no class of the outputs)"
        parts = [f"{nothing:,} {what} are left out"] if nothing else []
        if some:
            parts.append(f"numbers that are NaN in {some:,} other targets are not scored")
        return "; ".join(["", *parts])

    def _groups(self, rows: Tensor) -> Tensor | None:
        """The group of each of these examples; None: each is its own."""
        return None if self.together is None else self.together.to(rows.device)[rows]

    def _as_evidence(self, values: Tensor, rows: Tensor) -> Tensor:
        """A value for each of these examples, or group of examples that are one piece of evidence;
        infinite where it is not finite."""
        found = as_evidence(values[rows].double(), self._groups(rows))
        return torch.where(found.isfinite(), found, torch.inf)


def centre_and_spread(
    score: Callable[[float, float], float],
    harm: Callable[[float], Tensor],
    spreads: Sequence[float] = SPREADS,
) -> tuple[float, float]:
    """The centre and the spread with the smallest `score(centre, spread)`, one chosen beside the other
    until neither changes.

    `harm(centre)`: how much worse the answer around which draws would lie is than the base's, (G,), of
    each piece of evidence. A centre that harms beyond doubt is not tried; 0, the base's own answer,
    does not. Of fewer than `FEWEST` pieces no harm can be told, and no other centre is tried.
    Baselines that draw choose by this too: the same ways to draw are open to all.
    """
    harmless = {c for c in CENTRES if c and len(h := harm(c)) >= FEWEST and not is_gain(h[None], HARM)}
    centres = [c for c in CENTRES if not c or c in harmless]
    known: dict[tuple[float, float], float] = {}

    def tried(centre: float, spread: float) -> float:
        if (centre, spread) not in known:
            known[centre, spread] = score(centre, spread)
        return known[centre, spread]

    centre, spread = centres[0], spreads[0]
    for _ in range(ROUNDS):
        before = centre, spread
        centre = min(centres, key=lambda c: tried(c, spread))
        spread = min(spreads, key=lambda s: tried(centre, s))
        if (centre, spread) == before:
            break
    return centre, spread


@torch.no_grad()
def choose_by_score(
    fitted: FittedGenerator,
    held_out: HeldOut,
    judge: EnsembleLoss,
    config: SamplingConfig,
    chunk_size: int = 256,
) -> str:
    """Set the network's `centre` and `spread` to those with which draws have the smallest score on
    held-out examples; returns a line that says so, and what the base with residuals has.

    Whatever is configured is kept. A generator that predicts the noise has no mean in one pass: its
    draws stay as they are. Examples on which the base's loss is not finite are left out.
    """
    network = fitted.network
    factor = 1.0 if config.scale_factor is None else config.scale_factor
    network.set_sampling(**PAPER)
    chunks = [Drawn.of(*chunk) for chunk in held_out.chunks(fitted, chunk_size)]
    trial = _Trial(chunks, judge, factor, held_out.copy_of())
    if not trial.usable.any():
        what = "the base's loss is finite" if trial.known.any() else "a target is known"
        why = f"since {what} on none of the {held_out.counted(trial.num_rows)}"
        return keep_sampling(fitted, config, why)
    centre = spread = 1.0
    if _has_mean(network):
        spreads = SPREADS if config.spread is None else (config.spread,)
        centre, spread = centre_and_spread(
            lambda c, s: float(trial.scores(c, s).mean()), trial.harm, spreads
        )
    network.set_sampling(spread=spread, scale_factor=factor, centre=centre, balanced=1.0)
    best, paper = trial.scores(centre, spread), float(trial.scores(1.0, 1.0).mean())
    if not bool(best.isfinite().all()):
        why = f"since no way to draw has a finite score on the {held_out.counted(trial.num_examples)}"
        return keep_sampling(fitted, config, why)
    return (
        f"sampling: draws are a distribution (goal), judged by the {trial.kind} score on "
        f"{held_out.counted(trial.num_examples)}: spread {spread:g} around {centre:g} of the expected "
        f"delta has {float(best.mean()):.4g}, where the paper's way, 1 and 1, has {paper:.4g}; "
        f"{_against_residuals(best, trial, (centre, spread))}{trial.left_out()}"
    )


def _against_residuals(best: Tensor, trial: _Trial, way: tuple[float, float]) -> str:
    """Words on how draws compare with the trivial distribution, and on whether these are enough
    examples to say so. `best`: the scores of the `way` to draw."""
    trivial, what = trial.residual_scores(), TRIVIAL if trial.has_residuals else ALONE
    says = f"{what} has {float(trivial.mean()):.4g}"
    if trial.has_residuals and trial.complete.sum() < trial.num_examples:
        best = trial.scores(*way, trial.complete)
        says += f" on the {int(trial.complete.sum())} whose whole target is known"
        says += f", where these draws have {float(best.mean()):.4g}"
    if trial.kind != "log" and not trial.has_residuals:
        whole = trial.complete.sum() == trial.num_examples
        why = "all are of one group" if whole else "too few targets are known as a whole"
        says += f" ({why}: there are no residuals of others)"
    if len(best) < FEWEST:
        kind = "example" if trial.together is None else "group"
        says += (
            f". {len(best)} {kind}{'s' * (len(best) != 1)} judged, and {FEWEST} are needed to say "
            "whether these draws are worse, or a centre but the base's answer harms"
        )
    elif bool(is_gain((best - trivial)[None], HARM)):
        says += f": these draws are worse than {what}"
    return says
