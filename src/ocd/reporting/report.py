"""The fifth verb, report: the files of a run folder -> results.json, report.md and figures/.

Everything is made from files; nothing is trained or predicted here. A section is a function that
returns its paragraphs, or none where the run has nothing to say about it. The first lines of report.md
are what is concluded (ocd.reporting.opening).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ocd.data import write_text
from ocd.evaluation import Array, Json
from ocd.reporting.comparison_figure import MethodPoint
from ocd.reporting.distribution import distribution_section
from ocd.reporting.error_ranking import own_score_sentence, risk_curves, what_is_an_error
from ocd.reporting.evidence import intervals_over
from ocd.reporting.exhibits import exhibits_section
from ocd.reporting.figures import FigureData, draw_all
from ocd.reporting.joint import joint_section
from ocd.reporting.listening import listening_section, read_sounds
from ocd.reporting.methods import ORACLES, group, title
from ocd.reporting.opening import opening_lines
from ocd.reporting.page import write_page
from ocd.reporting.plain_words import in_plain_words
from ocd.reporting.published import published_section
from ocd.reporting.records import RunRecords, read_run
from ocd.reporting.results import is_main, layer_scores, make_results
from ocd.reporting.tables import (
    comparison_table,
    cost_table,
    grid,
    markdown_table,
    one_draw_table,
    quality_table,
    results_table,
    table_width,
    uncertainty_table,
)
from ocd.reporting.view_figures import read_views
from ocd.reporting.wording import of_seeds, words

__all__ = ["markdown_table", "results_in_short", "results_table", "table_width", "write_report"]

ONE_DRAW = (
    "One draw of OCD, the method of the paper's tables, against the base and every baseline, in the "
    "task's loss, likewise."
)
COSTS_MEAN = (
    "µs per example: time to predict the test examples, from the inputs of the base on; a note below "
    "says so where a part of the base keeps its answers. Training s: seconds to get the method beyond "
    "those of the base, whose row has its own training; parameters: all that are needed to predict, "
    "the base's too. Means over the seeds; —: not known."
)


def write_report(run_dir: Path) -> Json:
    """Write results.json, report.md, the same as report.html, and figures/*.png of a run folder; return
    the results."""
    run_dir = Path(run_dir)
    run = read_run(run_dir)
    results = make_results(run)
    drawn = _draw(run, results, run_dir / "figures")
    sounds = read_sounds(run_dir / "sounds" / f"seed-{run.seeds[0]}.safetensors")
    heard = listening_section(sounds, run_dir)
    write_text(run_dir / "report.md", _markdown(run, results, drawn, heard))
    write_text(run_dir / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_page(run_dir, in_plain_words(results))
    return results


def _markdown(run: RunRecords, results: Json, drawn: Sequence[str], heard: Sequence[str] = ()) -> str:
    layers = [
        [f"`{s.name}`", f"{s.score:.4f}", f"{s.standard_error:.4f}", str(s.num_chosen)]
        for s in layer_scores(run)
    ]
    parts = [
        *opening_lines(results["verdict"]),
        f"# OCD on `{results['task']}`: what was run",
        _what_was_run(run, results),
        "## Results",
        quality_table(results),
        _legend(results),
        *_skipped(results),
        "## Against base and baselines",
        *_comparison(results),
        one_draw_table(results),
        ONE_DRAW,
        *distribution_section(results),
        *joint_section(results),
        *published_section(run, results),
        *exhibits_section(run),
        *heard,
        "## What it costs",
        cost_table(results),
        COSTS_MEAN,
        "## Knowing where the base errs",
        *_uncertainty(results),
        "## Where the time went",
        _time(results),
        "## Layer scores",
        grid(["layer", "score [nat]", "standard error", "chosen by seeds"], layers)
        if layers
        else "No selection was run: the layer was named.",
        "## Notes",
        "\n".join(f"- {note}" for note in _notes(run)) or "None.",
        "## Figures",
        *drawn,
    ]
    return "\n\n".join(parts) + "\n"


def results_in_short(results: Json) -> list[str]:
    """The paragraphs of a report that say how good every method is, and what that says."""
    return [quality_table(results), _legend(results), *_comparison(results)]


def _comparison(results: Json) -> list[str]:
    return [comparison_table(results), _how_compared(results)]


def _what_was_run(run: RunRecords, results: Json) -> str:
    examples = {key: f"{value:,}" for key, value in results["examples"].items()}
    missing = sorted(set(run.config["seeds"]) - set(run.seeds))
    lines = [
        f"- task `{results['task']}`, preset `{results['preset']}`, layer `{results['layer']}`",
        f"- seeds {', '.join(map(str, run.seeds))}"
        + (f" (no predictions yet from {', '.join(map(str, missing))})" if missing else ""),
        f"- {examples.get('train', '?')} training and {examples.get('test', '?')} test examples",
        f"- command: `{run.config.get('command', 'unknown')}`",
    ]
    meaning = (
        "OCD leaves the trained network (the *base*) as it is. For each test example it generates, "
        "without the label, a change of one layer's weights (a *draw*); several draws make an "
        "ensemble. *Baselines* are other methods for the same purpose. The *oracle* is fine-tuned on "
        "the test example with its label: no method to use, but the best a generator could reach."
    )
    return "\n".join(lines) + "\n\n" + meaning


def _legend(results: Json) -> str:
    spread = " ± sample standard deviation over seeds" if len(results["seeds"]) > 1 else ""
    return (
        f"Mean{spread} on the test examples; ↑ higher is better, ↓ lower is better; "
        "bold: best of those that have all seeds and do not use the test label; —: not measured or not "
        "finite."
    )


def _skipped(results: Json) -> list[str]:
    lines = [f"- {title(method)} `{method}`: {why}" for method, why in results["skipped"].items()]
    return ["Left out of this table:\n\n" + "\n".join(lines)] if lines else []


def _how_compared(results: Json) -> str:
    over = intervals_over(results)
    return (
        "OCD's ensemble against each of them: the difference in each metric, positive where OCD is "
        f"better, and in brackets its 95 % interval of a paired bootstrap over {over}. "
        "The statement is about the task's loss. A baseline is of at most equal cost if neither its "
        "time to predict nor its training exceeds OCD's by more than 10 %. The best baseline is the "
        "one with the lowest loss on the test examples, a choice that favours the baselines."
    )


def _uncertainty(results: Json) -> list[str]:
    if not results["uncertainty"]:
        return ["The predictions hold no scores of uncertainty."]
    meaning = (
        "Each score says of a test example how uncertain its answer is. AUROC: the chance that an "
        "example on which the base errs has a higher score than one on which it does not (0.5: the "
        "score knows nothing). AURC: the base's share of errors among its most certain answers, "
        "averaged over all shares of answers. Of OCD's scores the same one is set against the base's "
        "own in every run: the best of them on the test examples would be flattered."
    )
    errors = what_is_an_error(results["uncertainty"])
    return [own_score_sentence(results["uncertainty"]), uncertainty_table(results), meaning, errors]


def _time(results: Json) -> str:
    known = {phase: value for phase, value in results["seconds"].items() if value is not None}
    total = sum(known.values())
    if not total:
        return "The log holds no times."
    rows = [[p, f"{v:,.1f}", f"{100 * v / total:.1f} %"] for p, v in known.items()]
    return grid(["phase", "seconds, mean over seeds", "share"], [*rows, ["all", f"{total:,.1f}", ""]])


def _notes(run: RunRecords) -> list[str]:
    """What was decided automatically, each note once, with its seeds where not all have it."""
    seeds: dict[str, list[int]] = {}
    for note in run.of("note"):
        text = " ".join(str(note["text"]).split())
        if not is_main(note):
            # Of the roles, only this one is a layer; others are baselines.
            layer = " layer" if note["role"] == "alternative" else ""
            text = f"{note['role']}{layer}: {text}"
        seeds.setdefault(text, []).append(note["seed"])
    of_data = [f"data: {note}" for note in run.config.get("data_notes", [])]
    return of_data + [text + of_seeds(of, run.seeds) for text, of in seeds.items()]


def _draw(run: RunRecords, results: Json, folder: Path) -> list[str]:
    training: dict[int, dict[int, float]] = {}
    validation: dict[int, dict[int, float]] = {}
    weight = run.config.get("config", {}).get("training", {}).get("task_loss_weight", 0.0)
    for event, curves in (("train", training), ("validate", validation)):
        for line in filter(is_main, run.of(event)):
            # Held-out examples are judged by the paper's objective alone; so are training batches here.
            extension = weight * line.get("task_loss", 0.0)
            curves.setdefault(line["seed"], {})[line["step"]] = line["loss"] - extension
    name = results["verdict"]["comparison"].removesuffix(" vs base")
    base, ensemble = (run.of_seeds(f"loss/{method}") for method in ("base", name))
    both = None if base is None or ensemble is None else (base.mean(axis=0), ensemble.mean(axis=0))
    data = FigureData(
        points=_points(run, results),
        curves=risk_curves(run),
        layers=layer_scores(run),
        training=training,
        validation=validation,
        pooled=both,
        first=_first_seed(run, name),
        loss_name=words(results["verdict"]["metric"]),
        views=read_views(folder.parent / "views" / f"seed-{run.seeds[0]}.safetensors"),
        distribution=results.get("distribution", {}),
        joint=results.get("joint", {}),
        shown=read_views(folder.parent / "draws" / f"seed-{run.seeds[0]}.safetensors"),
    )
    return draw_all(folder, data)


def _points(run: RunRecords, results: Json) -> list[MethodPoint]:
    points = []
    for method, costs in results["costs"].items():
        losses, of = run.of_seeds(f"loss/{method}"), group(method, results["uses_label"])
        if of != ORACLES and costs["microseconds"] and losses is not None and np.isfinite(losses).all():
            points.append(MethodPoint(title(method), of, costs["microseconds"], float(losses.mean())))
    return points


def _first_seed(run: RunRecords, ensemble: str) -> dict[str, Array]:
    names = {
        "base": "loss/base",
        "draws": "draw_loss",
        "ensemble": f"loss/{ensemble}",
        "oracle": "loss/overfit_test",
    }
    tensors = run.tensors[run.seeds[0]]
    return {role: tensors[name] for role, name in names.items() if name in tensors}
