"""Everything that a table compares, in one record: OCD as it was fitted, and its baselines.

    comparison = Comparison(
        criteria=task,                                       # loss, metrics, how draws are joined
        fits=OCDFits(ocd, overfit_config),                   # a fitted OCD
        training=TrainingData(examples),
        baselines=FittedBaselines(trained={"label_head": baseline}),
    )
    table = prepare_methods(comparison)                      # fits what is cheap: temperature, Laplace
    evaluation = evaluate(comparison, test)                  # numbers of every method on a test set

What takes long is trained before, in a run (ocd.runs). Test labels go to the metrics and to the
oracles, and nowhere else (ocd.audit checks it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from ocd.baselines import TrainedBaseline
from ocd.data import Examples
from ocd.evaluation.criteria import Criteria
from ocd.lessons import OverfitConfig, StoreReader
from ocd.model import OCD


@dataclass(frozen=True)
class OCDFits:
    """OCD as it was fitted. `main`: at the run's layer. `overfit`: of that fit, with its learning rate.

    `alternative`: at the second-best layer of Eq. 3 (the paper's baseline), if it was fitted. `stored`:
    the training deltas, if they are kept and the examples were not augmented. `variants`: of the same
    layer, with other lessons or another start, by name.
    """

    main: OCD
    overfit: OverfitConfig
    alternative: OCD | None = None
    stored: StoreReader | None = None
    variants: Mapping[str, OCD] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingData:
    """The examples that OCD learned from. `labelled`: examples with their labels, where OCD learned
    from other targets. `residuals` (N, ...): of bases that have not seen the example, if there are
    such, in the order of `examples`."""

    examples: Examples
    labelled: Examples | None = None
    residuals: Tensor | None = None

    @property
    def with_labels(self) -> Examples:
        """Examples with their labels, for the baselines that are fitted on these."""
        return self.labelled or self.examples

    @property
    def has_other_targets(self) -> bool:
        """Whether OCD learned from other targets than the labels."""
        return self.labelled is not None and self.labelled.targets is not self.examples.targets


@dataclass(frozen=True)
class FittedBaselines:
    """What was trained to be compared with OCD.

    `trained`: by kind. `ensemble`: the bases of the deep ensemble, the run's base first; none leaves it
    out. `other_bases`: other kinds of base, by name. `skipped`: name -> why a baseline is missing.
    """

    trained: Mapping[str, TrainedBaseline] = field(default_factory=dict)
    ensemble: Sequence[nn.Module] = ()
    other_bases: Mapping[str, nn.Module] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodSettings:
    """Which methods there are. `num_draws`: of the ensembles. `other_draws`: of further OCD ensembles.

    `baselines`: "none", "few" (those that cost seconds), "paper" (those of the paper), or "all" or
    "more" (further ones too). `seed`: of what is fitted here.
    """

    num_draws: int = 5
    other_draws: Sequence[int] = ()
    baselines: str = "all"
    seed: int = 0

    @property
    def has_paper_baselines(self) -> bool:
        return self.baselines not in ("none", "few")

    @property
    def has_cheap_baselines(self) -> bool:
        return self.baselines in ("few", "all", "more")

    @property
    def has_further_baselines(self) -> bool:
        return self.baselines in ("all", "more")


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared. `seconds`: of a run's phases, by name; None where not known."""

    criteria: Criteria
    fits: OCDFits
    training: TrainingData
    settings: MethodSettings = field(default_factory=MethodSettings)
    baselines: FittedBaselines = field(default_factory=FittedBaselines)
    seconds: Mapping[str, float | None] = field(default_factory=dict)
