"""OCD: select a layer, overfit it per example, train the generator, predict.

Read from top to bottom, this file is the algorithm. Each step is one call into one room:

    fit      lessons (select, overfit), training, prediction (how draws are taken)
    predict  base (capture), generator (embed, draw, decode), base (the rest of the network)

    ocd = OCD(base, loss=loss, config=OCDConfig(layer="fc1")).fit(dataset, workdir="runs/mine")
    prediction = ocd.predict(inputs, draws=5)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import Capture, Fingerprint, FrozenBase, Loss, Output, Outputs, find_layer
from ocd.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ocd.config import OCDConfig
from ocd.data import (
    Excerpt,
    Inputs,
    as_dataset,
    as_inputs,
    dataset_size,
    in_chunks,
    num_rows,
    take_rows,
    to_device,
)
from ocd.errors import OCDError
from ocd.generator import Condition, Describe, Embedding, HyperNetwork
from ocd.lessons import (
    FitRecord,
    LayerScores,
    LessonSource,
    Problem,
    Transform,
    Workdir,
    collect_lessons,
    make_plan,
    open_lessons,
    select_layer,
    selection_excerpt,
)
from ocd.prediction import (
    DrawRequest,
    FittedGenerator,
    Join,
    Prediction,
    apply_deltas,
    check_count,
    join_by_mean,
    join_predictions,
    settle_sampling,
)
from ocd.training import train_generator


class OCD:
    """A frozen base with a generator of weights for each example (Eq. 2).

    `base`: any module whose answer holds a row for each example: a tensor (B, ...), or a tuple, dict or
    dataclass with such; it is never changed. `loss(outputs, targets)` gets that answer and gives (B,).
    `output`: which tensor of the answer predictions hold (and I(x) takes), by its name or a function of
    the answer. `encoder`: optional module on the base's inputs, (B, features), trained with
    the generator, so that x itself is in the condition. `transform(inputs, generator)`: optional
    augmentation of a batch before it is overfitted. `join(outputs (K, B, ...)) -> (B, ...)`: how
    draws answer as one, by which the sampling settings are chosen; the mean by default. `excerpt`:
    optional, a random part of large examples (ocd.data.excerpts). `describe`: optional, a better
    summary of I(x) than mean and deviation over positions (ocd.generator.conditioning).
    """

    def __init__(
        self,
        base: nn.Module,
        *,
        loss: Loss | None = None,
        config: OCDConfig | None = None,
        encoder: nn.Module | None = None,
        transform: Transform | None = None,
        join: Join = join_by_mean,
        excerpt: Excerpt | None = None,
        describe: Describe | None = None,
        output: Output | None = None,
    ) -> None:
        if not isinstance(base, nn.Module):
            raise OCDError(f"base is a {type(base).__name__}: it must be a torch module")
        if config is not None and not isinstance(config, OCDConfig):
            raise OCDError(
                f"config is a {type(config).__name__}: it must be an OCDConfig, such as "
                'OCDConfig().replace({"training.num_steps": 400})'
            )
        self.base = base
        self.loss = loss
        self.config = config or OCDConfig()
        if encoder is None and not self.config.condition.has_parts:
            raise OCDError(
                "condition has no part: set condition.layer_input, layer_output or output, or bring an "
                "encoder of x"
            )
        self.encoder = encoder
        self.transform = transform
        self.join = join
        self.excerpt = excerpt
        self.describe = describe
        self.outputs = Outputs(output)
        self.hypernetwork: HyperNetwork | None = None
        self.frozen: FrozenBase | None = None
        self.fingerprint: Fingerprint | None = None
        self.notes: list[str] = []

    # ---------------------------------------------------------------- fit

    def fit(
        self,
        dataset: Dataset[Any],
        workdir: str | Path | Workdir | None = None,
        progress: bool = True,
    ) -> OCD:
        """Select, overfit, train and choose how draws are taken, on a dataset of (inputs, target).

        With a `workdir` an interrupted fit resumes and ends with the same weights; without one it works
        in a temporary folder. Raises OCDError for an empty dataset, a layer that cannot be moved, a
        loss that does not give (B,), too many examples that are not finite, or a workdir of another
        fit (nothing is overwritten).
        """
        if workdir is None:
            with tempfile.TemporaryDirectory() as folder:
                return self.fit(dataset, folder, progress)
        if not isinstance(workdir, Workdir):
            workdir = Workdir(Path(workdir), context={"seed": self.config.seed})
        # Also where the caller works without gradients, as evaluation functions do.
        with torch.inference_mode(False), torch.enable_grad():
            return self._fit(as_dataset(dataset), workdir, progress)

    def _fit(self, dataset: Dataset[Any], workdir: Workdir, progress: bool) -> OCD:
        problem, record = self.open(dataset, workdir)
        self._select(problem, record)  # Eq. 3
        self._overfit(problem, record, progress)  # Eq. 1
        source = open_lessons(problem, record, self.config.lessons)
        held_out = self._train(source, record, progress)  # Alg. 1
        return self._choose_sampling(source, record, held_out)

    def select(self, dataset: Dataset[Any], work: Workdir) -> LayerScores | None:
        """The first step of `fit` alone: Eq. 3, if the layer is "auto". Returns all scores, or None
        where nothing was left to choose."""
        return self._select(*self.open(dataset, work))

    def overfit(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> None:
        """The second step of `fit` alone: the plan, and Eq. 1 for every example if it wants deltas
        stored."""
        problem, record = self.open(dataset, work)
        self._select(problem, record)
        self._overfit(problem, record, progress)

    def train(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> OCD:
        """The rest of `fit`: Alg. 1 on the overfitted examples, and how draws are taken."""
        record, source = self.lessons(dataset, work)
        held_out = self._train(source, record, progress)
        return self._choose_sampling(source, record, held_out)

    def _select(self, problem: Problem, record: FitRecord) -> LayerScores | None:
        config = self.config
        if record.layer is not None:
            return None
        scores = None
        if config.layer == "auto":
            count = min(config.selection.num_examples, dataset_size(problem.dataset))
            inputs, targets = problem.fetch(torch.arange(count))
            scores = select_layer(
                self.base, problem.loss, inputs, targets, config.selection, seed=config.seed,
                excerpt=self.excerpt, excerpt_size=selection_excerpt(config.overfit.excerpt),
                output=self.outputs.output,
            )  # fmt: skip
            record.layer = scores.layer()
            best = max(scores.scores)
            record.note(f"layer {record.layer}: Eq. 3, best mean entropy {best:.3f} nats")
        else:
            find_layer(self.base, config.layer)  # fails before anything is written
            record.layer = config.layer
        record.save()
        return scores

    def _overfit(self, problem: Problem, record: FitRecord, progress: bool) -> None:
        assert record.layer is not None
        if record.plan is None:
            record.plan, notes = make_plan(problem, record.layer, self.config.lessons)
            record.note(*notes)
            record.save()
        collect_lessons(problem, record, self.config.lessons, progress)

    def _train(self, source: LessonSource, record: FitRecord, progress: bool) -> Tensor:
        """Returns the dataset indices of the examples that were held out from the generator."""
        config = self.config
        trained = train_generator(
            source, record, config.generator, config.training, config.seed, progress
        )
        self.hypernetwork, self.frozen = trained.network, source.overfitter.frozen
        return trained.held_out

    def _choose_sampling(self, source: LessonSource, record: FitRecord, held_out: Tensor) -> OCD:
        """Scale factor and spread of draws, by the held-out examples; then save `checkpoint/`."""
        config = self.config
        fitted, overfitter = self.generator(), source.overfitter
        record.note(
            settle_sampling(fitted, overfitter, held_out, self.join, config.sampling, config.seed)
        )
        record.save()
        few, _ = source.overfitter.problem.fetch(
            torch.arange(min(3, dataset_size(source.overfitter.problem.dataset)))
        )
        self.fingerprint = Fingerprint.of(source.overfitter.frozen, few)
        self.notes = record.notes
        self.save_pretrained(record.work.checkpoint)
        return self

    # ------------------------------------------------------------ predict

    @torch.no_grad()
    def predict(
        self,
        inputs: Inputs,
        draws: int = 5,
        mode: str = "draws",
        seed: int = 0,
        chunk_size: int | None = None,
        use_mean_scale: bool = False,
    ) -> Prediction:
        """Alg. 2 for unseen inputs: f(x; θ + delta) for every generated delta. No label is seen.

        `inputs` (B, ...) of any B, worked on in chunks. `draws`: K. mode "draws" samples K deltas an
        example; "mean" gives the expected delta in one pass (K = 1). An example's draws depend on its
        own input and on `seed` alone, not on the rest of the batch. `use_mean_scale` is the paper's
        ablation "no scale". Raises OCDError for another mode, and for no draw or no input.
        """
        inputs = as_inputs(inputs)
        request = DrawRequest(draws if mode == "draws" else 1, mode, seed, use_mean_scale)
        check_count("chunk_size", 1 if chunk_size is None else chunk_size)
        if num_rows(inputs) == 0:
            raise OCDError("predict needs at least one input")
        fitted = self.generator()

        def work(chunk: slice) -> Prediction:
            rows = to_device(take_rows(inputs, chunk), fitted.frozen.device)
            capture = fitted.capture(rows)
            embedding = fitted.embed(rows, capture)
            codes = fitted.draw(rows, embedding, request)
            delta = fitted.decode(codes, capture)
            return apply_deltas(fitted.frozen, capture, delta)

        size = chunk_size or fitted.chunk_size(request.num_draws)
        return join_predictions([part for _, part in in_chunks(num_rows(inputs), size, work)])

    def embed(self, inputs: Inputs) -> tuple[Capture, Embedding]:
        """What passes through the layer for these inputs (B, ...), and the embedding of I(x)."""
        fitted = self.generator()
        capture = fitted.capture(inputs)
        return capture, fitted.embed(inputs, capture)

    # --------------------------------------------------------------- save

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: the generator only, never the base."""
        network, frozen = self.fitted()
        saved = Checkpoint(self.config, network, frozen, self.notes, self.fingerprint)
        save_checkpoint(Path(folder), saved)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        base: nn.Module,
        *,
        loss: Loss | None = None,
        encoder: nn.Module | None = None,
        describe: Describe | None = None,
        output: Output | None = None,
    ) -> OCD:
        """A saved generator on the base that it was made for (a folder, or a repository of the hub).

        Raises OCDError for another base, another format, missing or unexpected parameters.
        """
        outputs = Outputs(output)
        loaded = load_checkpoint(folder, base, encoder, outputs)
        ocd = cls(base, loss=loss, config=loaded.config, encoder=encoder, describe=describe)
        ocd.outputs = outputs
        ocd.hypernetwork, ocd.frozen, ocd.notes = loaded.network, loaded.frozen, loaded.notes
        ocd.fingerprint = loaded.fingerprint
        return ocd

    # ------------------------------------------------------------ details

    @property
    def condition(self) -> Condition:
        """How I(x) becomes vectors."""
        return Condition(self.config.condition, self.describe)

    def problem(self, dataset: Dataset[Any]) -> Problem:
        """What is handed in for a fit on this dataset."""
        return Problem(
            self.base, self._loss(), dataset, self.condition, self.transform, self.excerpt,
            self.encoder, self.outputs,
        )  # fmt: skip

    def open(self, dataset: Dataset[Any], work: Workdir) -> tuple[Problem, FitRecord]:
        """The problem, and the record of what was decided in this workdir so far."""
        problem = self.problem(dataset)
        return problem, FitRecord.open(work, problem, self.config.to_dict())

    def lessons(self, dataset: Dataset[Any], work: Workdir) -> tuple[FitRecord, LessonSource]:
        """The record of a workdir, and its overfitted examples. Raises OCDError before `overfit`."""
        problem, record = self.open(dataset, work)
        return record, open_lessons(problem, record, self.config.lessons)

    def fitted(self) -> tuple[HyperNetwork, FrozenBase]:
        """The trained generator and the base at its layer. Raises OCDError before `fit`."""
        if self.hypernetwork is None or self.frozen is None:
            raise OCDError("this OCD is not fitted: call fit, or OCD.from_pretrained")
        if self.hypernetwork.training:  # visiting all modules takes as long as a small matrix product
            self.hypernetwork.eval()
        return self.hypernetwork, self.frozen

    def generator(self) -> FittedGenerator:
        """The trained generator, ready to draw. Raises OCDError before `fit`."""
        network, frozen = self.fitted()
        network.eval()  # one part may be in training mode although the whole is not
        frozen.renew()
        network.to(frozen.device)
        return FittedGenerator(network, frozen, self.condition, self.config.sampling.mixed_precision)

    def _loss(self) -> Loss:
        if self.loss is None:
            raise OCDError(
                "fit needs a loss: OCD(base, loss=loss), with loss(outputs, targets) -> (B,)"
            )
        return self.loss
