"""OCD: select a layer, overfit it per example, train the generator, predict.

Read from top to bottom, this file is the algorithm. Each step is one call into one room:

    fit      lessons (select, overfit), training, prediction (how draws are taken)
    predict  base (capture), generator (embed, draw, decode), base (the rest of the network)

    ocd = OCD(base, loss=loss, config=OCDConfig(layer="fc1")).fit(dataset, workdir="runs/mine")
    prediction = ocd.predict(inputs, draws=5)
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from torch import nn
from torch.utils.data import Dataset

from ocd.base import Capture, Loss, Output, Outputs, base_digest
from ocd.callbacks import Callback, print_notes
from ocd.data import (
    Collate,
    Examples,
    Inputs,
    Unseen,
    as_dataset,
    resumable,
    to_device,
)
from ocd.distributed import check_alone, launched
from ocd.errors import OCDError
from ocd.fitting import Fitting, belonging, few_examples, follow, is_long, rehearsal_config
from ocd.generator import Describe, Embedding
from ocd.hub import (
    CardFacts,
    FetchOptions,
    PushOptions,
    base_in_words,
    fetched_folder,
    load_checkpoint,
    push_generator,
)
from ocd.lessons import Curriculum, FitBase, Problem, Workdir
from ocd.prediction import (
    AS_THE_BASE,
    AS_TUNED,
    Choose,
    DrawRequest,
    Prediction,
    apply_deltas,
    best_draws,
    check_count,
    joined_chunks,
    unmoved,
)


class OCD(Fitting):
    """A frozen base with a generator of weights for each example (Eq. 2).

    `base`: any module whose answer holds a row for each example: a tensor (B, ...), or a tuple, dict or
    dataclass with such; it is never changed. `loss(outputs, targets)` gets that answer and gives (B,).
    `output`: which tensor of the answer predictions hold (and I(x) takes), by its name or a function of
    the answer; None: the first floating one (and all). `encoder`: optional module on the base's inputs,
    (B, features), trained with the generator, so that x itself is in the condition.
    `transform(inputs, generator)`: optional augmentation of a batch before it is overfitted.
    `join(outputs (K, B, ...)) -> (B, ...)`: how draws answer as one, by which the sampling settings are
    chosen; the mean by default. `excerpt`: optional, a random part of large examples
    (ocd.data.excerpts). `describe`: optional, a better
    summary of I(x) than mean and deviation over positions (ocd.generator.conditioning).
    """

    # ---------------------------------------------------------------- fit

    def fit(
        self,
        dataset: Dataset[Any],
        workdir: str | Path | Workdir | None = None,
        progress: bool = True,
        collate: Collate | None = None,
        validation: Dataset[Any] | None = None,
        seen: bool = False,
        fit_base: FitBase | None = None,
        groups: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
    ) -> Self:
        """Fit on examples (inputs, target) that the base was not trained on, where there are such.

        Selects a layer, overfits, trains, and chooses how draws are taken. `seen`: whether the base was
        trained on these examples; few of its errors are left in them then. `fit_base(dataset)` cures
        that: it trains a base of the same architecture, from the same start, on a part of them, some
        times; each lesson is made on the base that has not seen it (ocd.lessons.cross_fitting).

        `validation`: examples that neither base nor fit has seen, of the same forms. On these the
        length and spread of moves are chosen, and whether to move at all (`sampling.confidence`);
        without them, on lessons that are held out from the generator. Where the base errs far more on
        them than on the lessons, it has seen the lessons, and a warning says so.

        `groups`: a label for each example, where some belong together (queries, patients, days): they
        are never on both sides of a split, and count as one piece of evidence. None: copies do so.

        `dataset`: map-style (len and [i]), a DataLoader of one, `Examples` or `Columns`. `collate`:
        makes a batch of uneven examples, as a DataLoader's does. `callbacks`: are told of losses and
        decisions (ocd.callbacks). `verbose`: print decisions. `progress`: show bars.

        With a `workdir` an interrupted fit resumes, and processes of torchrun fit one generator
        (docs/scale.md); without one it works in a temporary folder. Raises OCDError for an empty
        dataset, a layer that cannot be moved, a loss that does not give (B,), too many examples that
        are not finite, or a workdir of another fit (nothing is overwritten).
        """
        if workdir is None:
            check_alone("a fit without a workdir")
            given = (progress, collate, validation, seen, fit_base, groups, callbacks, verbose)
            with tempfile.TemporaryDirectory() as folder:
                return self.fit(dataset, folder, *given)
        workdir = self._watched(workdir, callbacks, verbose)
        self.seen, self.fit_base = seen or fit_base is not None, fit_base
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller works in
            judges = None if validation is None else as_dataset(validation, collate)
            examples = as_dataset(dataset, collate)
            self.belongs, said = belonging(groups, examples)
            with resumable(None if not workdir.share.leads else workdir.unfinished):
                return self._fit(examples, workdir, progress, judges, said)

    def _watched(
        self, workdir: str | Path | Workdir, callbacks: Sequence[Callback], verbose: bool
    ) -> Workdir:
        """The files of a fit, whose log is listened to."""
        if not isinstance(workdir, Workdir):
            workdir = Workdir(Path(workdir), context={"seed": self.config.seed}, share=launched())
        more = (print_notes,) if verbose else ()
        return replace(workdir, listeners=(*workdir.listeners, *callbacks, *more))

    def _fit(
        self,
        dataset: Dataset[Any],
        workdir: Workdir,
        progress: bool,
        validation: Dataset[Any] | None,
        said: str | None,
    ) -> Self:
        self.judged = validation is not None
        if not workdir.share.leads:
            return follow(self, dataset, workdir)
        problem, record = self.open(dataset, workdir)
        record.note(*([] if said is None else [said]))
        course = self._course(problem, record, progress)
        self._select(course, progress)  # Eq. 3
        self._overfit(course, progress)  # Eq. 1
        source = course.open()
        trained = self._train(source, record, progress)  # Alg. 1
        return self._choose_sampling(source, record, trained, validation)

    def _decide(self, course: Curriculum, progress: bool) -> None:
        layer = course.record.layer
        if course.record.plan is None and is_long(course.problem, self.config.training):
            assert layer is not None
            goal = self.settle_goal(course.template, course.record)
            self._rehearse(course.problem, layer, goal)
        super()._decide(course, progress)

    def _rehearse(self, problem: Problem, layer: str, goal: str) -> None:
        """Try every step of the fit on two examples, saving and loading included, so that nothing fails
        after hours. Raises what the step that fails raises."""
        few = few_examples(problem, layer)
        if few is None:
            return
        inputs, targets, unit = few
        trial = copy.copy(self)
        trial.config = rehearsal_config(self.config, layer, goal, unit)
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), resumable(None):
            work = Workdir(Path(folder))
            trial.fit(Examples(inputs, targets), work, progress=False)
            again = self.from_pretrained(
                work.checkpoint, self.base, encoder=self.encoder, describe=self.describe,
                output=self.outputs.output,
            )  # fmt: skip
            saved, loaded = (one.predict(inputs, draws=2).outputs for one in (trial, again))
        if not torch.allclose(saved, loaded, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise OCDError("a generator that is saved and loaded predicts otherwise: please report it")

    # ------------------------------------------------------------ predict

    @torch.no_grad()
    def predict(
        self,
        inputs: Inputs | Dataset[Any],
        draws: int = 5,
        mode: str = "draws",
        seed: int = 0,
        chunk_size: int | None = None,
        use_mean_scale: bool = False,
        collate: Collate | None = None,
        choose: Choose | None = None,
    ) -> Prediction:
        """Alg. 2 for unseen inputs: f(x; θ + delta) for every generated delta. No label is seen.

        `inputs` (B, ...) of any B, worked on in chunks; or a dataset as `fit` takes it, of pairs or of
        inputs alone, whose targets are not looked at. `draws`: K. mode "draws" samples K deltas an
        example; "mean" gives the expected delta in one pass (K = 1). An example's draws depend on its
        own input and on `seed`, not on the rest of the batch; and on K, where they are balanced
        (`Prediction`). `use_mean_scale` is the paper's ablation "no scale". `choose`: keep the best
        draw (ocd.prediction.verifying). Raises OCDError for another mode, no draw or no input.
        """
        unseen = Unseen(inputs, collate)
        request = DrawRequest(draws if mode == "draws" else 1, mode, seed, use_mean_scale)
        check_count("chunk_size", 1 if chunk_size is None else chunk_size)
        if len(unseen) == 0:
            raise OCDError("predict needs at least one input")
        fitted = self.generator()
        fitted.frozen.renew()

        def work(chunk: slice) -> Prediction:
            rows = to_device(unseen.rows(chunk), fitted.frozen.device)
            capture = fitted.capture(rows)
            if fitted.network.scale_factor == 0:  # no move gained on held-out examples
                note = AS_THE_BASE if fitted.frozen.start is None else AS_TUNED
                found = unmoved(fitted.frozen, capture, request.num_draws, note)
            else:
                codes = fitted.draw(rows, fitted.embed(rows, capture), request)
                delta = fitted.decode(codes, capture)
                found = apply_deltas(fitted.frozen, capture, delta, fitted.balances(request))
            return found if choose is None else best_draws(found, rows, choose)

        def one() -> Inputs:
            return to_device(unseen.rows(slice(0, 1)), fitted.frozen.device)

        size = chunk_size or fitted.chunk_size(request.num_draws, one)
        return joined_chunks(len(unseen), size, work, fitted.frozen.device)

    def embed(self, inputs: Inputs) -> tuple[Capture, Embedding]:
        """What passes through the layer for these inputs (B, ...), and the embedding of I(x)."""
        fitted = self.generator()
        fitted.frozen.renew()
        capture = fitted.capture(inputs)
        return capture, fitted.embed(inputs, capture)

    # --------------------------------------------------------------- save

    def push_to_hub(
        self, repo_id: str, card: CardFacts | None = None, **options: Unpack[PushOptions]
    ) -> str:
        """Push the generator, never the base, to the Hugging Face hub, with a model card; returns the
        address of the commit. `card`: what the card says, else `card_facts()`. `options`: private,
        token, branch, commit_message, create_pr. Raises OCDError before `fit`, and where the hub
        refuses."""
        return push_generator(repo_id, self.save_pretrained, card or self.card_facts(), options)

    def card_facts(self) -> CardFacts:
        """What a model card can say of a fit by itself: nothing of whether it helps."""
        _, frozen = self.fitted()
        more = "".join(f", {name}={name}" for name in ("encoder", "describe") if getattr(self, name))
        return CardFacts(
            title=f"OCD for `{type(self.base).__name__}`, layer `{frozen.name}`",
            base=base_in_words(self.base),
            base_hash=base_digest(self.base),
            layer=frozen.name,
            notes=self.notes,
            arguments=more,
        )

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
        **options: Unpack[FetchOptions],
    ) -> Self:
        """A saved generator on the base that it was made for (a folder, or a repository of the hub).

        `options`, for the hub: revision, token, cache_dir, force_download, local_files_only. Raises
        OCDError for another base, another format, missing or unexpected parameters.
        """
        outputs = Outputs(output)
        loaded = load_checkpoint(fetched_folder(folder, options), base, encoder, outputs)
        ocd = cls(base, loss=loss, config=loaded.config, encoder=encoder, describe=describe)
        ocd.outputs = outputs
        ocd.hypernetwork, ocd.frozen, ocd.notes = loaded.network, loaded.frozen, loaded.notes
        ocd.fingerprint, ocd.made_for = loaded.fingerprint, loaded.made_for
        return ocd
