"""What a model gets wrong, as a page: its mistakes, labels, slices, calibration, and how far forecasts are off."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from components import brief, targets
from components.evaluation import metrics
from components.files import read_json
from components.params import Params
from components.reports import results, terminal
from components.validation import report

NAME = "mistakes.html"  # among a run's artefacts
NAMES = 100  # labels or numbers that have a row, the worst ones
COLUMNS = 8  # of an example that are shown at once, those that matter most
SIDE, EDGE = 240, 30  # pixels of a drawing, and of its frame
WIDE, HIGH = 300, 90  # pixels of a series
SHARES = (0.5, 0.8, 0.95)  # of the test examples whose errors are told


def html(params: Params, build: Path) -> str:
    """Return the page of the model that was evaluated last, from the files of build/: it needs nothing beside itself.

    It says so, in words that hold wherever it is kept: the same evaluation gives the same page.
    Raises SlipwayError where there is no such evaluation.
    """
    out = build / "evaluation"
    description = read_json(build / "model" / "model.json")
    target = targets.of(description["target"])
    kind = metrics.of(target)
    names = [row for row in results.read_csv(out / kind.TABLE) if row[kind.BY_NAME]]
    names.sort(key=lambda row: float(metrics.better(kind.BY_NAME, float(row[kind.BY_NAME]), 0.0)))
    path = out / "mistakes.json"
    found = read_json(path) if path.exists() else []  # evaluate.mistakes: 0, or of an older version
    important = [row["column"] for row in results.read_csv(out / "importance.csv")]
    return report.rendered(
        Path(__file__).with_name("page.html"),
        title=params.name,
        name=NAME,
        what=target.title,
        ships=results.candidates(build).get("why", ""),
        temperature=description.get("temperature"),
        score=results.score(params, build),
        told=terminal.told(params, out),
        mistakes=[_mistake(each, target, important) for each in found],
        few=COLUMNS,
        boxed=target.maps,
        confused=results.confused(out, 10),
        names=names[:NAMES],
        more=max(len(names) - NAMES, 0),
        kind=kind,
        slices=results.read_csv(out / "slices.csv"),
        main=results.main_metric(params),
        share=f"{params.evaluate.confidence:.0%}",
        calibration=_calibration(out),
        size=(SIDE, EDGE, WIDE, HIGH),
        errors=[] if target.classes else _errors(out, target.names),
        shares=SHARES,
    )


def _mistake(given: dict[str, Any], target: targets.Target, important: list[str]) -> dict[str, Any]:
    """Return a mistake as the page shows it: what is, what the model says, its columns, and the lines of a series.

    Columns stand in the order of their importance to the model, others behind.
    """
    rank = {name: at for at, name in enumerate(important)}
    columns = sorted(given["columns"].items(), key=lambda item: rank.get(item[0], len(rank)))
    said, actual = given[target.answer], given["actual"]
    lines = {name: _lines(values, name, actual, said, target) for name, values in given["series"].items()}
    drawn = bool(lines) and not target.classes  # a forecast, which its line says better
    texts = ["", ""] if drawn else [_text(actual), _text(said)]
    boxes = [*_boxes(actual, "was"), *_boxes(said, "said")] if target.maps else []
    return given | {"actual": texts[0], "said": texts[1], "lines": lines, "columns": columns, "boxes": boxes}


def _boxes(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return boxes as they are drawn over an image: where, in percent of its sides, and what each is called."""
    return [
        {
            "kind": kind,
            "left": f"{100 * box['left']:.2f}",
            "top": f"{100 * box['top']:.2f}",
            "width": f"{100 * (box['right'] - box['left']):.2f}",
            "height": f"{100 * (box['bottom'] - box['top']):.2f}",
            "title": f"{box['label']} {box['score']:.2f}" if "score" in box else str(box["label"]),
        }
        for box in found
    ]


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):  # boxes
        counts = Counter(box["label"] for box in value)
        return ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return brief(value) if isinstance(value, float) else str(value)


def _lines(history: list[float | None], name: str, actual: Any, said: Any, target: targets.Target) -> dict[str, str]:
    """Return the points of a history, of what followed and of what was forecast, in a drawing of WIDE x HIGH."""
    pairs = {"actual": _listed(actual), "said": _listed(said)}
    forecasts = [] if target.classes else list(enumerate(target.names))
    own = [at for at, label in forecasts if label.rpartition("_h")[0] in ("", name)]
    after = {key: [values[at] for at in own] for key, values in pairs.items()}
    parts: list[list[Any]] = [history, *after.values()]
    everything = [value for values in parts for value in values if value is not None]
    low, high = min(everything), max(everything)
    steps = max(len(history) + len(own) - 1, 1)

    def points(values: list[Any], start: int) -> str:
        return " ".join(
            f"{WIDE * (start + at) / steps:.1f},{HIGH - (HIGH - 4) * (value - low) / (high - low or 1) - 2:.1f}"
            for at, value in enumerate(values)
            if value is not None
        )

    front = {"history": points(history, 0)}
    return front | {key: points(values, len(history)) for key, values in after.items()}


def _listed(value: Any) -> list[float]:
    return [*value] if isinstance(value, list) else [value]


def _calibration(out: Path) -> list[dict[str, float]]:
    """Return the bins that have examples: where they stand in the drawing, and how many examples they have."""
    rows = [row for row in results.read_csv(out / "calibration.csv") if float(row["rows"] or 0)]
    found = [{name: float(row[name]) for name in ("confidence", "accuracy", "rows")} for row in rows]
    most = max((row["rows"] for row in found), default=1.0)
    wide = SIDE - 2 * EDGE
    return [
        row
        | {
            "x": round(EDGE + wide * row["confidence"], 1),
            "y": round(SIDE - EDGE - wide * row["accuracy"], 1),
            "r": round(3 + 7 * float(np.sqrt(row["rows"] / most)), 1),
        }
        for row in found
    ]


def _errors(out: Path, names: tuple[str, ...]) -> list[tuple[str, list[float]]]:
    """Return for each number how far at most the given SHARES of the test examples are off, and how they lean."""
    table = pq.read_table(out / "predictions.parquet")
    said = table["value" if len(names) == 1 else "values"].to_pylist()
    apart = np.array(said, float).reshape(-1, len(names)) - np.array(table["actual"].to_pylist(), float).reshape(
        -1, len(names)
    )
    ends = np.quantile(np.abs(apart), SHARES, axis=0, method="higher")
    lean = apart.mean(axis=0)
    return [(name, [*map(float, ends[:, at]), float(lean[at])]) for at, name in enumerate(names[:NAMES])]
