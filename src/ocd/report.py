"""The fifth verb, report: a run folder's files -> results.json, report.md and figures/.

Everything is rebuilt from files; nothing is trained or predicted here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ocd import figures
from ocd.files import write_text
from ocd.records import Json, RunRecords, read_run
from ocd.results import (
    counted,
    decimals,
    is_main,
    known_mean,
    layer_scores,
    make_results,
    method_title,
    pooled_losses,
    spread,
    words,
)

if TYPE_CHECKING:
    from rich.table import Table


def write_report(run_dir: Path) -> Json:
    """Write results.json, report.md and figures/*.png of a run folder; return the results."""
    run_dir = Path(run_dir)
    run = read_run(run_dir)
    results = make_results(run)
    drawn = _draw(run, results, run_dir / "figures")
    write_text(run_dir / "report.md", _markdown(run, results, drawn))
    write_text(run_dir / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def _cells(results: Json) -> tuple[list[str], dict[str, list[tuple[str, bool]]]]:
    """The table's headers, and for each method its cells: text, and whether it is the best."""
    header, rows = ["method"], {name: [(method_title(name), False)] for name in results["methods"]}
    for metric, facts in results["metrics"].items():
        unit, up = facts.get("unit", ""), facts["higher_is_better"]
        header.append(f"{words(metric)}{f' [{unit}]' if unit else ''} {'↑' if up else '↓'}")
        columns = {name: values[metric] for name, values in results["methods"].items()}
        means = {name: known_mean(values) for name, values in columns.items()}
        places = decimals(list(means.values()), unit)
        rivals = [v for k, v in means.items() if v is not None and not k.startswith("overfit")]
        best = round((max if up else min)(rivals), places) if rivals else None
        for name, value in means.items():
            bold = value is not None and round(value, places) == best
            bold = bold and not name.startswith("overfit")
            rows[name].append((spread(columns[name], places), bold))
    base = results["costs"].get("base")
    for name, cost in results["costs"].items():
        rows[name].append(("—" if cost is None else f"{cost:,.1f}", False))
        rows[name].append((f"{cost / base:,.1f}" if cost is not None and base else "—", False))
    return [*header, "µs per example", "× base"], rows


def results_table(results: Json) -> Table:
    """The table of methods and metrics for the terminal; the best of each metric is bold."""
    from rich.table import Table
    from rich.text import Text

    header, rows = _cells(results)
    table = Table(title=f"{results['task']}, {counted(results['seeds'], 'seed')}")
    for index, title in enumerate(header):
        table.add_column(Text(title), justify="right" if index else "left")
    for cells in rows.values():
        table.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return table


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and all others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def markdown_table(results: Json) -> str:
    """The table of methods in Markdown, the best usable value of each metric in bold."""
    header, rows = _cells(results)
    body = []
    for name, cells in rows.items():
        texts = [f"**{text}**" if best else text for text, best in cells]
        body.append([f"{texts[0]} `{name}`", *texts[1:]])
    return _grid(header, body)


def _markdown(run: RunRecords, results: Json, drawn: Sequence[str]) -> str:
    layers = [
        [f"`{s.name}`", f"{s.score:.4f}", f"{s.standard_error:.4f}", str(s.num_chosen)]
        for s in layer_scores(run)
    ]
    parts = [
        results["verdict"]["sentence"],
        f"# OCD on `{results['task']}`: what was run",
        _what_was_run(run, results),
        "## Results",
        markdown_table(results),
        _legend(results),
        "## Where the time went",
        _time(results),
        "## Layer scores",
        _grid(["layer", "score [nat]", "standard error", "chosen by seeds"], layers)
        if layers
        else "No selection was run: the layer was named.",
        "## Notes",
        "\n".join(f"- {note}" for note in _notes(run)) or "None.",
        "## Figures",
        *drawn,
    ]
    return "\n\n".join(parts) + "\n"


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
        "ensemble. The *bound* fine-tunes on the test example with its label: nothing that can be "
        "used, but what generation could reach at best."
    )
    return "\n".join(lines) + "\n\n" + meaning


def _legend(results: Json) -> str:
    spread = " ± sample standard deviation over seeds" if len(results["seeds"]) > 1 else ""
    return (
        f"Mean{spread} on the test examples; ↑ higher is better, ↓ lower is better; "
        "bold: best of those that do not use the test label; —: not measured or not finite."
    )


def _time(results: Json) -> str:
    known = {phase: value for phase, value in results["seconds"].items() if value is not None}
    total = sum(known.values())
    if not total:
        return "The log holds no times."
    rows = [[p, f"{v:,.1f}", f"{100 * v / total:.1f} %"] for p, v in known.items()]
    return _grid(["phase", "seconds, mean over seeds", "share"], [*rows, ["all", f"{total:,.1f}", ""]])


def _notes(run: RunRecords) -> list[str]:
    """What was decided automatically, each note once, with its seeds where not all have it."""
    seeds: dict[str, list[int]] = {}
    for note in run.of("note"):
        text = " ".join(str(note["text"]).split())
        if not is_main(note):
            text = f"{note['role']} layer: {text}"
        seeds.setdefault(text, []).append(note["seed"])
    every = len(run.seeds)
    return [
        text + ("" if len(set(of)) == every else f" (seed {', '.join(map(str, sorted(set(of))))})")
        for text, of in seeds.items()
    ]


def _draw(run: RunRecords, results: Json, folder: Path) -> list[str]:
    training: dict[int, dict[int, float]] = {}
    validation: dict[int, dict[int, float]] = {}
    weight = run.config.get("config", {}).get("training", {}).get("task_loss_weight", 0.0)
    for event, curves in (("train", training), ("validate", validation)):
        for line in filter(is_main, run.of(event)):
            # Held-out examples are judged by the paper's objective alone; so are training batches here.
            extension = weight * line.get("task_loss", 0.0)
            curves.setdefault(line["seed"], {})[line["step"]] = line["loss"] - extension
    return figures.draw_all(
        folder,
        layers=layer_scores(run),
        training=training,
        validation=validation,
        pooled=pooled_losses(run),
        first=run.losses[run.seeds[0]],
        loss_name=words(results["verdict"]["metric"]),
    )
