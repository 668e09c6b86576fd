"""OCD: select a layer, overfit it per example, train the generator, predict.

Read from top to bottom, this file is the algorithm.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import Capture, Delta, FrozenBase, Loss, base_digest, find_layer, num_weights
from ocd.checkpoint import load_checkpoint, save_checkpoint
from ocd.config import OCDConfig
from ocd.data import (
    Excerpt,
    Inputs,
    dataset_size,
    fetch_rows,
    in_chunks,
    join_rows,
    num_rows,
    progress_bar,
    seeded,
    take_rows,
    tensors,
    to_device,
)
from ocd.errors import OCDError
from ocd.generator import Condition, Describe, Embedding, HyperNetwork, example_keys, example_noise
from ocd.lessons import (
    DeltaStore,
    FreshLessons,
    LayerScores,
    LessonSource,
    Overfitter,
    Plan,
    StoredLessons,
    Transform,
    Workdir,
    build_network,
    collect,
    fill_plan,
    make_overfitter,
    select_layer,
)
from ocd.prediction import (
    ENOUGH,
    NUM_DRAWS,
    Join,
    Prediction,
    apply_deltas,
    choose_sampling,
    join_by_mean,
    join_predictions,
    keep_sampling,
)
from ocd.training import DiffusionObjective, Trainer, distill

MODES = ("draws", "mean")


class OCD:
    """A frozen base with a generator of weights for each example (Eq. 2).

    `base`: any module whose forward gives one tensor (B, ...). `loss(outputs, targets)` gives (B,).
    `encoder`: optional module on the base's inputs, (B, features), trained with the generator, so
    that x itself is in the condition. `transform(inputs, generator)`: optional augmentation of a
    batch before it is overfitted. `join(outputs (K, B, ...)) -> (B, ...)`: how draws answer as one, by
    which the settings of sampling are chosen; their mean where it is not given. `excerpt`: optional,
    a random part of large examples (ocd.excerpts). `describe`: optional, a better summary of I(x) than
    mean and deviation over positions (ocd.conditioning). The base is never changed.
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
    ) -> None:
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
        self.hypernetwork: HyperNetwork | None = None
        self.frozen: FrozenBase | None = None
        self.notes: list[str] = []

    # ---------------------------------------------------------------- fit

    def fit(
        self,
        dataset: Dataset[Any],
        workdir: str | Path | Workdir | None = None,
        progress: bool = True,
    ) -> OCD:
        """select → overfit → train on a dataset of (inputs, target) pairs.

        With a `workdir` it goes on where it was stopped and ends with the same weights; without one
        it works in a temporary folder. Raises OCDError for an empty dataset, a layer that cannot be
        moved, a loss that reduces, too many examples that are not finite, or a workdir of another
        run (nothing is overwritten).
        """
        if workdir is None:
            with tempfile.TemporaryDirectory() as folder:
                return self.fit(dataset, folder, progress)
        work = workdir if isinstance(workdir, Workdir) else self._workdir(workdir)
        self.select(dataset, work)
        self.overfit(dataset, work, progress)
        return self.train(dataset, work, progress)

    def select(self, dataset: Dataset[Any], work: Workdir) -> LayerScores | None:
        """Eq. 3, where the layer is "auto": scores of all layers. Remembered in the workdir."""
        plan = self.plan(dataset, work)
        if plan.layer is not None:
            return None
        if self.config.layer != "auto":
            find_layer(self.base, self.config.layer)  # fails before anything is written
            plan.layer = self.config.layer
            scores = None
        else:
            count = min(self.config.selection.num_examples, dataset_size(dataset))
            inputs, targets = self._fetch(dataset, count)
            scores = select_layer(
                self.base,
                self._loss(),
                inputs,
                targets,
                self.config.selection,
                seed=self.config.seed,
                excerpt=self.excerpt,
            )
            plan.layer = scores.layer(self.config.rank)
            best = max(scores.scores)
            plan.note(f"layer {plan.layer}: Eq. 3, best mean entropy {best:.3f} nats")
        plan.save()
        return scores

    def overfit(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> None:
        """Eq. 1 for every example, into the store; or only what is needed to do it on the fly."""
        plan = self.plan(dataset, work)
        if plan.layer is None:
            self.select(dataset, work)
            plan = self.plan(dataset, work)
        if plan.lr is None:
            fill_plan(
                self.base, self._loss(), dataset, self.config, self.transform, plan,
                self.excerpt, self.condition,
            )  # fmt: skip
        if plan.storage != "store":
            return
        overfitter = self._maker(dataset, plan)
        store = self._store(work, plan)
        if store.complete:
            return
        total = dataset_size(dataset) * self.config.collection.num_copies
        with progress_bar(f"overfit {plan.layer}", total, progress) as advance:
            collect(
                overfitter, store, self.config.collection, plan.form, self.config.seed,
                self._keeps_inputs, advance,
            )  # fmt: skip

    @property
    def _keeps_inputs(self) -> bool:
        """Augmented inputs are not in the dataset, and two parts of the training look at them."""
        looks = self.encoder is not None or self.config.training.task_loss_weight > 0
        return self.transform is not None and looks

    def is_overfitted(self, dataset: Dataset[Any], work: Workdir) -> bool:
        """Whether `overfit` has nothing left to do in this workdir."""
        plan = self.plan(dataset, work)
        if plan.lr is None:
            return False
        return plan.storage != "store" or self._store(work, plan).complete

    def overfitted(self, dataset: Dataset[Any], work: Workdir) -> tuple[Plan, Overfitter, LessonSource]:
        """What was decided in a workdir, what overfits, and the overfitted examples to train on."""
        plan = self.plan(dataset, work)
        if plan.lr is None or plan.layer is None:
            raise OCDError(f"nothing is overfitted yet in {work.root}: overfit first")
        overfitter = self._maker(dataset, plan)
        return plan, overfitter, self._source(work, plan, overfitter)

    def train(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> OCD:
        """Alg. 1: train the generator on the overfitted deltas; resumes. Saves `checkpoint/`."""
        plan, overfitter, source = self.overfitted(dataset, work)
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            network = build_network(source, overfitter, self.config, self.encoder, plan)
        training = self.config.training
        objective = DiffusionObjective(
            overfitter, training.num_noise_levels, training.task_loss_weight, training.excerpt
        )
        trainer = Trainer(
            network, source, overfitter, objective, training, self.config.seed, work.log(),
            work.checkpoint / "training.pt", plan.key["all"],
        )  # fmt: skip
        trainer.resume()
        num_steps = trainer.config.num_steps
        with progress_bar(f"train {plan.layer}", num_steps, progress) as advance:
            trained = trainer.run(advance)
        assert isinstance(trained, HyperNetwork)
        distillation = self.config.distillation
        if distillation.num_steps:
            with progress_bar("distill", distillation.num_steps, progress) as advance:
                distill(
                    trained, source, overfitter, distillation, training, self.config.seed,
                    work.log("student"), work.checkpoint / "student.pt", plan.key["all"],
                    advance,
                )  # fmt: skip
        self.hypernetwork, self.frozen = trained, overfitter.frozen
        held_out = source.examples[trainer.held_out].unique()
        self._choose_sampling(held_out, overfitter, plan)
        self.notes = plan.notes
        self.save_pretrained(work.checkpoint)
        return self

    def _choose_sampling(self, held_out: Tensor, overfitter: Overfitter, plan: Plan) -> None:
        """On the held-out examples, as they are and augmented."""
        network, frozen = self.fitted()
        config = self.config
        sampling = config.sampling
        settled = None not in (sampling.scale_factor, sampling.spread) and not sampling.skip
        if settled or not len(held_out):
            plan.note(keep_sampling(network, sampling))
            plan.save()
            return
        copies = 1 if self.transform is None else max(1, ENOUGH // (2 * len(held_out)))
        index = held_out.repeat(copies)
        inputs, targets = fetch_rows(overfitter.dataset, index)
        if self.transform is not None:
            augmented, _ = overfitter.fetch(index, seeded(config.seed, 10))
            inputs = join_rows(to_device(inputs, frozen.device), augmented)
            targets = targets.repeat(2, *[1] * (targets.dim() - 1))
        text = choose_sampling(
            network, frozen, self._loss(), self.condition, sampling, inputs, targets,
            self.join, config.overfit.chunk_size or _prediction_chunk(network, NUM_DRAWS),
            self.excerpt, config.training.excerpt or config.overfit.excerpt,
        )  # fmt: skip
        plan.note(text)
        plan.save()

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

        `inputs` (B, ...) of any B; worked on by chunks. `draws`: K. mode "draws" samples K deltas an
        example; "mean" gives the expected delta in one pass (K = 1). An example's draws depend on
        its own input and on `seed` alone, not on the rest of the batch. `use_mean_scale` is the
        paper's ablation. The base is as before afterwards, also after an exception.
        """
        if mode not in MODES:
            raise OCDError(f"mode is {mode!r}: use one of {MODES}")
        if draws < 1 or num_rows(inputs) == 0:
            raise OCDError(f"predict needs at least one draw and one input, got {draws} draws")
        network, frozen = self.fitted()
        network.eval()  # once, with every part of it
        num_draws = draws if mode == "draws" else 1
        size = chunk_size or _prediction_chunk(network, num_draws)

        def work(chunk: slice) -> Prediction:
            rows = to_device(take_rows(inputs, chunk), frozen.device)
            return self._predict_chunk(network, frozen, rows, num_draws, mode, seed, use_mean_scale)

        return join_predictions([part for _, part in in_chunks(num_rows(inputs), size, work)])

    def _predict_chunk(
        self,
        network: HyperNetwork,
        frozen: FrozenBase,
        inputs: Inputs,
        num_draws: int,
        mode: str,
        seed: int,
        use_mean_scale: bool,
    ) -> Prediction:
        capture, embedding = self.embed(inputs)
        delta: Delta
        with self._precision():
            if mode == "mean":
                delta = network.mean(embedding, capture.positions, use_mean_scale)
            else:
                shape = (network.diffusion.num_noises, *network.diffused_shape)
                noise = example_noise(example_keys(inputs), seed, num_draws, shape)
                delta = network.draw(embedding, capture.positions, noise, use_mean_scale)
        return apply_deltas(frozen, capture, delta)

    def _precision(self) -> AbstractContextManager[None]:
        """bfloat16 for the generator's own matrix products where that is wanted, and only there."""
        assert self.frozen is not None  # only what is fitted predicts
        device, wanted = self.frozen.device.type, self.config.sampling.mixed_precision
        if not wanted and not torch.is_autocast_enabled(device):
            return nullcontext()
        return torch.autocast(device, dtype=torch.bfloat16, enabled=wanted)

    def embed(self, inputs: Inputs) -> tuple[Capture, Embedding]:
        """What passes through the layer for these inputs, and the embedding of I(x)."""
        network, frozen = self.fitted()
        rank_one = network.shapes.code == "rank_one"
        capture = frozen.capture(inputs, keep_positions=rank_one or self.condition.needs_positions)
        features = self.condition.features(frozen, inputs, capture)
        with self._precision():
            return capture, network.embed(features, inputs)

    @property
    def condition(self) -> Condition:
        """How I(x) is seen."""
        return Condition(self.config.condition, self.describe)

    # --------------------------------------------------------------- save

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: the generator only, never the base."""
        network, frozen = self.fitted()
        save_checkpoint(Path(folder), self.config, network, frozen, self.notes)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        base: nn.Module,
        *,
        loss: Loss | None = None,
        encoder: nn.Module | None = None,
        describe: Describe | None = None,
    ) -> OCD:
        """A saved generator on the base that it was made for (a folder, or a repository of the hub).

        Raises OCDError for another base, another format, missing or unexpected parameters.
        """
        loaded = load_checkpoint(folder, base, encoder)
        ocd = cls(base, loss=loss, config=loaded.config, encoder=encoder, describe=describe)
        ocd.hypernetwork, ocd.frozen, ocd.notes = loaded.network, loaded.frozen, loaded.notes
        return ocd

    # ------------------------------------------------------------ details

    def _workdir(self, folder: str | Path) -> Workdir:
        return Workdir(Path(folder), context={"seed": self.config.seed})

    def _loss(self) -> Loss:
        if self.loss is None:
            raise OCDError(
                "fit needs a loss: OCD(base, loss=loss), with loss(outputs, targets) -> (B,)"
            )
        return self.loss

    def fitted(self) -> tuple[HyperNetwork, FrozenBase]:
        """The trained generator and the base frozen at its layer. Raises OCDError before `fit`."""
        if self.hypernetwork is None or self.frozen is None:
            raise OCDError("this OCD is not fitted: call fit, or OCD.from_pretrained")
        if self.hypernetwork.training:  # to visit all modules is as slow as a small product
            self.hypernetwork.eval()
        return self.hypernetwork, self.frozen

    def _fetch(self, dataset: Dataset[Any], count: int) -> tuple[Inputs, Tensor]:
        device = next(self.base.parameters()).device
        inputs, targets = fetch_rows(dataset, torch.arange(count))
        return to_device(inputs, device), targets.to(device)

    def plan(self, dataset: Dataset[Any], work: Workdir) -> Plan:
        """What was decided in this workdir so far; new where nothing was."""
        few = self._fetch(dataset, min(64, dataset_size(dataset)))
        again = self._fetch(dataset, min(4, dataset_size(dataset)))
        pairs = zip((*tensors(few[0]), few[1]), (*tensors(again[0]), again[1]), strict=True)
        if not all(_same(one[: len(other)], other) for one, other in pairs):
            raise OCDError(
                "the dataset gives other values when an example is read again: take random "
                "augmentation out of it and pass it as OCD(..., transform=...)"
            )
        made_by = (self.loss, self.transform, self.excerpt, self.describe, self._keeps_inputs)
        parts = (*made_by, self.encoder)
        digest = base_digest(self.base)
        size = dataset_size(dataset)
        return Plan.open(work, self.config, digest, size, few, parts, made_by)

    def _maker(self, dataset: Dataset[Any], plan: Plan) -> Overfitter:
        return make_overfitter(
            self.base, self._loss(), dataset, self.config, self.transform, plan,
            self.excerpt, self.condition,
        )  # fmt: skip

    def _store(self, work: Workdir, plan: Plan) -> DeltaStore:
        key = {name: plan.key[name] for name in ("base", "data", "overfit", "made_by")}
        return DeltaStore.open(work.deltas, key)

    def _source(self, work: Workdir, plan: Plan, overfitter: Overfitter) -> LessonSource:
        if plan.storage == "on_the_fly":
            return FreshLessons(overfitter)
        store = self._store(work, plan)
        if not store.complete:
            raise OCDError(f"the deltas in {work.deltas} are not complete: overfit first")
        return StoredLessons(store.reader(), overfitter)


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal, where NaN equals NaN."""
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _prediction_chunk(network: HyperNetwork, num_draws: int) -> int:
    """Rows at once: activations and dense deltas of all draws stay under some hundred megabytes."""
    dense = network.shapes.code != "rank_one"
    weights = num_weights(network.shapes.weight_shape) if dense else 0
    elements = max(network.denoiser.elements_per_code, weights)
    return max(1, min(256, 2**26 // (num_draws * elements)))
