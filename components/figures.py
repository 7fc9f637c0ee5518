"""Figures of a training and its evaluation, drawn from the files of build/."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.files import read_json
from components.results import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f6feb", "#d9730d", "#9aa4b2"
MOST_LABELS = 40  # above, a confusion matrix has no room for numbers and names


@contextmanager
def drawn(build: Path) -> Iterator[Path]:
    """Yield a temporary folder with every figure as PNG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, figure in figures(build).items():
            figure.savefig(folder / f"{title}.png", dpi=120)
        yield folder


def figures(build: Path) -> "dict[str, Figure]":
    """Draw loss, accuracy, confusion matrix, calibration and F1 by label."""
    return {
        "loss": _curve(build, "loss", "loss (cross-entropy)"),
        "accuracy": _curve(build, "accuracy", "accuracy"),
        "confusion": _confusion(build),
        "calibration": _calibration(build),
        "f1": _classes(build),
    }


def _axes(width: float = 6.4, height: float = 4.4) -> "tuple[Figure, Axes]":
    # Figure itself, not pyplot: no global state, no display, works in any thread
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curve(build: Path, metric: str, label: str) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    rows = read_csv(build / "training" / "epochs.csv")
    epochs = [int(float(row["epoch"])) for row in rows]
    figure, axes = _axes()
    for name, colour, split in ((metric, BLUE, "training"), (f"val_{metric}", ORANGE, "validation")):
        axes.plot(epochs, [float(row[name]) for row in rows], colour, marker="o", markersize=3, label=split)
    axes.set(xlabel="epoch", ylabel=label, title=f"{metric.capitalize()} by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _confusion(build: Path) -> "Figure":
    labels = read_json(build / "model" / "model.json")["target"]["names"]
    at = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for row in read_csv(build / "evaluation" / "confusion.csv"):
        counts[at[row["actual"]], at[row["predicted"]]] += 1
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # of the actual label's examples
    side = min(4 + 0.4 * len(labels), 14)
    figure, axes = _axes(side + 0.8, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the actual label")
    if len(labels) <= MOST_LABELS:
        names = [label if len(label) <= 20 else f"{label[:19]}…" for label in labels]
        axes.set_xticks(
            range(len(labels)),
            names,
            rotation=90 if max(map(len, names)) > 3 else 0,
        )
        axes.set_yticks(range(len(labels)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel="predicted", ylabel="actual", title="Confusion matrix, test split")
    axes.spines[:].set_visible(False)
    return figure


def _calibration(build: Path) -> "Figure":
    """Draw a reliability diagram; the bars' height tells how many examples a bin holds."""
    rows = [row for row in read_csv(build / "evaluation" / "calibration.csv") if float(row["rows"] or 0)]
    confidence, accuracy, count = ([float(row[name]) for row in rows] for name in ("confidence", "accuracy", "rows"))
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    axes.plot(confidence, accuracy, BLUE, marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="accuracy", title="Calibration, test split", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left")
    beside = axes.twinx()
    beside.bar(confidence, count, width=0.02, color=ORANGE, alpha=0.35)
    beside.set(ylabel="examples", yscale="log")
    beside.spines["top"].set_visible(False)
    return figure


def _classes(build: Path) -> "Figure":
    rows = read_csv(build / "evaluation" / "classes.csv")
    rows = sorted(rows, key=lambda row: float(row["f1"]))[:MOST_LABELS]  # the worst ones, if there are many
    figure, axes = _axes(6.4, min(1.5 + 0.28 * len(rows), 12))
    axes.barh([row["label"][:30] for row in rows], [float(row["f1"]) for row in rows], color=BLUE)
    lowest = min((float(row["f1"]) for row in rows), default=0.0)
    axes.set(
        xlabel="F1",
        title="F1 by label, worst first",
        xlim=(max(0.0, lowest - 0.05) if lowest > 0.8 else 0, 1),
    )
    axes.invert_yaxis()
    return figure
