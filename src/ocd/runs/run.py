"""The five verbs on a run folder. Every verb goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ocd.lessons import StoredLessons
from ocd.config import OCDConfig
from ocd.baselines import EQUAL_TIME, TRAINED, failure, fit_baseline, load_baseline, why_not
from ocd.lessons import Workdir
from ocd.data import read_json, write_json
from ocd.data import Examples, to_device
from ocd.model import OCD
from ocd.runs.folder import RunFolder
from ocd.lessons import select_layer
from ocd.data import read_tensors, write_tensors
from ocd.evaluation import Comparison, evaluate, show_film

VERBS = ("select", "overfit", "train", "predict", "report")


class Run(RunFolder):
    """A run: one task, some seeds, five verbs."""

    def base(self, seed: int) -> nn.Module:
        """The trained base of a seed; trained (or loaded) once and kept in base/."""
        path = self.base_path(seed)
        if path.exists():
            return self.read_base(path)
        base = self.task.make_base(self.options, self.base_data).to(self.run_options.torch_device())
        with self.phase("base", seed):
            self.task.train_base(base, self.base_data, self.options, seed, _say)
        write_tensors(path, base.state_dict())
        self.enter(path)
        return base.eval()

    def select(self, seed: int) -> None:
        """Eq. 3 for every layer, also where the layer is named: the report shows the scores."""
        path = self.selection_path(seed)
        if path.exists():
            return
        base = self.base(seed)
        selection = self.config.selection
        few = slice(0, selection.num_examples)
        with self.phase("select", seed):
            inputs, targets = self.examples.rows(few)
            device = self.run_options.torch_device()
            inputs, targets = to_device(inputs, device), targets.to(device)
            excerpt = self.task.make_excerpt(self.options)
            scores = select_layer(
                base, self.task.loss, inputs, targets, selection, seed=seed, excerpt=excerpt
            )
        named = self.config.layer
        chosen = scores.layer(self.config.rank) if named == "auto" else named
        others = [name for name in scores.ranked() if name != chosen]
        why = "named in the settings" if named != "auto" else f"rank {self.config.rank} of Eq. 3"
        self.log(seed).write("note", text=f"layer {chosen}: {why}")
        write_json(
            path,
            {
                **dataclasses.asdict(scores),
                "num_draws": selection.num_draws,
                "num_examples": min(selection.num_examples, len(self.examples)),
                "relative_size": selection.relative_size,
                "chosen": chosen,
                "alternative": others[0] if others else None,
            },
        )
        self.enter(path)

    def overfit(self, seed: int) -> None:
        self.select(seed)
        lessons = self.lessons(seed)
        for role, ocd, work in self._fits(seed):
            if work.is_finished:
                continue
            if ocd.is_overfitted(lessons, work):
                continue
            with self.phase("overfit" if role == "main" else "alternative", seed):
                ocd.overfit(lessons, work)

    def train(self, seed: int) -> None:
        """The generator, and the baselines that are trained beside it."""
        self.overfit(seed)
        lessons = self.lessons(seed)
        for role, ocd, work in self._fits(seed):
            if work.is_finished:
                continue
            with self.phase("train" if role == "main" else "alternative", seed):
                ocd.train(lessons, work)
            self.enter(work.checkpoint)
        if self.run_options.has_baselines:
            self._train_baselines(seed)
            self._train_bases(seed)

    def lessons(self, seed: int) -> Examples:
        """What OCD learns from: the examples, with the task's own targets for them where it has such.

        Those are for examples that the base was trained on; the ones that were kept from it are
        honest as they are.
        """
        if self.task.make_targets is None or self.run_options.held_out:
            return self.examples
        path = self.root / "targets" / f"seed-{seed}.safetensors"
        if not path.exists():
            with self.phase("folds", seed):
                targets = self.task.make_targets(
                    self.base(seed), self.base_data, self.options, seed, _say
                )
            if targets is None:
                return self.examples
            write_tensors(path, {"targets": targets})
            self.enter(path)
        return Examples(self.examples.inputs, read_tensors(path)["targets"])

    def _train_baselines(self, seed: int) -> None:
        left = [kind for kind in self._kinds() if not self._baseline_work(kind, seed).is_finished]
        if not left:
            return
        fits = {role: (ocd, work) for role, ocd, work in self._fits(seed)}
        ocd, main = fits["main"]
        fitted = self._load(ocd, main)
        for kind in left:
            if why_not(kind, fitted) is None:
                num_steps = self._equal_time(seed) if kind == EQUAL_TIME else None
                with self.phase(kind, seed):
                    work = self._baseline_work(kind, seed)
                    fit_baseline(
                        kind, fitted, self.lessons(seed), main, work, num_steps=num_steps,
                        labelled=self.examples,
                    )  # fmt: skip
                self.enter(self._baseline_work(kind, seed).checkpoint)

    def _kinds(self) -> list[str]:
        """The trained baselines of this run, in the order in which they are trained."""
        return [*TRAINED, *([EQUAL_TIME] if self.run_options.baselines == "more" else [])]

    def _equal_time(self, seed: int) -> int | None:
        """The steps of the label network that take as long as OCD's overfitting and training took;
        None where it failed."""
        shorter = read_json(self._baseline_work("label_network", seed).checkpoint / "config.json")
        seconds = self.phase_seconds(seed)
        ours = (seconds.get("overfit") or 0) + (seconds.get("train") or 0)
        theirs = seconds.get("label_network")
        if not theirs or "num_steps" not in shorter:
            return None
        return max(1, round(ours / theirs * shorter["num_steps"]))

    def _train_bases(self, seed: int) -> None:
        """The other bases of the deep ensemble, trained as the task trains one, from other seeds; and
        the task's other kinds of base."""
        for path in self._member_paths(seed):
            number = int(path.stem.rpartition("-")[2])
            self._train_base(path, self._trained_options(), "deep_ensemble", seed, number)
        for name, (options, path) in self._other_bases(seed).items():
            self._train_base(path, options, name, seed, 0)

    def _train_base(self, path: Path, options: Any, name: str, seed: int, number: int) -> None:
        if path.exists():
            return
        base = self.task.make_base(options, self.base_data).to(self.run_options.torch_device())
        with self.phase(name, seed):
            self.task.train_base(base, self.base_data, options, 1000 * (seed + 1) + number, _say)
        write_tensors(path, base.state_dict())
        self.enter(path)

    def _trained_options(self) -> Any:
        """The task's options for a base that is trained here, whatever the run's own base is."""
        if getattr(self.options, "base", None) is None:
            return self.options
        return dataclasses.replace(self.options, base=None)

    def _other_bases(self, seed: int) -> dict[str, tuple[Any, Path]]:
        """Name -> the options of another kind of base, and where it is kept."""
        return {
            name: (
                dataclasses.replace(self._trained_options(), **changes),
                self.root / "base" / f"seed-{seed}-{name}.safetensors",
            )
            for name, changes in self.task.other_bases.items()
        }

    def _member_paths(self, seed: int) -> list[Path]:
        numbers = range(1, self.run_options.num_bases)
        return [self.root / "base" / f"seed-{seed}-member-{n}.safetensors" for n in numbers]

    def predict(self, seed: int) -> None:
        """Every method of the table on the test examples."""
        path = self.root / "predictions" / f"seed-{seed}.json"
        if path.exists():
            return
        self.train(seed)
        comparison = self.comparison(seed)
        with self.phase("predict", seed):
            results, tensors = evaluate(comparison, self.data.test)
            if self.task.film is not None and seed == self.seeds[0]:
                frames = self.task.film(self.options, self.data)
                comparison.shown |= {} if frames is None else show_film(comparison.ocd, frames)
        for note in comparison.notes:
            self.log(seed).write("note", text=note)
        if comparison.shown:
            views = self.root / "views" / f"seed-{seed}.safetensors"
            write_tensors(views, comparison.shown)
            self.enter(views)
        write_tensors(path.with_suffix(".safetensors"), tensors)
        write_json(path, results)
        self.enter(path, path.with_suffix(".safetensors"))

    def comparison(self, seed: int) -> Comparison:
        """Everything that was fitted for a seed, ready to predict."""
        fits = {role: (ocd, work) for role, ocd, work in self._fits(seed)}
        ocd, main = fits["main"]
        fitted, plan = self._load(ocd, main), read_json(main.plan)
        comparison = Comparison(
            self.task,
            self.lessons(seed),
            fitted,
            dataclasses.replace(self.config.overfit, lr=plan["lr"], form=plan["form"]),
            self.run_options.num_draws,
            self.run_options.baselines,
            self._load(*fits["alternative"]) if "alternative" in fits else None,
            seconds=self.phase_seconds(seed),
            other_draws=self.run_options.other_draws,
            labelled=self.base_examples,
            seed=seed,
        )
        _, _, source = ocd.overfitted(comparison.training, main)
        if isinstance(source, StoredLessons) and ocd.transform is None:
            comparison.stored = source.reader
        if self.run_options.has_baselines:
            few = self.examples.rows(slice(0, 2))[0]
            for kind in self._kinds():
                if reason := why_not(kind, fitted):
                    comparison.skipped[kind] = reason
                    continue
                work = self._baseline_work(kind, seed)
                if (reason := failure(work)) is not None:
                    comparison.skipped[kind] = reason
                else:
                    comparison.trained[kind] = load_baseline(kind, fitted, few, work)
            if self.run_options.num_bases > 1:
                comparison.bases = [ocd.base, *map(self.read_base, self._member_paths(seed))]
            for name, (options, path) in self._other_bases(seed).items():
                comparison.other_bases[name] = self.read_base(path, options)
        return comparison

    def report(self) -> dict[str, Any]:
        from ocd.reporting import write_report

        return write_report(self.root)

    def missing(self, seed: int) -> str | None:
        """The first of the files that predicting a seed needs and that is not there; None: all are."""
        base, selection = self.base_path(seed), self.selection_path(seed)
        for path in (base, selection):
            if not path.exists():
                return str(path)
        fits = list(self._fits(seed))
        works = [work for _, _, work in fits]
        if self.run_options.has_baselines and works[0].is_finished:
            _, ocd, main = fits[0]
            fitted = self._load(ocd, main)
            kinds = [kind for kind in self._kinds() if why_not(kind, fitted) is None]
            works += [self._baseline_work(kind, seed) for kind in kinds]
        paths = [work.checkpoint / "config.json" for work in works]
        if self.run_options.has_baselines:
            paths += self._member_paths(seed)
            paths += [path for _, path in self._other_bases(seed).values()]
        paths.append(self.root / "predictions" / f"seed-{seed}.safetensors")
        return next((str(path) for path in paths if not path.exists()), None)

    def do(self, verb: str) -> None:
        """One verb for all seeds; what it needs is done first."""
        if verb == "report":
            self.report()
            return
        for seed in self.seeds:
            getattr(self, verb)(seed)

    # ----------------------------------------------------------- details

    def _fits(self, seed: int) -> Iterator[tuple[str, OCD, Workdir]]:
        """The fits of a seed: the layer of the run, and the alternative layer where wanted."""
        selection = read_json(self.selection_path(seed))
        layers = {"main": selection["chosen"]}
        if self.run_options.alternative and selection["alternative"]:
            layers["alternative"] = selection["alternative"]
        base = self.base(seed)
        for role, layer in layers.items():
            member = f"seed-{seed}" if role == "main" else f"seed-{seed}-alternative"
            config = self.config.replace({"layer": layer, "seed": seed})
            ocd = self.unfitted(base, config, seed, self.run_options.encode_x)
            yield role, ocd, Workdir(self.root, member, {"seed": seed, "role": role})

    def unfitted(self, base: nn.Module, config: OCDConfig, seed: int, encode_x: bool) -> OCD:
        """OCD as the task has it, on a base, with x in the condition or not."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = self.task.make_encoder(self.options, self.base_data) if encode_x else None
        augment = self.run_options.augment
        return OCD(
            base,
            loss=self.task.loss,
            config=config,
            encoder=encoder,
            transform=self.task.make_transform(self.options) if augment else None,
            join=self.task.join_draws,
            excerpt=self.task.make_excerpt(self.options),
            describe=self.task.make_describe(self.options),
        )

    def _load(self, ocd: OCD, work: Workdir) -> OCD:
        """The fit that a workdir holds."""
        fitted = OCD.from_pretrained(
            work.checkpoint, ocd.base, loss=ocd.loss, encoder=ocd.encoder, describe=ocd.describe
        )
        fitted.transform, fitted.excerpt = ocd.transform, ocd.excerpt
        return fitted

    def _baseline_work(self, kind: str, seed: int) -> Workdir:
        return Workdir(self.root, f"seed-{seed}-{kind}", {"seed": seed, "role": kind})


def _say(line: str) -> None:
    """Progress of a base's training, for a person at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
