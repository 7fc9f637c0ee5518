"""What is known of a model, read from the files of build/: the numbers that gates, MLflow and people are told."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components import brief, targets
from components.evaluation import metrics, promotion
from components.files import read_json
from components.params import Params

MAX_SINGLE = 100  # classes or numbers that a run has a metric of its own for
COST = "cost."
SIZES = ("size_mb",)  # metrics of the evaluation that tell what a model costs, not how good it is
COSTS = (
    "fit_seconds",
    "examples_per_second",
    "latency_ms",
    "latency_spread_ms",
)  # of what the stages measure; the rest are tags


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
    found = {path.stem: read_json(path) for path in sorted((build / "cost").glob("*.json"))}
    return {stage: cost for stage, cost in found.items() if cost.get("model_digest", model_digest) == model_digest}


def numbers(build: Path, model_digest: str, evaluate: dict[str, Any]) -> dict[str, float]:
    """Collect a run's metrics: test/accuracy, test/by_label/f1_of_<label>, cost.latency_ms, cost.train_seconds ...

    MLflow draws those of a group, what stands before the last slash, together, and the groups by the alphabet; what has
    none, as costs have, comes last.
    `evaluate` is what the evaluation cost: while that stage runs, its file is still that of the last time.
    """
    measured = read_json(build / "evaluation" / "metrics.json")
    found = {f"test/{name}": value for name, value in measured.items() if name not in SIZES}
    found |= {f"cost.{name}": value for name, value in measured.items() if name in SIZES}
    kind = metrics.of(targets.of(read_json(build / "arrays" / "manifest.json")["target"]))
    rows = read_csv(build / "evaluation" / kind.TABLE)
    for name, row in zip(_names(row[kind.TITLE] for row in rows), rows, strict=True):
        if row[kind.BY_NAME]:  # nothing is known of a label that is neither there nor predicted
            found[f"test/by_{kind.TITLE}/{kind.BY_NAME}_of_{name}"] = float(row[kind.BY_NAME])
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


def candidates(build: Path) -> dict[str, Any]:
    """Return what train says of its candidates: `shipped`, `why` and, where it compared them, their `losses`."""
    path = build / "model" / "model.json"
    found = read_json(path).get("candidates", {}) if path.exists() else {}
    return dict(found)


def few(numbers: dict[str, float], wanted: Iterable[str]) -> dict[str, float]:
    """Leave out what was measured of single names where these are many, but those that a gate names: `wanted`.

    MLflow would draw a chart for each of a thousand classes; classes.csv among a run's artefacts has them all.
    """
    single = [name for name in numbers if "_of_" in name]
    if len(single) <= MAX_SINGLE:
        return numbers
    kept = set(wanted)
    return {name: value for name, value in numbers.items() if name not in single or short(name) in kept}


def short(name: str) -> str:
    """Return a metric's name without its group, as gates name it."""
    return name.rpartition("/")[2].removeprefix(COST)


def of_test(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of the test split by their short names, those of single names too.

    Runs of Slipway before metrics had groups spell them test_accuracy.
    """
    named = {name: value for name, value in numbers.items() if name.startswith(("test/", "test_"))}
    return {short(name).removeprefix("test_"): value for name, value in named.items()}


def of_cost(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of what a model cost by their short names."""
    return {short(name): value for name, value in numbers.items() if name.startswith(COST)}


def measures_cost(metric: str) -> bool:
    """Tell metrics of what a model costs, which any model has, from those of how good it is."""
    return metric in {*SIZES, *COSTS, "rows", "train_peak_memory_mb"} or metric.endswith("_seconds")


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


def main_metric(params: Params) -> str:
    """Return the metric by which models are compared first."""
    return metrics.main(params.target(), params.costs)


def score(params: Params, build: Path) -> str:
    """Say how good a model is by the metric that decides on a promotion: `f1_macro 0.9883 (0.9761 to 0.9975)`."""
    metric, out = promotion.score(params), build / "evaluation"
    value = read_json(out / "metrics.json").get(metric)
    if not isinstance(value, int | float):
        return f"{metric}: not measured"
    rows = (row for row in read_csv(out / "intervals.csv") if row["metric"] == metric)
    ends = next((f" ({brief(float(row['low']))} to {brief(float(row['high']))})" for row in rows), "")
    return f"{metric} {brief(value)}{ends}"


def baselines(params: Params, evaluation: Path) -> list[dict[str, str]]:
    """Return the rows of baselines.csv for the metric that decides on a promotion."""
    metric = promotion.score(params)
    return [row for row in read_csv(evaluation / "baselines.csv") if row["metric"] == metric]


def confused(out: Path, most: int = 5) -> list[tuple[str, str, int]]:
    """Return the most confused pairs of the test split: (actual, predicted, examples)."""
    pairs = Counter((row["actual"], row["predicted"]) for row in read_csv(out / "confusion.csv"))
    wrong = [(a, p, n) for (a, p), n in pairs.items() if a != p]
    return sorted(wrong, key=lambda pair: (-pair[2], pair[0], pair[1]))[:most]
