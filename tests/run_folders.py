"""Run folders as the command leaves them, with plausible random numbers of all methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

FIGURES = (
    "comparison",
    "base_vs_ocd",
    "worst_examples",
    "risk_coverage",
    "layer_scores",
    "training",
)
"""What a report draws of a run that has everything."""

LAYERS = ("conv1", "conv2", "fc1", "fc2")
METRICS = {
    "cross_entropy": {"higher_is_better": False, "unit": ""},
    "accuracy": {"higher_is_better": True, "unit": "%"},
    "calibration_error": {"higher_is_better": False, "unit": "%"},
    "brier": {"higher_is_better": False, "unit": ""},
    "binary_cross_entropy": {"higher_is_better": False, "unit": ""},
}
SCORES = {"spread": 1.5, "predictive_entropy": 0.7, "mutual_information": 2.0}  # and their noise
WITH_LABEL = ("overfit_test", "overfit_test_all_layers")


class Made(NamedTuple):
    """How a method of the synthetic run does; the larger its margin, the better it answers."""

    margin: float
    microseconds: float | None
    training_seconds: float | None
    parameters: int = 61_706


MADE = {  # what OCD has to beat at no more than its cost: label_head; at any: deep_ensemble_5
    "tent_1": Made(3.95, 120.0, 0.0),
    "tent_10": Made(3.9, 900.0, 0.0),
    "tent_30": Made(3.6, 2700.0, 0.0),
    "temperature": Made(4.02, 80.0, 0.6),
    "laplace": Made(4.05, None, 2.0),
    "deep_ensemble_5": Made(5.6, 400.0, 1150.0, 308_530),
    "overfit_test": Made(8.0, 140.0, 0.0),
    "overfit_test_all_layers": Made(11.0, 300.0, 0.0),
    "nearest_neighbor": Made(4.1, 1690.0, 0.0),
    "mean_delta": Made(4.03, 82.0, 4.0),
    "random_direction": Made(2.5, 130.0, 390.0, 310_000),
    "delta_regression": Made(4.4, 140.0, 300.0, 300_000),
    "fine_tuned_layer": Made(4.2, 80.0, 12.0),
    "label_head": Made(4.7, 130.0, 310.0, 300_000),
    "label_network": Made(4.6, 60.0, 390.0, 250_000),
    "alternative_layer": Made(4.4, 260.0, 400.0, 350_000),
    "alternative_layer_ensemble_5": Made(4.8, 480.0, 400.0, 350_000),
    "no_scale": Made(3.8, 270.0, 400.0, 350_000),
    "correction_only": Made(4.95, 100.0, 400.0, 350_000),
    "ocd_without_correction_5": Made(4.15, 490.0, 400.0, 350_000),
    "ocd_mean": Made(5.0, 110.0, 400.0, 350_000),
    "ocd_mean_network_5": Made(4.9, 490.0, 400.0, 350_000),
    "ocd_ensemble_5": Made(5.0, 500.0, 400.0, 350_000),
    "ocd": Made(4.5, 270.0, 400.0, 350_000),
    "base": Made(4.0, 80.0, 60.0),
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True))


def make_tensors(seed: int, made: dict[str, Made], num_test: int) -> dict[str, Any]:
    """What every method makes of the test examples: its margin of the right class, with noise."""
    data = np.random.default_rng(0)  # the same test examples whatever the seed
    draw = np.random.default_rng(seed + 1)
    ease = data.normal(0, 2, num_test)
    tensors: dict[str, Any] = {}
    for method, of in made.items():
        margin = of.margin + ease + draw.normal(0, 0.5, num_test) + draw.normal(0, 0.05)
        probability = 1 / (1 + np.exp(-margin))
        values = {
            "cross_entropy": -np.log(probability),
            "accuracy": 100.0 * (margin > 0),
            "brier": 2 * (1 - probability) ** 2,
            "binary_cross_entropy": -0.2 * np.log(probability),
        }
        tensors[f"loss/{method}"] = values["cross_entropy"]
        tensors |= {f"value/{method}/{metric}": value for metric, value in values.items()}
        if method == "base":
            tensors["base_error"] = margin < 0
            tensors["uncertainty/base_entropy"] = np.exp(-np.abs(margin) / 2)
            for score, noise in SCORES.items():
                noisy = -ease + draw.normal(0, noise, num_test)
                tensors[f"uncertainty/{score}"] = np.exp(noisy / 4)
    ensemble = tensors.get("loss/ocd_ensemble_5", np.ones(num_test))
    tensors["draw_loss"] = ensemble * np.exp(draw.normal(0.1, 0.6, (5, num_test)))
    return {name: np.asarray(values, dtype=np.float32) for name, values in tensors.items()}


def write_predictions(folder: Path, seed: int, made: dict[str, Made], num_test: int) -> None:
    tensors = make_tensors(seed, made, num_test)
    methods: dict[str, dict[str, float]] = {}
    for method in made:
        methods[method] = {"calibration_error": 0.5 + 0.01 * seed}
        for metric in METRICS.keys() - {"calibration_error"}:
            methods[method][metric] = float(tensors[f"value/{method}/{metric}"].mean())
    facts = {
        "methods": methods,
        "costs": {m: of.microseconds + seed for m, of in made.items() if of.microseconds is not None},
        "training_seconds": {method: of.training_seconds for method, of in made.items()},
        "parameters": {method: of.parameters for method, of in made.items()},
        "uses_label": [method for method in made if method in WITH_LABEL],
        "skipped": {"tent_50": "the base has no normalisation layer"},
        "num_test": num_test,
    }
    write_json(folder / f"predictions/seed-{seed}.json", facts)
    save_file(tensors, folder / f"predictions/seed-{seed}.safetensors")


def change_tensors(folder: Path, seed: int, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / f"predictions/seed-{seed}.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    write_json(path, facts)


def write_selection(folder: Path, seed: int) -> None:
    scores = [-2.1, -1.7, -0.6 + 0.05 * seed, -1.2]
    facts = {"names": LAYERS, "scores": scores, "standard_errors": [0.05, 0.08, 0.06, 0.1],
             "num_draws": 1000, "num_examples": 64, "relative_size": 0.1, "chosen": "fc1",
             "alternative": "fc2", "skipped": {"bn": "no matrix"}}  # fmt: skip
    write_json(folder / f"selection/seed-{seed}.json", facts)


def make_events(seed: int, num_steps: int) -> list[dict[str, Any]]:
    noise = np.random.default_rng(seed)
    events: list[dict[str, Any]] = [
        {"event": "phase", "phase": phase, "seconds": seconds + seed}
        for phase, seconds in zip(
            ("base", "select", "overfit", "train"), (60.0, 12.0, 8.0, 300.0), strict=True
        )
    ]
    events.append({"event": "phase", "phase": "train", "seconds": 100.0})  # resumed once
    events.append({"event": "note", "text": "learning rate 0.02: the loss falls by 40 %"})
    for role in ("alternative", "label_head"):
        events.append({"event": "note", "role": role, "text": "learning rate 0.01"})
    events.append({"event": "note", "text": f"only seed {seed} says this"})
    for step in range(1, num_steps + 1):
        loss = 0.3 + 0.7 * np.exp(-step / 80) + 0.05 * noise.random()
        line = {"event": "train", "role": "main", "step": 10 * step, "loss": loss}
        events.append(line | {"denoise_loss": loss, "scale_loss": 0.1, "lr": 1e-3})
        if step % 50 == 0:
            events.append({**line, "event": "validate", "loss": loss + 0.05})
    events.append({"event": "train", "role": "alternative", "step": 1, "loss": 9.0})
    return [{**event, "seed": seed} for event in events]


def make_run(
    folder: Path,
    seeds: tuple[int, ...] = (0, 1, 2),
    made: dict[str, Made] | None = None,
    num_test: int = 400,
) -> Path:
    """A run of the methods that are `made`, all of them unless said otherwise."""
    config = {
        "format_version": 1, "task": "digits", "preset": "fast", "seeds": list(seeds),
        "data_dir": None, "options": {}, "config": {"layer": "auto"},
        "examples": {"train": 1437, "test": num_test}, "metrics": METRICS,
        "command": "ocd run digits --seeds 0,1,2",
    }  # fmt: skip
    write_json(folder / "config.json", config)
    for seed in seeds:
        write_selection(folder, seed)
        write_predictions(folder, seed, made or MADE, num_test)
    events = [event for seed in seeds for event in make_events(seed, num_steps=300)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder
