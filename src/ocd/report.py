"""The fifth verb, report: a run folder's files -> results.json, report.md and figures/.

Everything is rebuilt from files; nothing is trained or predicted here. The verdict
compares the ensemble of draws with the base (Sec. 4.4 of the paper) on the loss of each
test example, and says no more than a paired bootstrap over the test examples allows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd import figures
from ocd.errors import OCDError
from ocd.figures import Array, LayerScore

if TYPE_CHECKING:
    from rich.table import Table

Json = dict[str, Any]
PHASES = ("base", "select", "overfit", "train", "predict")
EVENTS = {  # what a line of metrics.jsonl must hold to be used here
    "train": ("seed", "step", "loss"),
    "validate": ("seed", "step", "loss"),
    "phase": ("seed", "phase", "seconds"),
    "note": ("seed", "text"),
}
METHODS = (  # the table's order: a pattern of the key, and what people read
    (r"base", "base"),
    (r"ocd", "OCD, one draw"),
    (r"ocd_ensemble_(\d+)", "OCD, ensemble of {} draws"),
    (r"ocd_mean_network_(\d+)", "OCD, mean network of {} draws"),
    (r"ocd_mean", "OCD, mean in one pass"),
    (r"overfit_test", "bound: overfitted with the test label"),
    (r"no_scale", "OCD without predicted scale"),
    (r"nearest_neighbor", "nearest training example's delta"),
    (r"alternative_layer", "OCD on the second-best layer"),
    (r"tent_(\d+)", "Tent, iterations: {}"),
)


@dataclass(frozen=True)
class Run:
    """What a run folder holds for a report; the seeds are those with predictions."""

    config: Json
    events: list[Json]
    predictions: dict[int, Json]
    losses: dict[int, dict[str, Array]]  # per test example: (N,), of the draws (K, N)
    selections: dict[int, Json]

    @property
    def seeds(self) -> list[int]:
        return list(self.predictions)

    def of(self, event: str, seed: int | None = None) -> Iterator[Json]:
        """The events of one kind, of one seed or of all that are reported."""
        wanted = self.seeds if seed is None else [seed]
        return (e for e in self.events if e.get("event") == event and e.get("seed") in wanted)


def write_report(run_dir: Path) -> Json:
    """Write results.json, report.md and figures/*.png of a run folder; return the results."""
    run_dir = Path(run_dir)
    run = _read_run(run_dir)
    results = _results(run)
    drawn = _draw(run, results, run_dir / "figures")
    _write(run_dir / "report.md", _markdown(run, results, drawn))
    _write(run_dir / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


# ---- reading -------------------------------------------------------------------------


def _read_run(run_dir: Path) -> Run:
    config = _read_json(run_dir / "config.json", ("task", "preset", "seeds", "metrics"))
    found = {_seed_of(path): path for path in run_dir.glob("predictions/seed-*.json")}
    if not found:
        raise OCDError(f"{run_dir}: no predictions to report; run 'ocd predict {run_dir}' first")
    predictions = {seed: _read_json(found[seed], ("methods",)) for seed in sorted(found)}
    losses = {seed: _read_losses(found[seed].with_suffix(".safetensors")) for seed in predictions}
    selections = {}
    for seed in predictions:
        path = run_dir / f"selection/seed-{seed}.json"
        if path.exists():
            selections[seed] = _read_json(path, ("names", "scores", "standard_errors", "chosen"))
    return Run(config, _read_lines(run_dir / "metrics.jsonl"), predictions, losses, selections)


def _seed_of(path: Path) -> int:
    digits = path.stem.removeprefix("seed-")
    if not digits.isdecimal():
        raise OCDError(f"{path}: not a seed's file; the name should be like seed-0.json")
    return int(digits)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OCDError(f"{path}: cannot be read ({error}); 'ocd run' writes it") from error


def _parse(text: str, path: Path, first_line: int = 1) -> Json:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise OCDError(f"{path}, line {line}: not valid JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise OCDError(f"{path}, line {first_line}: expected a JSON object")
    return value


def _require(value: Json, keys: Sequence[str], where: str) -> Json:
    missing = [key for key in keys if key not in value]
    if missing:
        raise OCDError(f"{where}: lacks {', '.join(map(repr, missing))}")
    return value


def _read_json(path: Path, required: Sequence[str]) -> Json:
    return _require(_parse(_read_text(path), path), required, str(path))


def _read_lines(path: Path) -> list[Json]:
    events = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            event = _parse(line, path, number)
            keys = EVENTS.get(str(event.get("event")), ())
            events.append(_require(event, keys, f"{path}, line {number}"))
    return events


def _read_losses(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise OCDError(f"{path}: cannot be read ({error}); run 'ocd predict' again") from error
    return {name: np.asarray(tensor, dtype=np.float64) for name, tensor in tensors.items()}


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


# ---- numbers -------------------------------------------------------------------------


def _results(run: Run) -> Json:
    names = {name: None for seed in run.seeds for name in run.predictions[seed]["methods"]}
    metrics = run.config["metrics"]
    methods = {
        name: {
            metric: [_value(run, seed, name, metric) for seed in run.seeds] for metric in metrics
        }
        for name in sorted(names, key=_order)
    }
    seconds = {phase: [_seconds(run, phase, seed) for seed in run.seeds] for phase in _phases(run)}
    results: Json = {
        "task": run.config["task"],
        "preset": run.config["preset"],
        "seeds": run.seeds,
        "layer": ", ".join(dict.fromkeys(_layer(run, seed) for seed in run.seeds)),
        "examples": run.config.get("examples", {}),
        "metrics": metrics,
        "methods": methods,
        "seconds": {phase: _mean(values) for phase, values in seconds.items()},
        "seconds_by_seed": seconds,
        "costs": {name: _mean([_cost(run, seed, name) for seed in run.seeds]) for name in methods},
    }
    return results | {"verdict": _verdict(run, results)}


def _order(method: str) -> tuple[int, int]:
    for place, (pattern, _) in enumerate(METHODS):
        if match := re.fullmatch(pattern, method):
            return place, int(match[1]) if match.groups() else 0
    return len(METHODS), 0  # unknown methods last, in the order they came


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _value(run: Run, seed: int, method: str, metric: str) -> float | None:
    return _finite(run.predictions[seed]["methods"].get(method, {}).get(metric))


def _cost(run: Run, seed: int, method: str) -> float | None:
    return _finite(run.predictions[seed].get("costs", {}).get(method))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _phases(run: Run) -> list[str]:
    return list(dict.fromkeys([*PHASES, *(event["phase"] for event in run.of("phase"))]))


def _seconds(run: Run, phase: str, seed: int) -> float | None:
    """All the time a seed spent in a phase: a resumed phase logs every part of it."""
    parts = [event["seconds"] for event in run.of("phase", seed) if event["phase"] == phase]
    return float(sum(parts)) if parts else None


def _layer(run: Run, seed: int) -> str:
    """The layer that was trained, by the log; else the one named; else the one chosen."""
    trained = [e["layer"] for e in run.of("train", seed) if _is_main(e) and "layer" in e]
    named = run.config.get("config", {}).get("layer")
    chosen = run.selections.get(seed, {}).get("chosen", "unknown")
    return str(trained[-1] if trained else named if named not in (None, "auto") else chosen)


def _is_main(event: Mapping[str, Any]) -> bool:
    return bool(event.get("role", "main") == "main")


def _layer_scores(run: Run) -> list[LayerScore]:
    """Scores averaged over seeds, in the network's order; errors add in quadrature."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for chosen in run.selections.values():
        columns = (chosen["names"], chosen["scores"], chosen["standard_errors"])
        for name, score, error in zip(*columns, strict=True):
            scores.setdefault(name, []).append((score, error))
    wins = [chosen["chosen"] for chosen in run.selections.values()]
    return [
        LayerScore(
            name,
            mean(score for score, _ in pairs),
            math.hypot(*(error for _, error in pairs)) / len(pairs),
            wins.count(name),
        )
        for name, pairs in scores.items()
    ]


# ---- verdict -------------------------------------------------------------------------


def paired_bootstrap(
    difference: Array, num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `difference` (N,) over resampled examples."""
    generator = np.random.default_rng(seed)
    num = len(difference)
    rows = (generator.integers(num, size=num) for _ in range(num_resamples))
    means = np.fromiter((difference[row].mean() for row in rows), float, num_resamples)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _pooled(run: Run) -> tuple[Array, Array] | None:
    """Base and ensemble loss of each test example (N,), averaged over the seeds."""
    names = ("base_loss", "ensemble_loss")
    rows = [[losses.get(name) for losses in run.losses.values()] for name in names]
    shapes = {None if row is None else row.shape for row in [*rows[0], *rows[1]]}
    if None in shapes:
        return None
    if len(shapes) > 1 or any(len(shape or ()) != 1 for shape in shapes):
        raise OCDError(f"predictions: losses of different shapes {shapes}; predict again")
    base, ensemble = (np.mean([row for row in side if row is not None], axis=0) for side in rows)
    return base, ensemble


def _verdict(run: Run, results: Json) -> Json:
    """OCD's ensemble against the base; a positive difference means that OCD's loss is lower."""
    ensembles = [name for name in results["methods"] if re.fullmatch(r"ocd_ensemble_\d+", name)]
    name = "ocd_ensemble_5" if not ensembles or "ocd_ensemble_5" in ensembles else ensembles[-1]
    verdict: Json = {"comparison": f"{name} vs base", "metric": _loss_name(run)}
    verdict |= {"difference": None, "interval": None, "statement": "undecided"}
    pooled = _pooled(run)
    difference = pooled[0] - pooled[1] if pooled else np.empty(0)
    if len(difference) < 2 or not np.isfinite(difference).all():
        reason = "fewer than two test examples have both losses, or a loss is not finite"
        return verdict | {"sentence": f"Undecided: {reason}."}
    low, high = paired_bootstrap(difference)
    verdict |= {"difference": float(difference.mean()), "interval": [low, high]}
    verdict["statement"] = "gain" if low > 0 else "worse" if high < 0 else "no gain"
    return verdict | {"sentence": _sentence(verdict, results, len(difference))}


def _loss_name(run: Run) -> str:
    """The first metric where it is the mean of the losses per example, else "loss"."""
    first = next(iter(run.config["metrics"]), "loss")
    for seed in run.seeds:
        value, losses = _value(run, seed, "base", first), run.losses[seed].get("base_loss")
        if value is None or losses is None or not np.isclose(losses.mean(), value, rtol=1e-3):
            return "loss"
    return str(first)


def _sentence(verdict: Json, results: Json, num_examples: int) -> str:
    name = verdict["comparison"].removesuffix(" vs base")
    ocd, task = f"the ensemble of {_order(name)[1]} OCD draws", f"`{results['task']}`"
    opening = {
        "gain": f"Gain: on {task}, {ocd} beats the base",
        "no gain": f"No gain: on {task}, {ocd} cannot be told from the base",
        "worse": f"Worse: on {task}, {ocd} loses against the base",
    }[verdict["statement"]]
    size, (low, high) = verdict["difference"], verdict["interval"]
    places = _decimals([size], "")
    changes = []
    for metric, facts in results["metrics"].items():
        pair = [_mean(results["methods"].get(key, {}).get(metric, [])) for key in ("base", name)]
        if None not in pair:
            before, after = (f"{v:.{_decimals(pair, facts.get('unit', ''))}f}" for v in pair)
            changes.append(f"{_words(metric)} {before} → {after} {facts.get('unit', '')}".strip())
    return (
        f"{opening}: base minus ensemble is {size:.{places}f} in {_words(verdict['metric'])} per "
        f"test example (paired bootstrap 95 % interval {low:.{places}f} to {high:.{places}f}, "
        f"{num_examples:,} test examples, {_count(results['seeds'], 'seed')}; "
        f"positive: OCD is better). Over all: {'; '.join(changes[:2])}."
    )


# ---- words and tables ----------------------------------------------------------------


def _words(name: str) -> str:
    return name.replace("_", " ")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _title(method: str) -> str:
    place = _order(method)[0]
    if place == len(METHODS):
        return _words(method)
    pattern, title = METHODS[place]
    match = re.fullmatch(pattern, method)
    return title.format(*(match.groups() if match else ()))


def _decimals(values: Sequence[float | None], unit: str) -> int:
    """Two for percent and decibel; else four, or more where the smallest needs three digits."""
    if unit in ("%", "dB"):
        return 2
    sizes = [abs(value) for value in values if value]
    return min(10, max(4, 2 - math.floor(math.log10(min(sizes))))) if sizes else 4


def _spread(values: Sequence[float | None], places: int) -> str:
    """Mean ± sample SD over the seeds that have a finite value; says so where some have not."""
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    text = f"{mean(known):.{places}f}"
    text += f" ± {stdev(known):.{places}f}" if len(known) > 1 else ""
    return text + (f" ({len(known)} of {len(values)})" if len(known) < len(values) else "")


def _cells(results: Json) -> tuple[list[str], dict[str, list[tuple[str, bool]]]]:
    """The table's headers, and for each method its cells: text, and whether it is the best."""
    header, rows = ["method"], {name: [(_title(name), False)] for name in results["methods"]}
    for metric, facts in results["metrics"].items():
        unit, up = facts.get("unit", ""), facts["higher_is_better"]
        header.append(f"{_words(metric)}{f' [{unit}]' if unit else ''} {'↑' if up else '↓'}")
        columns = {name: values[metric] for name, values in results["methods"].items()}
        means = {name: _mean(values) for name, values in columns.items()}
        places = _decimals(list(means.values()), unit)
        rivals = [v for k, v in means.items() if v is not None and not k.startswith("overfit")]
        best = round((max if up else min)(rivals), places) if rivals else None
        for name, value in means.items():
            bold = value is not None and round(value, places) == best
            bold = bold and not name.startswith("overfit")
            rows[name].append((_spread(columns[name], places), bold))
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
    table = Table(title=f"{results['task']}, {_count(results['seeds'], 'seed')}")
    for index, title in enumerate(header):
        table.add_column(Text(title), justify="right" if index else "left")
    for cells in rows.values():
        table.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return table


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and all others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def _markdown(run: Run, results: Json, drawn: Sequence[str]) -> str:
    header, rows = _cells(results)
    body = []
    for name, cells in rows.items():
        texts = [f"**{text}**" if best else text for text, best in cells]
        body.append([f"{texts[0]} `{name}`", *texts[1:]])
    layers = [
        [f"`{s.name}`", f"{s.score:.4f}", f"{s.standard_error:.4f}", str(s.num_chosen)]
        for s in _layer_scores(run)
    ]
    parts = [
        results["verdict"]["sentence"],
        f"# OCD on `{results['task']}`: what was run",
        _what_was_run(run, results),
        "## Results",
        _grid(header, body),
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


def _what_was_run(run: Run, results: Json) -> str:
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
    return _grid(
        ["phase", "seconds, mean over seeds", "share"], [*rows, ["all", f"{total:,.1f}", ""]]
    )


def _notes(run: Run) -> list[str]:
    """What was decided automatically, each note once, with its seeds where not all have it."""
    seeds: dict[str, list[int]] = {}
    for note in run.of("note"):
        seeds.setdefault(" ".join(str(note["text"]).split()), []).append(note["seed"])
    every = len(run.seeds)
    return [
        text + ("" if len(set(of)) == every else f" (seed {', '.join(map(str, sorted(set(of))))})")
        for text, of in seeds.items()
    ]


def _draw(run: Run, results: Json, folder: Path) -> list[str]:
    training: dict[int, dict[int, float]] = {}
    validation: dict[int, dict[int, float]] = {}
    for event, curves in (("train", training), ("validate", validation)):
        for line in filter(_is_main, run.of(event)):
            curves.setdefault(line["seed"], {})[line["step"]] = line["loss"]
    return figures.draw_all(
        folder,
        layers=_layer_scores(run),
        training=training,
        validation=validation,
        pooled=_pooled(run),
        first=run.losses[run.seeds[0]],
        loss_name=_words(results["verdict"]["metric"]),
    )
