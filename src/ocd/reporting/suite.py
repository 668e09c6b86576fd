"""Several tasks of one kind as one table: each set's own metric, their average, the paper's beside it.

    results = suite_results("setfit", {"setfit-cr": folder, ...}, left_out={...}, paper=...)
    suite_markdown(results)

The average is over the sets that are here, of each seed that all of them have. Intervals: a paired
bootstrap over the texts of each set and over the seeds, in which the metrics are computed anew (a
Matthews correlation is no mean over texts). A set with too few texts has no interval, and so has not
the average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ocd.evaluation import FEWEST, Array, Json, num_pieces, resampled_counts
from ocd.reporting.methods import table_order, title, uses_label
from ocd.reporting.published import other_experiment
from ocd.reporting.records import RunRecords, read_run
from ocd.reporting.tables import grid
from ocd.reporting.verdict import statement_of

NUM_RESAMPLES = 1000
"""Of seeds and texts, shared by all methods, so that their intervals can be compared."""
HEADLINE = ("ocd", "ocd_ensemble_5")
"""One draw and the ensemble: what is judged."""


@dataclass(frozen=True)
class Part:
    """A set of a suite. `metric`: its own. `values` (S,) by method, in per cent. `counts` (S, N, K) by
    method: what the metric is computed from when it is resampled, whether a text is right (K = 1), or
    for a Matthews correlation of two classes a one for each of the four outcomes. `together` (N,): the
    texts that are one piece of evidence; None: each is. `notes`: how the texts were read. `others`:
    what makes the run another experiment than the published one."""

    name: str
    metric: str
    seeds: list[int]
    values: dict[str, Array]
    counts: dict[str, Array]
    together: Array | None = None
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def num_texts(self) -> int:
        """N."""
        return int(self.counts["base"].shape[1])

    def resampled(self, method: str, shares: Array) -> Array:
        """The metric of resampled texts (R, S), of the seeds each. `shares` (R, N): of each text."""
        found = np.einsum("rn,snk->rsk", shares, self.counts[method])
        if self.metric == "accuracy":
            return np.asarray(found[..., 0])
        return 100 * matthews(found)


def matthews(outcomes: Array) -> Array:
    """Matthews correlation of counts (..., 4): true negative, false positive, false negative, true
    positive; 0 where all answers or all classes are one."""
    tn, fp, fn, tp = np.moveaxis(outcomes, -1, 0)
    size = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.divide(tp * tn - fp * fn, size, out=np.zeros_like(size), where=size > 0)


def read_part(name: str, folder: Path) -> Part:
    """What a run folder has of a set."""
    run = read_run(folder)
    metric = "matthews" if "matthews" in run.config["metrics"] else "accuracy"
    methods = [
        method
        for method in run.predictions[run.seeds[0]]["methods"]
        if all(method in run.predictions[seed]["methods"] for seed in run.seeds)
    ]
    values = {
        method: np.array(
            [run.predictions[seed]["methods"][method][metric] for seed in run.seeds], dtype=float
        )
        for method in methods
    }
    found = {method: _counts(run, method, metric) for method in methods}
    counts = {method: rows for method, rows in found.items() if rows is not None}
    notes = tuple(run.config.get("data_notes", []))
    others = tuple(other_experiment(run))
    return Part(name, metric, run.seeds, values, counts, run.together, notes, others)


def _counts(run: RunRecords, method: str, metric: str) -> Array | None:
    """As `Part` has them; None where a seed lacks the method. A Matthews correlation is of two classes,
    whose outcome is numbered 2 x the right class + the answer."""
    if metric == "accuracy":
        right = run.of_seeds(f"value/{method}/accuracy")
        return None if right is None else right[..., None]
    answers, truth = run.of_seeds(f"answer/{method}"), run.of_seeds("answer")
    if answers is None or truth is None:
        return None
    return np.asarray((2 * truth + answers)[..., None] == np.arange(4), dtype=float)


def suite_results(
    name: str, folders: Mapping[str, Path], left_out: Mapping[str, str], paper: Mapping[str, Json]
) -> Json:
    """All numbers of the table, as results.json has them. `left_out`: sets that are not at hand -> why.
    `paper`: row -> set or "average" -> figure in per cent."""
    parts = [read_part(part, folder) for part, folder in folders.items()]
    seeds = [seed for seed in parts[0].seeds if all(seed in part.seeds for part in parts)]
    common = [m for m in parts[0].values if all(m in part.values for part in parts)]
    with_label = uses_label(common, ())
    common.sort(key=lambda method: table_order(method, with_label))
    methods: Json = {}
    for method in common:
        by_set = {part.name: part.values[method].tolist() for part in parts}
        places = [[part.seeds.index(seed) for seed in seeds] for part in parts]
        chosen = [part.values[method][place] for part, place in zip(parts, places, strict=True)]
        average = np.mean(chosen, axis=0).tolist() if seeds else []
        methods[method] = {"title": title(method), "sets": by_set, "average": average}
    compared = [m for m in common if m != "base" and all(m in part.counts for part in parts)]
    gains = _gains(parts, seeds, compared) if seeds else {}
    results: Json = {
        "suite": name,
        "sets": {
            part.name: {"metric": part.metric, "seeds": part.seeds, "others": [*part.others]}
            for part in parts
        },
        "notes": [note for note in parts[0].notes if all(note in part.notes for part in parts)],
        "seeds": seeds,
        "left_out": dict(left_out),
        "methods": methods,
        "gains": gains,
        "uses_label": with_label,
        "paper": {row: dict(figures) for row, figures in paper.items()},
    }
    results["verdict"] = _verdict(results)
    return results


def _gains(parts: list[Part], seeds: list[int], methods: list[str]) -> Json:
    """Of each method, minus the base, in points: of every set and of the average, with 95 % intervals,
    all from the same resamples."""
    generator = np.random.default_rng(0)
    chance = np.full(len(seeds), 1 / len(seeds))
    chosen = generator.multinomial(len(seeds), chance, size=NUM_RESAMPLES) / len(seeds)  # (R, S)
    drawn: dict[str, list[Array]] = {method: [] for method in methods}
    for part in parts:
        own = [part.seeds.index(seed) for seed in seeds]
        counts = resampled_counts(generator, NUM_RESAMPLES, part.num_texts, part.together)
        shares = counts / counts.sum(axis=1, keepdims=True)
        base = part.resampled("base", shares)[:, own]
        for method in methods:
            gain = part.resampled(method, shares)[:, own] - base
            drawn[method].append((gain * chosen).sum(axis=1))
    told = [num_pieces(part.num_texts, part.together) >= FEWEST for part in parts]
    told.append(all(told))
    found: Json = {}
    for method in methods:
        means = []
        for part in parts:
            own = [part.seeds.index(seed) for seed in seeds]
            means.append(float((part.values[method] - part.values["base"])[own].mean()))
        several = np.stack([*drawn[method], np.mean(drawn[method], axis=0)])
        ends = np.percentile(several, [2.5, 97.5], axis=1).T.tolist()
        facts = [
            {"difference": mean, "interval": interval if is_told else None}
            for mean, interval, is_told in zip([*means, float(np.mean(means))], ends, told, strict=True)
        ]
        names = [part.name for part in parts]
        found[method] = {"sets": dict(zip(names, facts, strict=False)), "average": facts[-1]}
    return found


def _verdict(results: Json) -> Json:
    """Of one draw and of the ensemble: does the average rise, beyond doubt, and by a point?"""
    found, parts = {}, []
    for method in results["gains"]:
        if not (method in HEADLINE or method.startswith("ocd_moved_")):
            continue
        gain = results["gains"][method]["average"]
        statement = statement_of(gain["interval"])
        found[method] = statement
        ends = "a set has too few test texts for an interval"
        if gain["interval"] is not None:
            low, high = gain["interval"]
            ends = f"{low:+.2f} to {high:+.2f}"
        parts.append(f"{title(method)}: {statement}, {gain['difference']:+.2f} points ({ends})")
    count = len(results["seeds"])
    sets = len(results["sets"])
    head = f"Average of {sets} sets over {count} seed{'s' if count != 1 else ''}, against the base. "
    return {
        "statements": found,
        "sentence": head + ("; ".join(parts) + "." if parts else "No seed yet."),
    }


def suite_markdown(results: Json, figures: Mapping[str, str]) -> str:
    """The report of a suite. `figures`: title -> file."""
    sets = list(results["sets"])
    header = ["method", *(_column(results, name) for name in sets), "average"]
    lines = [
        [
            f"{row['title']} `{method}`",
            *(_spread(row["sets"][name]) for name in sets),
            _spread(row["average"]),
        ]
        for method, row in results["methods"].items()
    ]
    for row, known in results["paper"].items():
        cells = [_figure(known.get(name)) for name in (*sets, "average")]
        lines.append([f"*published:* {row}", *cells])
    gains = [
        [f"{title(method)} `{method}`", *(_interval(of["sets"][name]) for name in sets),
         _interval(of["average"])]
        for method, of in results["gains"].items()
    ]  # fmt: skip
    seeds = ", ".join(map(str, results["seeds"])) or "none yet"
    parts = [
        results["verdict"]["sentence"],
        f"# `{results['suite']}`: few-shot text",
        f"Per cent, mean ± SD over the seeds; the average is of the seeds that every set has: {seeds}. "
        "The published average is of five sets, EnronSpam among them.",
        *(f"Left out: {name}, since {why}." for name, why in results["left_out"].items()),
        *(f"Of all sets: {note}." for note in results.get("notes", [])),
        *_other_experiments(results),
        grid(header, lines),
        "## Against the base",
        "Points above the base, with 95 % intervals of a paired bootstrap over texts and seeds.",
        grid(header, gains),
        *(f"## {text}\n\n![{text}]({file})" for text, file in figures.items()),
        "## Each set's own report",
        "\n".join(f"- [{name}]({name}/report.md)" for name in sets),
    ]
    return "\n\n".join(parts) + "\n"


def _other_experiments(results: Json) -> list[str]:
    """A paragraph that says which sets were run otherwise than published, and that the rows of the
    paper are not to be compared with these."""
    by_clause: dict[str, list[str]] = {}
    for name, of in results["sets"].items():
        for clause in of.get("others", []):
            by_clause.setdefault(clause, []).append(name)
    if not by_clause:
        return []
    count = len(results["sets"])
    listed = [
        clause if len(names) == count else f"{clause} ({', '.join(names)})"
        for clause, names in by_clause.items()
    ]
    return [
        f"This is another experiment than the published one: {', '.join(listed)}. The published rows "
        "stand beside ours, but neither figures nor gains are to be compared with them."
    ]


def _column(results: Json, name: str) -> str:
    """A set's name and its metric, as the head of its column."""
    metric = results["sets"][name]["metric"]
    return f"{name.removeprefix('setfit-')} ({'MCC' if metric == 'matthews' else metric})"


def _spread(values: list[float]) -> str:
    """Mean ± standard deviation over the seeds; the mean alone of one seed."""
    if not values:
        return "–"
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{deviation}"


def _figure(known: list[float | None] | None) -> str:
    """A published figure, with its deviation where there is one."""
    if known is None:
        return "–"
    mean, deviation = known
    return f"{mean:.1f}" + (f" ± {deviation:.1f}" if deviation is not None else "")


def _interval(gain: Json) -> str:
    """A difference and its 95 % interval, in points; a dash where there is none."""
    if gain["interval"] is None:
        return "–"
    low, high = gain["interval"]
    return f"{gain['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
