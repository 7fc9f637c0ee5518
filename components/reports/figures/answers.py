"""Figures of a training and of the answers on the test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from components import recipes, targets
from components.evaluation import metrics, rates
from components.files import read_json
from components.reports.figures import style
from components.reports.results import read_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LABELS = 40  # above, a confusion matrix has no room for numbers and names
MAX_CURVES = 8  # labels whose curves are drawn, the worst ones
CURVE_POINTS = 500
FORECASTS = 4  # examples
SHOWN_HORIZONS = 8  # of a history, the last ones


def curves(build: Path) -> "dict[str, Figure]":
    """Draw each measure of the training that was taken on both splits: the loss, the accuracy or the error."""
    from matplotlib.ticker import MaxNLocator

    rows = read_csv(build / "training" / "epochs.csv")
    epochs = [int(float(row["epoch"])) for row in rows]
    found = {}
    for metric in [name for name in rows[0] if f"val_{name}" in rows[0]] if rows else []:
        figure, axes = style.axes()
        for name, colour, split in ((metric, style.BLUE, "training"), (f"val_{metric}", style.ORANGE, "validation")):
            values = [float(row[name] or "nan") for row in rows]
            axes.plot(epochs, values, colour, marker="o", markersize=3, label=split)
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric.capitalize()} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
        found[metric] = figure
    return found


def confusion(build: Path) -> "Figure":
    """Draw how often each label was taken for another; numbers where there is room."""
    labels = read_json(build / "model" / "model.json")["target"]["names"]
    at = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for row in read_csv(build / "evaluation" / "confusion.csv"):
        counts[at[row["actual"]], at[row["predicted"]]] += 1
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # of the actual label's examples
    side = min(4 + 0.4 * len(labels), 14)
    figure, axes = style.axes(side + 0.8, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual label")
    if len(labels) <= MAX_LABELS:
        names = [label if len(label) <= 20 else f"{label[:19]}…" for label in labels]
        axes.set_xticks(
            range(len(labels)),
            names,
            rotation=90 if max(map(len, names)) > 3 else 0,
            parse_math=False,
        )
        axes.set_yticks(range(len(labels)), names, parse_math=False)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted", ylabel="actual", title="Confusion matrix, test split")
    axes.spines[:].set_visible(False)
    return figure


def calibration(build: Path) -> "Figure":
    """Draw a reliability diagram; the bars' height tells how many examples a bin holds."""
    rows = [row for row in read_csv(build / "evaluation" / "calibration.csv") if float(row["rows"] or 0)]
    confidence, accuracy, count = ([float(row[name]) for row in rows] for name in ("confidence", "accuracy", "rows"))
    figure, axes = style.axes()
    axes.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", label="perfectly calibrated")
    axes.plot(confidence, accuracy, style.BLUE, marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="accuracy", title="Calibration, test split", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left")
    beside = axes.twinx()
    beside.bar(confidence, count, width=0.02, color=style.ORANGE, alpha=0.35)
    beside.set(ylabel="examples", yscale="log")
    beside.spines["top"].set_visible(False)
    return figure


def by_name(build: Path) -> "dict[str, Figure]":
    """Draw how good the model is by class, the worst first; nothing where numbers are predicted."""
    target = targets.of(read_json(build / "model" / "model.json")["target"])
    kind = metrics.of(target)
    metric, path = kind.BY_NAME, build / "evaluation" / kind.TABLE
    if not target.classes or not path.exists():
        return {}
    rows = [row for row in read_csv(path) if row[metric]]
    worst = sorted(rows, key=lambda row: float(metrics.better(metric, float(row[metric]), 0.0)))
    rows = worst[:MAX_LABELS]  # if there are many
    figure, axes = style.axes(6.4, min(1.5 + 0.28 * len(rows), 12))
    axes.barh(range(len(rows)), [float(row[metric]) for row in rows], color=style.BLUE)
    axes.set_yticks(range(len(rows)), [row[kind.TITLE][:30] for row in rows], parse_math=False)
    heading = next((heading for column, heading, _ in kind.CARD if column == metric), metric)
    axes.set(xlabel=heading, title=f"{heading} by {kind.TITLE}, worst first")
    if metric not in metrics.LOWER:  # a share: near 1, the differences are seen from where the worst stands
        lowest = min((float(row[metric]) for row in rows), default=0.0)
        axes.set(xlim=(max(0.0, lowest - 0.05) if lowest > 0.8 else 0, 1))
    axes.invert_yaxis()
    return {metric: figure}


def ranking(build: Path) -> "dict[str, Figure]":
    """Draw the ROC and the precision-recall curve of each label, the worst ones if there are many."""
    path = build / "evaluation" / "predictions.parquet"
    if not path.exists() or "probabilities" not in pq.read_schema(path).names:
        return {}
    recipe, params, _ = _model(build)
    target = recipe.target(params)
    table = pq.read_table(path, columns=["actual", "probabilities"])
    held = rates.held(target.encode(table["actual"].to_pylist()), len(target.names))
    scores = np.array(table["probabilities"].to_pylist(), np.float64).reshape(held.shape)
    areas = {row["label"]: row for row in read_csv(build / "evaluation" / "classes.csv") if row.get("roc_auc")}
    found = {}
    for title, area, across, up in (
        ("roc", "roc_auc", "false positive rate", "true positive rate"),
        ("precision_recall", "pr_auc", "recall", "precision"),
    ):
        figure, axes = style.axes()
        known = [index for index, name in enumerate(target.names) if name in areas]
        if target.exclusive and len(target.names) == 2:
            known = [index for index in known if index == 1]
        for index in sorted(known, key=lambda index: float(areas[target.names[index]][area]))[:MAX_CURVES]:
            false, true, precision = rates.thresholds(held[:, index], scores[:, index])
            x, y = (false, true) if title == "roc" else (true, precision)
            few = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).astype(int))
            name = target.names[index]
            axes.plot(x[few], y[few], label=f"{name[:30]}: {float(areas[name][area]):.3f}")
        if title == "roc":
            axes.plot([0, 1], [0, 1], color=style.GREY, linestyle="--")
        axes.set(xlabel=across, ylabel=up, title=f"{up.capitalize()} by {across}, test split", ylim=(0, 1.02))
        if known:
            for text in axes.legend(frameon=False, title="area under the curve").get_texts():
                text.set_parse_math(False)
        found[title] = figure
    return found


def found(build: Path) -> "Figure":
    """Draw the precision-recall curve of the boxes of each class, the worst ones if there are many."""
    rows = read_csv(build / "evaluation" / "precision_recall.csv")
    areas = {row["label"]: float(row["ap_50"] or 0) for row in read_csv(build / "evaluation" / "classes.csv")}
    figure, axes = style.axes()
    for name in sorted(areas, key=lambda name: areas[name])[:MAX_CURVES]:
        own = [row for row in rows if row["label"] == name]
        recall, precision = ([float(row[key]) for row in own] for key in ("recall", "precision"))
        axes.plot(recall, precision, label=f"{name[:30]}: {areas[name]:.3f}")
    title = "Precision by recall of boxes at an overlap of 0.5, test split"
    axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1), ylim=(0, 1.02))
    if areas:
        for text in axes.legend(frameon=False, title="average precision").get_texts():
            text.set_parse_math(False)
    return figure


def residuals(build: Path) -> "Figure":
    """Draw what is left of the truth over what was predicted, and how the rest is spread."""
    rows = read_csv(build / "evaluation" / "residuals.csv")
    predicted, rest = (np.array([float(row[name]) for row in rows]) for name in ("predicted", "residual"))
    figure, axes = style.axes(8.4)
    axes.scatter(predicted, rest, s=8, alpha=0.4, color=style.BLUE, linewidths=0)
    axes.axhline(0, color=style.GREY, linestyle="--")
    axes.set(xlabel="predicted", ylabel="actual minus predicted", title="Residuals, test split")
    beside = axes.inset_axes((1.02, 0, 0.2, 1), sharey=axes)
    beside.hist(rest, bins=40, orientation="horizontal", color=style.ORANGE)
    beside.tick_params(labelleft=False)
    beside.spines[["top", "right"]].set_visible(False)
    beside.set(xlabel="examples")
    return figure


def forecasts(build: Path) -> "dict[str, Figure]":
    """Draw a few examples that have a history: it, what came, and what was forecast; of several columns the first."""
    path = build / "evaluation" / "predictions.parquet"
    if not path.exists() or "values" not in pq.read_schema(path).names:
        return {}
    recipe, params, content = _model(build)
    entry = next(
        ((key, one) for key, one in recipe.inputs(params, content["state"]).items() if one.kind == "history"), None
    )
    if entry is None:
        return {}
    from matplotlib.figure import Figure

    key, one = entry
    table = pq.read_table(path, columns=["actual", "values"])
    histories = np.load(build / "arrays" / "test" / f"{key}.npy", mmap_mode="r")
    horizon = len(recipe.target(params).names) // max(1, len(one.names))
    some = np.unique(np.linspace(0, len(table) - 1, min(FORECASTS, len(table))).astype(int))
    figure = Figure(figsize=(8.4, 2.2 * len(some)), layout="constrained")
    for axes, row in zip(np.atleast_1d(figure.subplots(len(some))), some, strict=True):
        history = histories[row, -SHOWN_HORIZONS * horizon :, 0]
        ahead = np.arange(1, horizon + 1)
        axes.plot(np.arange(1 - len(history), 1), history, color=style.GREY, label="history")
        axes.plot(ahead, table["actual"][int(row)].as_py()[:horizon], color=style.BLUE, marker=".", label="actual")
        axes.plot(ahead, table["values"][int(row)].as_py()[:horizon], color=style.ORANGE, marker=".", label="forecast")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, ncols=3)
    first = f": {one.names[0]}" if len(one.names) > 1 else ""
    figure.axes[0].set_title(f"Forecasts, test split{first}", parse_math=False)
    figure.axes[-1].set(xlabel="steps after the last known value")
    return {"forecasts": figure}


def _model(build: Path) -> tuple[recipes.Recipe, Any, dict[str, Any]]:
    content = read_json(build / "model" / "model.json")
    recipe = recipes.load(content["recipe"])
    return recipe, recipe.Params.model_validate(content["params"]), content
