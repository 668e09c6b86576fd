"""Baselines that are trained on the same examples, for as many steps, as OCD's generator.

* delta_regression: the same MLP on the same condition answers with the delta itself, no diffusion;
* label_head: the same MLP on the same condition answers with a correction of f(x), trained on the
  label ("just train more");
* label_network: the encoder of x and the same MLP answer with the label, without the base;
* fine_tuned_layer: the weight that OCD moves is tuned once, for everybody.

All of them are minimised by the same `Trainer`, with its batches, learning rates, averaging, early
stopping and resumption.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import DenseDelta, FrozenBase, example_losses
from ocd.data import (
    Batch,
    Inputs,
    call,
    dataset_size,
    file_digest,
    load_strictly,
    progress_bar,
    read_json,
    take_rows,
    tensors,
    to_device,
    write_json,
    write_tensors,
)
from ocd.errors import OCDError
from ocd.generator import Codec, Conditioning, DenoiserConfig, Features, MLPDenoiser
from ocd.lessons import LessonBatch, LessonSource, Overfitter, Workdir
from ocd.model import OCD
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks
from ocd.training import Objective, Trainer, TrainingFiles, task_excerpt

TRAINED = ("delta_regression", "label_head", "label_network", "fine_tuned_layer")
EQUAL_TIME = "label_network_equal_time"  # label_network again, for as many seconds as OCD took


def plain_kind(kind: str) -> str:
    """What is trained, whatever the time that it is given."""
    return "label_network" if kind == EQUAL_TIME else kind


class ConditionedNetwork(nn.Module):
    """OCD's conditioning, encoder and MLP, with one answer an example: (B, *out_shape).

    `conditioning`: None where x alone is seen. The MLP is the denoiser's, given no noisy code and
    t = 0, so that the sizes agree.
    """

    unit: Tensor

    def __init__(
        self,
        out_shape: tuple[int, ...],
        config: DenoiserConfig,
        conditioning: Conditioning | None,
        encoder: nn.Module | None,
        encoder_size: int,
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.conditioning = conditioning
        self.encoder = encoder
        # Conditioning has this layer too; without I(x) it is all there is.
        self.encode_x = nn.Linear(encoder_size, config.embedding_size) if conditioning is None else None
        self.network = MLPDenoiser(out_shape, config)
        self.register_buffer("unit", torch.ones(()))

    def forward(self, features: Features, inputs: Inputs) -> Tensor:
        encoded = call(self.encoder, inputs) if self.encoder is not None else None
        if self.conditioning is not None:
            embedding = self.conditioning(features, encoded)
        else:
            assert self.encode_x is not None and encoded is not None
            embedding = self.encode_x(encoded)
        nothing = embedding.new_zeros(len(embedding), 1, *self.out_shape)
        level = torch.zeros(1, 1, dtype=torch.long, device=embedding.device)
        answer: Tensor = self.network(nothing, level, embedding)[:, 0]
        return answer * self.unit


class SharedWeight(nn.Module):
    """One delta for everybody, (*weight.shape): what `fine_tuned_layer` trains."""

    def __init__(self, frozen: FrozenBase) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros_like(frozen.weight))

    def delta(self) -> DenseDelta:
        return DenseDelta(self.weight[None, None])


# ---- the examples and what is minimised ------------------------------------------------


@dataclass
class Labelled:
    """Training examples with I(x) and their label, not overfitted."""

    overfitter: Overfitter
    with_condition: bool
    reads_dataset = True

    def __post_init__(self) -> None:
        self.examples = torch.arange(dataset_size(self.overfitter.problem.dataset))

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        inputs, targets = self.overfitter.fetch(indices, generator, batch)
        frozen = self.overfitter.frozen
        capture = frozen.capture(inputs) if self.with_condition else None
        seen = tensors(inputs) if capture is None else [capture.output]
        good = torch.stack([values.flatten(1).isfinite().all(dim=1) for values in seen]).all(dim=0)
        if not good.all():
            kept = good.nonzero()[:, 0]
            inputs, targets = take_rows(inputs, kept), targets[kept]
            self.overfitter.skipped.update(indices[~good.cpu()].tolist())
            if not len(kept):
                return LessonBatch({}, inputs, targets, None)
            capture = frozen.capture(inputs) if self.with_condition else None
        if capture is None:
            return LessonBatch({}, inputs, targets, None)
        features = self.overfitter.problem.condition.features(frozen, inputs, capture)
        return LessonBatch(features, inputs, targets, None, capture)


@dataclass(frozen=True)
class _OneLoss:
    """An objective that is one number, in training and on held-out examples."""

    overfitter: Overfitter
    codec: Codec
    excerpt: int = 0

    def losses(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.held_out(network, rows, generator)}

    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        raise TypeError(f"{type(self).__name__} has no loss")


class RegressDelta(_OneLoss):
    """Mean squared error of the code, in units of the training codes' mean scale."""

    def held_out(
        self, network: ConditionedNetwork, rows: LessonBatch, generator: torch.Generator
    ) -> Tensor:
        assert rows.delta is not None
        codes = self.codec.encode(rows.delta)[:, 0]
        return ((network(rows.features, rows.inputs) - codes) / network.unit).square().mean()


class _TaskLoss(_OneLoss):
    def output(self, network: Any, rows: LessonBatch) -> Tensor:
        raise TypeError(f"{type(self).__name__} has no output")

    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        assert rows.targets is not None
        return example_losses(self.overfitter.loss, self.output(network, rows), rows.targets).mean()


class CorrectOutput(_TaskLoss):
    """The base's own loss of f(x) + answer."""

    def output(self, network: ConditionedNetwork, rows: LessonBatch) -> Tensor:
        assert rows.capture is not None
        correction: Tensor = network(rows.features, rows.inputs)
        return rows.capture.output + correction


class PredictLabel(_TaskLoss):
    """The base's own loss of the answer itself."""

    def output(self, network: ConditionedNetwork, rows: LessonBatch) -> Tensor:
        answer: Tensor = network({}, rows.inputs)
        return answer


class TuneLayer(_OneLoss):
    """The base's own loss with the shared delta. Of large examples a batch together has as many
    positions as otherwise one of them: all share the delta, so that its gradient is no noisier."""

    def held_out(self, network: SharedWeight, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        assert rows.targets is not None
        overfitter = self.overfitter
        size = -(-self.excerpt // len(rows))
        part, targets = overfitter.problem.take_excerpt(rows.inputs, rows.targets, size, generator)
        if rows.capture is None:
            output = overfitter.frozen.run_full(part, network.delta())
        else:
            output = overfitter.frozen.run(rows.capture, network.delta())
        return example_losses(overfitter.loss, output[:, 0], targets).mean()


OBJECTIVES: dict[str, type[_OneLoss]] = {
    "delta_regression": RegressDelta,
    "label_head": CorrectOutput,
    "label_network": PredictLabel,
    "fine_tuned_layer": TuneLayer,
}


# ---- fit, load, predict ----------------------------------------------------------------


def why_not(kind: str, ocd: OCD) -> str | None:
    """The reason why this OCD has no such baseline beside it; None where it has."""
    kind = plain_kind(kind)
    if kind == "fine_tuned_layer":
        return None
    if ocd.config.denoiser.kind != "mlp":
        return "it would have the size of an MLP denoiser, and denoiser.kind is another"
    if kind in ("label_head", "label_network") and ocd.excerpt is not None:
        return "examples are large (overfitted on excerpts), and it would answer a whole one at once"
    if kind == "label_network" and ocd.encoder is None:
        return "it is the encoder of x with a head, and this OCD has no encoder of x"
    return None


def make_network(kind: str, ocd: OCD, inputs: Inputs) -> nn.Module:
    """The untrained network of a baseline, beside a fitted OCD. `inputs`: a few, for f(x)'s shape."""
    kind = plain_kind(kind)
    if reason := why_not(kind, ocd):
        raise OCDError(f"there is no baseline {kind} here: {reason}")
    generator, frozen = ocd.fitted()
    if kind == "fine_tuned_layer":
        return SharedWeight(frozen)
    config, shapes = ocd.config, generator.shapes
    few = to_device(take_rows(inputs, slice(0, 2)), frozen.device)
    output = frozen.capture(few).output
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        conditioning = None
        if kind != "label_network":
            conditioning = Conditioning(
                shapes.features,
                config.denoiser.embedding_size,
                config.condition,
                shapes.encoder_features,
            )
            conditioning.standardize.load_state_dict(generator.conditioning.standardize.state_dict())
        network = ConditionedNetwork(
            shapes.code_shape if kind == "delta_regression" else tuple(output.shape[1:]),
            config.denoiser,
            conditioning,
            copy.deepcopy(ocd.encoder),
            shapes.encoder_features,
        )
    if kind == "delta_regression":
        network.unit.copy_(generator.mean_scale)
    if kind == "label_head":  # begins as the base itself
        nn.init.zeros_(network.network.leave.weight)
        nn.init.zeros_(network.network.leave.bias)
    return network.to(frozen.device)


def fit_baseline(
    kind: str,
    ocd: OCD,
    dataset: Dataset[Any],
    main: Workdir,
    work: Workdir,
    progress: bool = True,
    num_steps: int | None = None,
    labelled: Dataset[Any] | None = None,
) -> None:
    """Train a baseline in `work`, beside a fitted OCD whose files are in `main`; resumes.

    `num_steps`: another number of steps than OCD's. The one that training began with is kept.
    `labelled`: the same examples with their labels, for the baseline that has no base, where OCD learns
    from other targets.
    """
    record, source = ocd.lessons(dataset, main)
    overfitter = source.overfitter
    examples: LessonSource = source
    form = plain_kind(kind)
    if form == "label_network" and labelled is not None:
        overfitter = replace(overfitter, problem=replace(overfitter.problem, dataset=labelled))
    if form != "delta_regression":
        alone = form == "label_network" or (
            form == "fine_tuned_layer" and overfitter.problem.excerpt is not None
        )
        examples = Labelled(overfitter, with_condition=not alone)
    few, _ = overfitter.fetch(torch.arange(min(2, dataset_size(dataset))), torch.Generator())
    network = make_network(kind, ocd, few)
    config = ocd.config.training
    excerpt_size = task_excerpt(ocd.config.overfit.excerpt)
    objective: Objective = OBJECTIVES[form](overfitter, ocd.fitted()[0].codec, excerpt_size)
    if num_steps is not None:
        steps = work.checkpoint / "steps.json"
        if not steps.exists():
            write_json(steps, {"num_steps": num_steps})
        config = replace(config, num_steps=read_json(steps)["num_steps"])
    files = TrainingFiles(work.log(), work.checkpoint / "training.pt", f"{kind} {record.key['all']}")
    trainer = Trainer(network, examples, objective, config, ocd.config.seed, files)
    trainer.resume()
    try:
        with progress_bar(f"train {kind}", trainer.config.num_steps, progress) as advance:
            trained = trainer.run(advance)
    except OCDError as error:  # a baseline that diverges must not take the table away
        write_json(work.checkpoint / "config.json", {"baseline": kind, "failed": str(error)})
        return
    weights = work.checkpoint / "model.safetensors"
    write_tensors(weights, trained.state_dict())
    finished = {"baseline": kind, "weights": file_digest(weights), "num_steps": trainer.step}
    write_json(work.checkpoint / "config.json", finished)


@dataclass(frozen=True)
class TrainedBaseline:
    """A trained baseline as a predictor."""

    kind: str
    ocd: OCD
    network: nn.Module

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        frozen = self.ocd.fitted()[1]
        with torch.no_grad():
            return predict_in_chunks(inputs, frozen.device, self._predict)

    def _predict(self, inputs: Inputs, where: slice) -> Prediction:
        if plain_kind(self.kind) == "label_network":
            outputs = self.network({}, inputs)
            return Prediction(outputs[None], outputs)
        generator, frozen = self.ocd.fitted()
        condition = self.ocd.condition
        if self.kind == "fine_tuned_layer":
            assert isinstance(self.network, SharedWeight)
            return apply_deltas(
                frozen, frozen.capture(inputs, keep_positions=False), self.network.delta()
            )
        capture = frozen.capture(inputs, keep_positions=condition.needs_positions)
        features = condition.features(frozen, inputs, capture)
        if self.kind == "label_head":
            outputs = capture.output + self.network(features, inputs)
            return Prediction(outputs[None], outputs, capture.output)
        code = self.network(features, inputs)[:, None]
        return apply_deltas(frozen, capture, generator.codec.decode(code, capture.positions))


def failure(work: Workdir) -> str | None:
    """Why the training of a finished baseline failed; None where it did not."""
    reason: str | None = read_json(work.checkpoint / "config.json").get("failed")
    return reason


def load_baseline(kind: str, ocd: OCD, inputs: Inputs, work: Workdir) -> TrainedBaseline:
    """The baseline that `fit_baseline` left in `work`."""
    saved = read_json(work.checkpoint / "config.json")
    network = make_network(kind, ocd, inputs)
    load_strictly(network, work.checkpoint / "model.safetensors", saved["weights"])
    return TrainedBaseline(kind, ocd, network.eval())
