"""What is known of a model, read from the files of build/: its numbers, and a card for people to read."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.files import read_json
from components.params import Params

SIZES = ("size_mb",)  # metrics of the evaluation that tell what a model costs, not how good it is
STAGES = ("validate", "preprocess", "train", "evaluate")
COSTS = ("fit_seconds", "examples_per_second", "latency_ms")  # of what the stages measure; the rest are tags


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file's rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def costs(build: Path, model_digest: str) -> dict[str, dict[str, Any]]:
    """Read what each stage cost here, as far as it ran here: `seconds`, `peak_memory_mb` and its own.

    A stage that last ran here for another model, before DVC's cache brought this one, is left out.
    """
    paths = {stage: build / "cost" / f"{stage}.json" for stage in STAGES}
    found = {stage: read_json(path) for stage, path in paths.items() if path.exists()}
    return {stage: cost for stage, cost in found.items() if cost.get("model_digest", model_digest) == model_digest}


def numbers(build: Path, model_digest: str, evaluate: dict[str, Any]) -> dict[str, float]:
    """Collect a run's metrics: test_accuracy, test_f1_of_<label>, cost.latency_ms, cost.train_seconds ...

    `evaluate` is what the evaluation cost: while that stage runs, its file is still that of the last time.
    """
    metrics = read_json(build / "evaluation" / "metrics.json")
    found = {f"test_{name}": value for name, value in metrics.items() if name not in SIZES}
    found |= {f"cost.{name}": value for name, value in metrics.items() if name in SIZES}
    classes = read_csv(build / "evaluation" / "classes.csv")
    for name, row in zip(_names(row["label"] for row in classes), classes, strict=True):
        found[f"test_f1_of_{name}"] = float(row["f1"])
    spent = costs(build, model_digest) | {"evaluate": evaluate}
    for stage, values in spent.items():
        found |= {f"cost.{name}": values[name] for name in COSTS if name in values}
        found[f"cost.{stage}_seconds"] = values.get("seconds")
    found["cost.train_peak_memory_mb"] = spent.get("train", {}).get("peak_memory_mb")
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _names(labels: Iterable[str]) -> list[str]:
    """Make labels fit for metrics' names in MLflow, letters of any script included; what then collides is numbered.

    MLflow allows a slash too, which makes groups, and a colon, but not on Windows.
    """
    taken: dict[str, None] = {}
    for label in labels:
        name = text = re.sub(r"[^\w.\- ]", "_", label)[:100].strip()
        number = 1
        while name in taken:
            number += 1
            name = f"{text}_{number}"
        taken[name] = None
    return list(taken)


def confused(build: Path, most: int = 5) -> list[tuple[str, str, int]]:
    """Return the most confused pairs of the test split: (actual, predicted, examples)."""
    pairs = Counter((row["actual"], row["predicted"]) for row in read_csv(build / "evaluation" / "confusion.csv"))
    wrong = [(a, p, n) for (a, p), n in pairs.items() if a != p]
    return sorted(wrong, key=lambda pair: (-pair[2], pair[0], pair[1]))[:most]


def card(params: Params, build: Path, model_digest: str, evaluate: dict[str, Any]) -> str:
    """Write a model's card in Markdown: what it is, its data, its results by class, and its cost."""
    model = read_json(build / "model" / "model.json")
    rows = read_json(build / "arrays" / "manifest.json")["rows"]
    found = numbers(build, model_digest, evaluate)
    validation = build / "validation" / "summary.json"
    aside = read_json(validation).get("set_aside", 0) if validation.exists() else 0
    device = costs(build, model_digest).get("train", {})
    lines = [
        f"**{params.name}**: a model of {len(model['target']['names'])} {model['target']['kind']} by the recipe "
        f"`{params.recipe}`, Keras, shipped as ONNX.",
        "",
        "### Data",
        f"{rows['train']:,} examples to train on, {rows['validation']:,} to validate, {rows['test']:,} "
        f"to test; {aside:,} set aside by the data contract.",
        "",
        "### Result on the test split",
        "| metric | value |",
        "| --- | --- |",
        *(
            f"| {k.removeprefix('test_')} | {v:,.4g} |"
            for k, v in found.items()
            if k.startswith("test_") and "/" not in k
        ),
        "",
        "### By label",
        "| label | precision | recall | F1 | examples |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {_cell(r['label'])} | {float(r['precision']):.3f} | {float(r['recall']):.3f} "
            f"| {float(r['f1']):.3f} | {int(float(r['rows'])):,} |"
            for r in read_csv(build / "evaluation" / "classes.csv")[:50]
        ),
        "",
    ]
    if pairs := confused(build):
        text = ", ".join(f"{_cell(a)} taken for {_cell(p)} ({n})" for a, p, n in pairs)
        lines += [f"Most confused: {text}.", ""]
    lines += ["### Cost", *_cost(found, device)]
    return "\n".join(lines) + "\n"


def _cost(found: dict[str, float], device: dict[str, Any]) -> list[str]:
    on = f" on {device.get('device_name', device['device'])}" if "device" in device else ""
    known = {
        "cost.fit_seconds": f"training: {{:.1f}} s of fitting{on}",
        "cost.train_peak_memory_mb": "peak memory of the training: {:,.0f} MB",
        "cost.latency_ms": "latency of one example: {:.3f} ms",
        "cost.size_mb": "size of the ONNX model: {:.2f} MB",
    }
    return [f"- {text.format(found[name])}" for name, text in known.items() if name in found]


def _cell(label: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(label.split()))[:60]
