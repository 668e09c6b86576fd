"""Put the committed measurements into the pages of docs that have such tables.

    python tools/performance_tables.py

Each table of these pages is made from a file of results/benchmarks, which `make bench` writes. A test
checks the committed page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE_NAMES = ("performance", "models", "experiments", "selection", "lessons", "speech", "scale")
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in PAGE_NAMES)
MEASURED = ROOT / "results" / "benchmarks"
BLOCK = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end -->", re.DOTALL)
WAYS = ("forward", "one by one", "released", "fast", "limit")


def _read(name: str) -> Any:
    return json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _cost(found: dict[str, Any], way: str) -> str:
    """Microseconds an example."""
    return _number(found[way]["microseconds"]) if way in found else "–"


def _memory(found: dict[str, Any], way: str) -> str:
    return _number(found.get(way, {}).get("peak_mb"))


def _ratio(found: dict[str, Any], one: str, other: str) -> str:
    if one not in found or other not in found:
        return "–"
    ratio = found[one]["microseconds"] / found[other]["microseconds"]
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def scale() -> str:
    """Hours, memory and disk of ten million examples, and of other numbers computed from them."""
    found = _read("scale")
    measured, most = found["examples"], found["examples"]
    head = [
        "examples",
        "",
        "overfit [min]",
        "train [min]",
        "predict [min]",
        "lessons",
        "answers",
        "memory",
    ]
    rows = []
    for count in (10**6, measured, 10**8, 10**9):
        share, lessons = count / measured, min(count, most) / measured
        seconds, known = found["seconds"], "measured" if count == measured else "computed"
        rows.append([
            f"{count:,}", known,
            _number(seconds["overfit"] * lessons / 60), _number(seconds["train"] / 60),
            _number(seconds["predict"] * share / 60),
            f"{found['store_gb'] * lessons:,.1f} GB", f"{found['predictions_gb'] * share:,.2f} GB",
            f"{max(found['peak_memory_gb'].values()):.1f} GB" if count == measured else "–",
        ])  # fmt: skip
    return _table(head, rows)


def processes() -> str:
    """Seconds of overfitting and predicting by several processes on this machine, and how much less."""
    found = _read("processes")["seconds"]
    rows = [
        [
            f"{number}", *(f"{of[what]:.0f}" for what in ("overfit", "predict")),
            *(f"{found['1'][what] / of[what]:.2f}" for what in ("overfit", "predict")),
        ]
        for number, of in found.items()
    ]  # fmt: skip
    faster = ("overfit, times faster", "predict, times faster")
    return _table(["processes", "overfit [s]", "predict [s]", *faster], rows)


def overfit() -> str:
    """Microseconds of overfitting an example, the ways side by side."""
    head = ["layer", *(f"{way} [µs]" for way in WAYS), "one by one / fast", "fast / limit", "fast [MB]"]
    rows = []
    for name, case in _read("speed")["cases"].items():
        found = case["overfit"]
        costs = [_cost(found, way) for way in WAYS]
        ratios = [_ratio(found, "one by one", "fast"), _ratio(found, "fast", "limit")]
        rows.append([f"`{name}` {case['size']}", *costs, *ratios, _memory(found, "fast")])
    return _table(head, rows)


def train() -> str:
    """Microseconds of a training step, for each example."""
    ways = ("one by one", "released", "fast")
    head = ["layer", *(f"{way} [µs]" for way in ways), "one by one / fast", "fast [MB]"]
    rows = []
    for name, case in _read("speed")["cases"].items():
        found = case["train"]
        costs = [_cost(found, way) for way in ways]
        rows.append([f"`{name}`", *costs, _ratio(found, "one by one", "fast"), _memory(found, "fast")])
    return _table(head, rows)


def predict() -> str:
    """Predictions in passes of the base."""
    ways = {
        "5 draws": "fast",
        "5 draws, bfloat16": "fast, bfloat16",
        "mean": "fast, mean",
        "mean, bfloat16": "fast, mean, bfloat16",
        "5 draws, 5 steps of DPM-Solver++": "fast, 5 steps of DPM-Solver++",
        "limit of 5 draws": "limit",
    }
    head = ["layer", "forward [µs]", *ways, "one by one / 5 draws", "5 draws [MB]"]
    rows = []
    for name, case in _read("speed")["cases"].items():
        found = case["predict"]
        ratios = [_ratio(found, way, "forward") for way in ways.values()]
        released = _ratio(found, "one by one", "fast")
        rows.append([f"`{name}`", _cost(found, "forward"), *ratios, released, _memory(found, "fast")])
    return _table(head, rows)


def large() -> str:
    """Large bases and many positions: milliseconds, and ratios to the limits."""
    head = ["layer", "forward [ms]", "overfit [ms]", "overfit / limit", "overfit [MB]",
            "5 draws [ms]", "5 draws / limit", "5 draws [MB]", "probe, once [s]"]  # fmt: skip
    rows = []
    for name, of in _read("large").items():
        costs, ratios = of["costs"], of["ratios"]

        def milliseconds(work: str, costs: dict[str, Any] = costs) -> str:
            return _number(costs[work]["microseconds"] / 1e3)

        rows.append([
            f"`{name}` {of['what']}", milliseconds("forward"), milliseconds("overfit"),
            f"{ratios['overfit']:.2f}", _memory(costs, "overfit"), milliseconds("predict"),
            f"{ratios['predict']:.2f}", _memory(costs, "predict"), f"{of['probe_seconds']:.1f}",
        ])  # fmt: skip
    return _table(head, rows)


def rates() -> str:
    """How far the learning rate of Eq. 1 depends on the examples that it is chosen on."""
    head = ["network: layer", "median", "largest / smallest, up to 256", "up to 1,024"]
    rows = []
    for of in _read("learning_rates"):
        spreads = [max(values) / min(values) for values in of["rates"].values()]
        middle = sorted(of["rates"]["1024"])[len(of["rates"]["1024"]) // 2]
        name = f"{of['network']}: {of['layer']}"
        rows.append([name, f"{middle:g}", *(f"{spread:.1f}" for spread in spreads)])
    return _table(head, rows)


def races() -> str:
    """Layers that race against the full count."""
    head = ["network", "layers", "full count", "losses", "race", "losses"]
    rows = []
    for of in _read("races").values():
        cells = [of["what"], str(of["layers"])]
        for way in ("full", "race"):
            winners, losses = (sorted(set(of[way][what])) for what in ("winners", "losses"))
            cells += [", ".join(f"`{name}`" for name in winners), " to ".join(f"{n:,}" for n in losses)]
        rows.append(cells)
    return _table(head, rows)


def fits() -> str:
    """Seconds of small fits."""
    head = ["fit", "import [s]", "fit [s]", "first prediction [s]"]
    what = {
        "minilm": "head of a MiniLM, 16 texts, 20 steps, one thread",
        "mlp": "small network, 100 examples, the defaults",
    }
    return _table(head, [
        [what[name], *(f"{of[step]:.1f}" for step in ("import", "fit", "predict"))]
        for name, of in _read("fits").items()
    ])  # fmt: skip


def growth() -> str:
    """Seconds and memory against the number of examples."""
    head = ["examples", "overfit [s]", "train [s]", "predict [s]", "store [GB]", "peak memory [GB]"]
    rows = []
    for of in _read("growth"):
        seconds = [f"{of['seconds'][name]:.1f}" for name in ("overfit", "train", "predict")]
        peak = max(of["peak_memory_gb"].values())
        rows.append([f"{of['examples']:,}", *seconds, f"{of['store_gb']:.2f}", f"{peak:.2f}"])
    return _table(head, rows)


def steps() -> str:
    """Draws of fewer steps: cost, distance to the end of the path, loss."""
    head = ["draws by", "µs an example", "distance to 200 steps", "loss of 5 draws",
            "without the correction"]  # fmt: skip
    words = {"ddim": "DDIM", "dpm": "DPM-Solver++", "mean": "mean"}
    rows = []
    for way, of in _read("steps").items():
        kind, count, *precision = way.split()
        if kind not in words:  # measured once, of code that was removed
            continue
        losses = [
            f"{of[name]['mean']:.4f} ± {of[name]['sd']:.4f}"
            for name in ("loss", "loss_without_correction")
        ]
        name = ", ".join([words[kind], f"{count} step{'s' * (count != '1')}", *precision])
        costs = [f"{of['microseconds']['mean']:.0f}", f"{of['distance']['mean']:.3f}"]
        rows.append([name, *costs, *losses])
    return _table(head, rows)


def ways() -> str:
    """What can be moved, by which way, at which cost."""
    head = ["what moves", "way", "weights", "forward [µs]", "overfit", "predict", "copies"]
    rows = []
    for name, of in _read("ways").items():
        costs = [f"{of[one]:.1f}" if one in of else "–" for one in ("overfit", "predict", "copies")]
        rows.append([name, of["way"], f"{of['weights']:,}", f"{of['forward_us']:.0f}", *costs])
    return _table(head, rows)


VARIANTS = {
    "base": "base",
    "fine_tuned_layer": "layer fine-tuned once",
    "fine_tuned_base": "all layers fine-tuned",
    "ocd_plain": "OCD 0.1",
    "ocd_common": "OCD, common move",
    "ocd_unseen": "OCD, unseen lessons",
    "ocd_both": "OCD, both",
}


def variants() -> str:
    """Unseen lessons and the common move, on every task that was run with them."""
    head = ["task (training examples, seeds)", "method", "loss", "base minus it", "layer minus it"]
    rows = []
    for of in _read("variants"):
        task = f"{of['task']} ({of['train']:,}, {of['seeds']})"
        for name, title in VARIANTS.items():
            found = of["methods"][name]
            gains = [_interval(found.get(other)) for other in ("base", "fine_tuned_layer")]
            title += " (the default)" if name == of["default"] else ""
            rows.append([task, title, f"{found['loss']:.4f} ± {found['sd']:.4f}", *gains])
            task = ""
    return _table(head, rows)


def _interval(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if found["interval"] is None:
        return f"{found['difference']:+.4f} (too few test examples)"
    low, high = found["interval"]
    return f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f})"


def lessons() -> str:
    """Mean test losses by number of lessons."""
    measured = _read("lessons")
    names = {"base": "base", "layer": "layer fine-tuned once", "all_layers": "all layers fine-tuned"}
    names |= {"ocd_plain": "OCD 0.1", "ocd": "OCD"}
    head = ["base and data", "lessons", *names.values(), "worst OCD / base"]
    rows = []
    for kind, count in dict.fromkeys((of["kind"], of["lessons"]) for of in measured):
        runs = [of["losses"] for of in measured if (of["kind"], of["lessons"]) == (kind, count)]
        means = [sum(of[name] for of in runs) / len(runs) for name in names]
        worst = max(of["ocd"] / of["base"] for of in runs)
        rows.append([f"{kind} ({len(runs)} seeds)", f"{count:,}", *(f"{mean:.4f}" for mean in means),
                     f"{worst:.3f}"])  # fmt: skip
    order = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: (order.index(row[0]), int(row[1].replace(",", ""))))
    return _table(head, rows)


def separation() -> str:
    """What overfitting and drawing cost beside a pass of a separator of voices."""
    head = [
        "size",
        "parameters",
        "positions",
        "forward [s]",
        "overfit 3 steps",
        "5 draws",
        "training [s]",
    ]
    rows = []
    for name, size in _read("separation").items():
        if not isinstance(size, dict):
            continue
        seconds, ratios, count = size["seconds"], size["of a forward pass"], size["mixtures"]
        each = [f"{seconds[key] / count:.2f}" for key in ("forward", "training step")]
        times = [f"{ratios[key]:.2f}" for key in ("overfit 3 steps", "5 draws")]
        numbers = [f"{size['parameters']:,}", f"{size['positions']:,}"]
        rows.append([name, *numbers, each[0], *times, each[1]])
    return _table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        overfit,
        train,
        predict,
        large,
        growth,
        steps,
        ways,
        rates,
        races,
        fits,
        variants,
        lessons,
        separation,
        scale,
        processes,
    )
}


def filled(text: str) -> str:
    """The text with every `<!-- table: NAME -->` block made from what was measured."""
    return BLOCK.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}\n<!-- end -->", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
