"""The five verbs on a run folder: select, overfit, train, predict, report.

    run = Run.create("digits", Path("runs/digits"), seeds=(0, 1, 2))
    for seed in run.seeds:
        run.predict(seed)   # selects, overfits and trains first, if that is not done yet
    run.report()

Each verb skips what is complete in the folder, so that an interrupted run resumes with the same
command.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from ocd.config import OCDConfig
from ocd.data import Examples, Job, Shard, read_json, read_tensors, write_json, write_tensors
from ocd.distributed import launched
from ocd.evaluation import TOGETHER, check_installed, evaluate, run_methods
from ocd.lessons import Workdir, is_collected
from ocd.model import OCD
from ocd.prediction import Reference
from ocd.runs.baselines import base_trainer, new_base, train_baselines
from ocd.runs.comparing import make_comparison
from ocd.runs.folder import RunFolder, of_seed
from ocd.runs.phases import do_jobs, phase, phase_job, shared_phase, threads_of
from ocd.runs.progress import say_progress
from ocd.runs.settings import CROSS_FITTED, VARIANTS
from ocd.runs.shares import await_end, together_of
from ocd.runs.shown import keep_shown

VERBS = ("select", "overfit", "train", "predict", "report")


class Run(RunFolder):
    """A run: one task, some seeds, five verbs."""

    @of_seed
    def base(self, seed: int) -> nn.Module:
        """The base of a seed, in eval mode; trained (or loaded) once and kept in base/."""
        path = self.base_path(seed)

        def train() -> None:
            task, device = self.task, self.run_options.torch_device()
            base = new_base(task.make_base, task.train_base, self.base_data, self.options, seed, device)
            write_tensors(path, base.state_dict())

        do_jobs(self, [phase_job(self, "base", seed, [path], train)])
        return self.read_base(path)

    @of_seed
    def select(self, seed: int) -> None:
        """Eq. 3 for every layer. The report shows the scores even if the layer is named in the
        settings."""
        path = self.selection_path(seed)
        if not path.exists():
            check_installed(self.task.metrics)
            self.base(seed)
            do_jobs(self, [phase_job(self, "select", seed, [path], lambda: self._select(seed))])

    def _select(self, seed: int) -> None:
        base, selection = self.base(seed), self.config.selection
        config = self.config.replace({"seed": seed})
        scores = self.unfitted(base, config, seed, self.run_options.encode_x).scores(self.examples)
        named = self.config.layer
        chosen = scores.layer() if named == "auto" else named
        others = [name for name in scores.ranked() if name != chosen]
        why = f"layer {named} moves, as the settings say; by Eq. 3 alone: " if named != "auto" else ""
        self.log(seed).write("note", text=f"{why}{scores.note()}")
        values = {
            **scores.as_dict(),
            "num_draws": selection.num_draws,
            "num_examples": min(selection.num_examples, len(self.examples)),
            "relative_size": selection.relative_size,
            "chosen": chosen,
            "alternative": others[0] if others else None,
        }
        write_json(self.selection_path(seed), values)

    @of_seed
    def overfit(self, seed: int) -> None:
        """Eq. 1 for every example, at the layer of the run and at the alternative layer."""
        self.select(seed)
        for role, ocd, work in self.fits(seed):
            if work.is_finished:
                continue
            lessons, name = self.lessons_of(role, seed), "overfit" if role == "main" else role

            def plan(ocd: OCD = ocd, lessons: Examples = lessons, work: Workdir = work) -> None:
                with threads_of(self):
                    ocd.plan(lessons, work)

            planned = partial(getattr, work, "is_planned")
            do_jobs(self, [phase_job(self, name, seed, [], plan, planned, of=f"plan of {role}")])
            if is_collected(ocd.open(lessons, work)[1]):
                continue
            with shared_phase(self, name, seed):
                ocd.overfit(lessons, dataclasses.replace(work, share=self.share))

    @of_seed
    def train(self, seed: int) -> None:
        """Train the generators, and the baselines that are trained on the same examples. Processes of
        torchrun train each generator together; others take one each."""
        self.overfit(seed)
        if launched().is_alone:
            do_jobs(self, [self._training(role, work, seed) for role, _, work in self.fits(seed)])
        else:
            self._train_together(seed, launched())
        if self.data.reader is not None:  # else there are no new inputs to be judged by it
            self.reference(seed)
        if self.run_options.has_baselines:
            train_baselines(self, seed)

    def _training(self, role: str, work: Workdir, seed: int) -> Job:
        """The training of one fit, which keeps nothing in memory."""
        name, is_done = "train" if role == "main" else role, partial(getattr, work, "is_finished")

        def train() -> None:
            ocd = next(ocd for of, ocd, _ in self.fits(seed) if of == role)
            ocd.train(self.lessons_of(role, seed), work)

        return phase_job(self, name, seed, [work.checkpoint], train, is_done, of=f"train {role}")

    def _train_together(self, seed: int, team: Shard) -> None:
        """The training of all fits, as one of the processes of a launch: the first one writes."""
        for role, ocd, work in self.fits(seed):
            if work.is_finished:
                continue
            lessons, name = self.lessons_of(role, seed), "train" if role == "main" else role
            work = dataclasses.replace(work, share=team)
            if not team.leads:
                ocd.train(lessons, work)
                await_end(work, team)
                continue
            with phase(self, name, seed):
                ocd.train(lessons, work)
            self.enter(work.checkpoint)

    @of_seed
    def lessons(self, seed: int) -> Examples:
        """The examples that OCD learns from, with the task's own targets for them if it makes any.

        Such targets (out-of-fold residuals, for instance) are for examples that the base was trained
        on. Examples that were held out from the base are used with their labels.
        """
        if self.crosses_fits or self.task.make_targets is None or self.run_options.held_out:
            return self.examples
        return self._with_own_targets(seed)

    def _with_own_targets(self, seed: int) -> Examples:
        """The examples with the targets that the task makes for them."""
        make_targets = self.task.make_targets
        assert make_targets is not None
        path = self.root / "targets" / f"seed-{seed}.safetensors"
        makes = True

        def make() -> None:
            nonlocal makes
            base = self.base(seed)
            targets = make_targets(base, self.base_data, self.options, seed, say_progress)
            makes = targets is not None
            if targets is not None:
                write_tensors(path, {"targets": targets})

        do_jobs(self, [phase_job(self, "folds", seed, [path], make)])
        return Examples(self.examples.inputs, read_tensors(path)["targets"]) if makes else self.examples

    @of_seed
    def predict(self, seed: int) -> None:
        """Predict the test examples with every method of the table."""
        path = self.root / "predictions" / f"seed-{seed}.json"
        if not path.exists():
            self.train(seed)
            comparison, together = make_comparison(self, seed), together_of(self, seed)
            with shared_phase(self, "predict", seed):
                run_methods(comparison, self.data.test, together)
            written = [path.with_suffix(".safetensors"), path]

            def judge() -> None:
                with threads_of(self):
                    evaluation = evaluate(comparison, self.data.test, together, self.data.test_groups)
                keep_shown(self, seed, comparison, evaluation)
                tensors = dict(evaluation.tensors)
                numbers = evaluation.numbers | {TOGETHER: "example"}
                if (evidence := self.data.evidence) is not None:
                    tensors[TOGETHER], numbers[TOGETHER] = evidence.together, evidence.unit
                write_tensors(written[0], tensors)
                write_json(path, numbers)

            do_jobs(self, [phase_job(self, "predict", seed, written, judge, of="table")])
        if self.share.is_alone:  # else others may be about to look at what is there
            shutil.rmtree(self.unfinished(seed), ignore_errors=True)

    def report(self) -> dict[str, Any]:
        """Write results.json, report.md and the figures from the files of the run; returns the
        results."""
        from ocd.reporting import write_report

        return write_report(self.root)

    def do(self, verb: str) -> None:
        """One verb for all seeds, after what it needs."""
        if verb == "report":
            self.report()
            return
        for seed in self.seeds:
            getattr(self, verb)(seed)

    @of_seed
    def reference(self, seed: int) -> Reference:
        """How far training inputs lie apart, by which new ones are called unlike them; made once."""
        path = self.reference_path(seed)

        def make() -> None:
            _, ocd, work = next(self.fits(seed))
            fitted = self.load(ocd, work).generator()
            write_tensors(path, Reference.fit(fitted, self.lessons(seed).inputs, seed).state())

        do_jobs(self, [phase_job(self, "reference", seed, [path], make)])
        return Reference(**read_tensors(path))

    # ----------------------------------------------------------- details

    @of_seed
    def fits(self, seed: int) -> Iterator[tuple[str, OCD, Workdir]]:
        """The fits of a seed, by role: of the run's layer ("main"), of the alternative layer, and of
        the `VARIANTS`."""
        selection = read_json(self.selection_path(seed))
        main = {"layer": selection["chosen"], "seed": seed}
        changes: dict[str, dict[str, Any]] = {"main": {}}
        if self.run_options.alternative and selection["alternative"]:
            changes["alternative"] = {"layer": selection["alternative"]}
        if self.run_options.variants:
            own = "both" if self.crosses_fits else "common"
            changes |= {role: changed for role, changed in VARIANTS.items() if role != own}
            changes |= self.task.variants
        base = self.base(seed)
        for role, settings in changes.items():
            member = f"seed-{seed}" if role == "main" else f"seed-{seed}-{role}"
            config = self.config.replace({**main, **settings})
            ocd = self.unfitted(base, config, seed, self.run_options.encode_x)
            work = Workdir(self.root, member, {"seed": seed, "role": role})
            if self._is_cross_fitted(role):  # all such fits of a seed on the same bases
                ocd.seen, ocd.fit_base = True, base_trainer(self, seed)
                work = dataclasses.replace(work, bases_of=f"seed-{seed}")
            yield role, ocd, work

    def lessons_of(self, role: str, seed: int) -> Examples:
        """The examples of a fit: with their labels where each base has not seen its own."""
        if self._is_cross_fitted(role) or self.task.make_targets is None or self.run_options.held_out:
            return self.examples
        return self._with_own_targets(seed)

    def _is_cross_fitted(self, role: str) -> bool:
        as_main = role in ("main", "alternative", *self.task.variants)
        return role in CROSS_FITTED or (self.crosses_fits and as_main)

    def unfitted(self, base: nn.Module, config: OCDConfig, seed: int, encode_x: bool) -> OCD:
        """OCD with all that the task brings, not fitted. `encode_x`: whether x is in the condition."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = self.task.make_encoder(self.options, self.base_data) if encode_x else None
        if encoder is not None and self.task.start_encoder is not None:
            self.task.start_encoder(encoder, base)
        augment = self.run_options.augment
        made = OCD(
            base,
            loss=self.task.loss,
            config=config,
            encoder=encoder,
            transform=self.task.make_transform(self.options) if augment else None,
            join=self.task.join_draws,
            excerpt=self.task.make_excerpt(self.options),
            describe=self.task.make_describe(self.options),
        )
        made.belongs = self.groups
        return made

    def load(self, ocd: OCD, work: Workdir) -> OCD:
        """The trained OCD that a workdir holds."""
        fitted = OCD.from_pretrained(
            work.checkpoint, ocd.base, loss=ocd.loss, encoder=ocd.encoder, describe=ocd.describe
        )
        fitted.transform, fitted.excerpt, fitted.belongs = ocd.transform, ocd.excerpt, ocd.belongs
        fitted.seen, fitted.fit_base = ocd.seen, ocd.fit_base
        return fitted
