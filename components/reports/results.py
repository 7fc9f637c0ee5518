"""What is known of a model, read from the files of build/: its numbers, and a card for people to read."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.evaluation import metrics, slices
from components.files import read_json
from components.params import Params
from components.targets import Target

SIZES = ("size_mb",)  # metrics of the evaluation that tell what a model costs, not how good it is
STAGES = ("validate", "preprocess", "baseline", "train", "evaluate")
COSTS = ("fit_seconds", "examples_per_second", "latency_ms")  # of what the stages measure; the rest are tags


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file's rows; none of a file that is not there, for not every kind of target has every file."""
    if not path.exists():
        return []
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
    for file, title, metric in (("classes", "label", "f1"), ("values", "value", "mae")):
        rows = read_csv(build / "evaluation" / f"{file}.csv")
        for name, row in zip(_names(row[title] for row in rows), rows, strict=True):
            if row[metric]:  # nothing is known of a label that is neither there nor predicted
                found[f"test_{metric}_of_{name}"] = float(row[metric])
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


def measures_cost(metric: str) -> bool:
    """Tell metrics of what a model costs, which any model has, from those of how good it is."""
    return metric in {*SIZES, *COSTS, "rows", "train_peak_memory_mb", *(f"{stage}_seconds" for stage in STAGES)}


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


def main_metric(params: Params) -> str:
    """Return the metric by which models are compared first."""
    return metrics.main(params.target(), params.costs)


def told(params: Params, evaluation: Path) -> list[str]:
    """Say how good a model is: a line of metrics with their intervals, one a baseline, one for the worst slice."""
    rows = {row["metric"]: row for row in read_csv(evaluation / "intervals.csv")}
    shown = metrics.of(params.target()).SHOWN
    text = ", ".join(f"{name} {_with_interval(rows[name])}" for name in shown if name in rows)
    tests = read_json(evaluation / "metrics.json")["rows"]
    return [f"{tests:,} test examples: {text}", *beside(params, evaluation), *_worst(params, evaluation)]


def beside(params: Params, evaluation: Path) -> list[str]:
    """Say of each baseline if the model beats it: if the interval of the difference lies above 0."""
    found = []
    for row in _baselines(params, evaluation):
        better, low, high = (float(row[name]) for name in ("better", "low", "high"))
        verdict = "beats" if low > 0 else "DOES NOT BEAT"
        found.append(
            f"the model {verdict} the {row['baseline']} baseline ({row['name'].rstrip('.')}: {row['metric']} "
            f"{float(row['value']):.4g}): better by {better:+.4g} [{low:+.4g}, {high:+.4g}]"
        )
    return found


def beside_trivial(params: Params, evaluation: Path) -> tuple[dict[str, str] | None, str]:
    """Return the trivial baseline's row of baselines.csv for the main metric, None where there is none; the metric."""
    rows = _baselines(params, evaluation)
    return next((row for row in rows if row["baseline"] == "trivial"), None), main_metric(params)


def _baselines(params: Params, evaluation: Path) -> list[dict[str, str]]:
    metric = main_metric(params)
    return [row for row in read_csv(evaluation / "baselines.csv") if row["metric"] == metric]


def _worst(params: Params, evaluation: Path) -> list[str]:
    metric = main_metric(params)
    row = slices.worst(read_csv(evaluation / "slices.csv"))
    if row is None:
        return []
    interval = _with_interval(row | {"value": row[metric]})
    return [f"worst slice: {row['slice']} {row['value']} ({int(row['rows']):,} rows): {metric} {interval}"]


def _with_interval(row: dict[str, str]) -> str:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def card(params: Params, build: Path, model_digest: str, evaluate: dict[str, Any]) -> str:
    """Write a model's card in Markdown: what it is, its data, its results beside the baselines, and its cost."""
    target = params.target()
    rows = read_json(build / "arrays" / "manifest.json")["rows"]
    found = numbers(build, model_digest, evaluate)
    validation = build / "validation" / "summary.json"
    aside = read_json(validation).get("set_aside", 0) if validation.exists() else 0
    device = costs(build, model_digest).get("train", {})
    share = f"{params.evaluate.confidence:.0%}"
    out = build / "evaluation"
    intervals = {row["metric"]: row for row in read_csv(out / "intervals.csv")}
    shown = {name.removeprefix("test_"): value for name, value in found.items() if name.startswith("test_")}
    parts = [
        [
            f"**{params.name}**: {target.title.format(len(target.names))} by the recipe `{params.recipe}`, "
            "Keras, shipped as ONNX."
        ],
        [
            "### Data",
            f"{rows['train']:,} examples to train on, {rows['validation']:,} to validate, {rows['test']:,} "
            f"to test; {aside:,} set aside by the data contract.",
        ],
        [
            "### Result on the test split",
            *_table(
                ["metric", "value", f"{share} interval"],
                [
                    [name, f"{value:,.4g}", _range(intervals[name]) if name in intervals else ""]
                    for name, value in shown.items()
                    if "_of_" not in name
                ],
            ),
        ],
        _card_baselines(params, out, share),
        _card_slices(params, out, share),
        _card_names(target, out),
        _card_columns(params, out),
        ["### Cost", *_cost(found, device)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _card_baselines(params: Params, out: Path, share: str) -> list[str]:
    metric = main_metric(params)
    rows = [
        [
            row["baseline"],
            _cell(row["name"]),
            f"{float(row['value']):,.4g}",
            f"{float(row['better']):+.4g}",
            _range(row),
        ]
        for row in _baselines(params, out)
    ]
    if not rows:
        return []
    table = _table(["baseline", "what", metric, "the model is better by", f"{share} interval, paired"], rows)
    lost = [f"**{text[0].upper()}{text[1:]}.**" for text in beside(params, out) if "DOES NOT BEAT" in text]
    return ["### Beside the baselines", *table, *([""] if lost else []), *lost]


def _card_slices(params: Params, out: Path, share: str) -> list[str]:
    metric = main_metric(params)
    rows = [
        [_cell(row["slice"]), _cell(row["value"]), f"{int(row['rows']):,}", f"{float(row[metric]):,.4g}", _range(row)]
        for row in read_csv(out / "slices.csv")[:10]
    ]
    table = _table(["slice", "value", "examples", metric, f"{share} interval"], rows)
    return ["### The worst slices", *table] if rows else []


def _card_names(target: Target, out: Path) -> list[str]:
    if not target.classes:
        rows = [
            [_cell(row["value"]), *(f"{float(row[name]):,.4g}" if row[name] else "" for name in ("mae", "rmse", "r2"))]
            for row in read_csv(out / "values.csv")[:50]
        ]
        return ["### By value", *_table(["value", "MAE", "RMSE", "R2"], rows)] if len(rows) > 1 else []
    rows = [
        [
            _cell(row["label"]),
            *(f"{float(row[name]):.3f}" if row[name] else "" for name in ("precision", "recall", "f1")),
            f"{int(row['rows']):,}",
        ]
        for row in read_csv(out / "classes.csv")[:50]
    ]
    lines = ["### By label", *_table(["label", "precision", "recall", "F1", "examples"], rows)]
    if pairs := confused(out.parent):
        text = ", ".join(f"{_cell(a)} taken for {_cell(p)} ({n})" for a, p, n in pairs)
        lines += ["", f"Most confused: {text}."]
    return lines


def _card_columns(params: Params, out: Path) -> list[str]:
    rows = [
        [_cell(row["column"]), f"{float(row['importance']):.4g}", f"{float(row['spread']):.2g}"]
        for row in read_csv(out / "importance.csv")[:10]
    ]
    table = _table(["column", f"{main_metric(params)} lost without it", "spread"], rows)
    return ["### What it looks at", *table] if rows else []


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _range(row: dict[str, str]) -> str:
    return f"{float(row['low']):,.4g} to {float(row['high']):,.4g}"


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
