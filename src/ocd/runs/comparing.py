"""Everything that was fitted in a run, ready to predict with every method of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocd.baselines import failure, load_baseline, why_not
from ocd.evaluation import Comparison
from ocd.lessons import StoredLessons
from ocd.runs.baselines import baseline_kinds, baseline_work, member_paths, other_bases

if TYPE_CHECKING:
    from ocd.runs.run import Run


def make_comparison(run: Run, seed: int) -> Comparison:
    """Everything that was fitted for a seed, ready to predict."""
    fits = {role: (ocd, work) for role, ocd, work in run.fits(seed)}
    ocd, main = fits["main"]
    fitted = run.load(ocd, main)
    _, source = ocd.lessons(run.lessons(seed), main)
    comparison = Comparison(
        run.task,
        run.lessons(seed),
        fitted,
        source.overfitter.config,
        run.run_options.num_draws,
        run.run_options.baselines,
        run.load(*fits["alternative"]) if "alternative" in fits else None,
        seconds=run.phase_seconds(seed),
        other_draws=run.run_options.other_draws,
        labelled=run.base_examples,
        seed=seed,
    )
    if isinstance(source, StoredLessons) and ocd.transform is None:
        comparison.stored = source.reader
    if run.run_options.has_baselines:
        few = run.examples.rows(slice(0, 2))[0]
        for kind in baseline_kinds(run):
            if reason := why_not(kind, fitted):
                comparison.skipped[kind] = reason
                continue
            work = baseline_work(run, kind, seed)
            if (reason := failure(work)) is not None:
                comparison.skipped[kind] = reason
            else:
                comparison.trained[kind] = load_baseline(kind, fitted, few, work)
        if run.run_options.num_bases > 1:
            comparison.bases = [ocd.base, *map(run.read_base, member_paths(run, seed))]
        for name, (options, path) in other_bases(run, seed).items():
            comparison.other_bases[name] = run.read_base(path, options)
    return comparison


def missing_file(run: Run, seed: int) -> str | None:
    """The first missing file of those that predicting a seed needs; None if none is missing."""
    base, selection = run.base_path(seed), run.selection_path(seed)
    for path in (base, selection):
        if not path.exists():
            return str(path)
    fits = list(run.fits(seed))
    works = [work for _, _, work in fits]
    if run.run_options.has_baselines and works[0].is_finished:
        _, ocd, main = fits[0]
        fitted = run.load(ocd, main)
        kinds = [kind for kind in baseline_kinds(run) if why_not(kind, fitted) is None]
        works += [baseline_work(run, kind, seed) for kind in kinds]
    paths = [work.checkpoint / "config.json" for work in works]
    if run.run_options.has_baselines:
        paths += member_paths(run, seed)
        paths += [path for _, path in other_bases(run, seed).values()]
    paths.append(run.root / "predictions" / f"seed-{seed}.safetensors")
    return next((str(path) for path in paths if not path.exists()), None)
