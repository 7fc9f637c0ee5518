"""Figures of a training and its evaluation, drawn from the files of build/.

Names that the data gives are drawn with parse_math=False: `$$` is a price tier, and no formula.
"""

import html
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from components import recipes
from components.evaluation.rates import held as where_held
from components.files import read_json
from components.reports.results import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f6feb", "#d9730d", "#9aa4b2"
MOST_LABELS = 40  # above, a confusion matrix has no room for numbers and names
CURVES = 8  # labels whose curves are drawn, the worst ones
POINTS = 500  # of a curve
FORECASTS = 4
STEPS = 8  # horizons of a history that are drawn, the last ones


@contextmanager
def drawn(build: Path) -> Iterator[Path]:
    """Yield a temporary folder with every figure as PNG, and the explained texts as tokens.html."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, figure in figures(build).items():
            figure.savefig(folder / f"{title}.png", dpi=120)
        if text := tokens(build):
            (folder / "tokens.html").write_text(text, encoding="utf-8")
        yield folder


def figures(build: Path) -> "dict[str, Figure]":
    """Draw what the files in build/ tell: which there are depends on what is predicted, and from what."""
    found = _curves(build)
    for title, file, draw in (
        ("confusion", "confusion.csv", _confusion),
        ("calibration", "calibration.csv", _calibration),
        ("f1", "classes.csv", _classes),
        ("residuals", "residuals.csv", _residuals),
        ("slices", "slices.csv", _slices),
        ("importance", "importance.csv", _importance),
    ):
        if (build / "evaluation" / file).exists():
            found[title] = draw(build)
    return found | _ranking(build) | _forecasts(build) | _occlusion(build)


def _model(build: Path) -> tuple[recipes.Recipe, Any, dict[str, Any]]:
    content = read_json(build / "model" / "model.json")
    recipe = recipes.load(content["recipe"])
    return recipe, recipe.Params.model_validate(content["params"]), content


def _axes(width: float = 6.4, height: float = 4.4) -> "tuple[Figure, Axes]":
    # Figure itself, not pyplot: no global state, no display, works in any thread
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curves(build: Path) -> "dict[str, Figure]":
    """Draw each measure of the training that was taken on both splits: the loss, the accuracy or the error."""
    from matplotlib.ticker import MaxNLocator

    rows = read_csv(build / "training" / "epochs.csv")
    epochs = [int(float(row["epoch"])) for row in rows]
    found = {}
    for metric in [name for name in rows[0] if f"val_{name}" in rows[0]] if rows else []:
        figure, axes = _axes()
        for name, colour, split in ((metric, BLUE, "training"), (f"val_{metric}", ORANGE, "validation")):
            values = [float(row[name] or "nan") for row in rows]
            axes.plot(epochs, values, colour, marker="o", markersize=3, label=split)
        axes.set(xlabel="epoch", ylabel=metric, title=f"{metric.capitalize()} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
        found[metric] = figure
    return found


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
    rows = [row for row in read_csv(build / "evaluation" / "classes.csv") if row["f1"]]
    rows = sorted(rows, key=lambda row: float(row["f1"]))[:MOST_LABELS]  # the worst ones, if there are many
    figure, axes = _axes(6.4, min(1.5 + 0.28 * len(rows), 12))
    axes.barh(range(len(rows)), [float(row["f1"]) for row in rows], color=BLUE)
    axes.set_yticks(range(len(rows)), [row["label"][:30] for row in rows], parse_math=False)
    lowest = min((float(row["f1"]) for row in rows), default=0.0)
    axes.set(
        xlabel="F1",
        title="F1 by label, worst first",
        xlim=(max(0.0, lowest - 0.05) if lowest > 0.8 else 0, 1),
    )
    axes.invert_yaxis()
    return figure


def _ranking(build: Path) -> "dict[str, Figure]":
    """Draw the ROC and the precision-recall curve of each label, the worst ones if there are many."""
    path = build / "evaluation" / "predictions.parquet"
    if not path.exists() or "probabilities" not in pq.read_schema(path).names:
        return {}
    recipe, params, _ = _model(build)
    target = recipe.target(params)
    table = pq.read_table(path, columns=["actual", "probabilities"])
    held = where_held(target.encode(table["actual"].to_pylist()), len(target.names))
    scores = np.array(table["probabilities"].to_pylist(), np.float64).reshape(held.shape)
    areas = {row["label"]: row for row in read_csv(build / "evaluation" / "classes.csv") if row.get("roc_auc")}
    found = {}
    for title, area, across, up in (
        ("roc", "roc_auc", "false positive rate", "true positive rate"),
        ("precision_recall", "pr_auc", "recall", "precision"),
    ):
        figure, axes = _axes()
        known = [index for index, name in enumerate(target.names) if name in areas]
        if target.exclusive and len(target.names) == 2:
            known = [index for index in known if index == 1]
        for index in sorted(known, key=lambda index: float(areas[target.names[index]][area]))[:CURVES]:
            false, true, precision = rates(held[:, index], scores[:, index])
            x, y = (false, true) if title == "roc" else (true, precision)
            few = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).astype(int))
            name = target.names[index]
            axes.plot(x[few], y[few], label=f"{name[:30]}: {float(areas[name][area]):.3f}")
        if title == "roc":
            axes.plot([0, 1], [0, 1], color=GREY, linestyle="--")
        axes.set(xlabel=across, ylabel=up, title=f"{up.capitalize()} by {across}, test split", ylim=(0, 1.02))
        if known:
            for text in axes.legend(frameon=False, title="area under the curve").get_texts():
                text.set_parse_math(False)
        found[title] = figure
    return found


def rates(held: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false positive rate, true positive rate and precision at every threshold, the strictest first.

    `held` is `(n,)` bool with some of both; the curves begin where nothing is said to hold, with precision 1.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    hit, said = np.cumsum(held[order])[last], last + 1
    false, true = (said - hit) / (~held).sum(), hit / held.sum()
    return np.append(0.0, false), np.append(0.0, true), np.append(1.0, hit / said)


def _residuals(build: Path) -> "Figure":
    """Draw what is left of the truth over what was predicted, and how the rest is spread."""
    rows = read_csv(build / "evaluation" / "residuals.csv")
    predicted, rest = (np.array([float(row[name]) for row in rows]) for name in ("predicted", "residual"))
    figure, axes = _axes(8.4)
    axes.scatter(predicted, rest, s=8, alpha=0.4, color=BLUE, linewidths=0)
    axes.axhline(0, color=GREY, linestyle="--")
    axes.set(xlabel="predicted", ylabel="actual minus predicted", title="Residuals, test split")
    beside = axes.inset_axes((1.02, 0, 0.2, 1), sharey=axes)
    beside.hist(rest, bins=40, orientation="horizontal", color=ORANGE)
    beside.tick_params(labelleft=False)
    beside.spines[["top", "right"]].set_visible(False)
    beside.set(xlabel="examples")
    return figure


def _forecasts(build: Path) -> "dict[str, Figure]":
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
        history = histories[row, -STEPS * horizon :, 0]
        ahead = np.arange(1, horizon + 1)
        axes.plot(np.arange(1 - len(history), 1), history, color=GREY, label="history")
        axes.plot(ahead, table["actual"][int(row)].as_py()[:horizon], color=BLUE, marker=".", label="actual")
        axes.plot(ahead, table["values"][int(row)].as_py()[:horizon], color=ORANGE, marker=".", label="forecast")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, ncols=3)
    first = f": {one.names[0]}" if len(one.names) > 1 else ""
    figure.axes[0].set_title(f"Forecasts, test split{first}", parse_math=False)
    figure.axes[-1].set(xlabel="steps from the last known one")
    return {"forecasts": figure}


def _slices(build: Path) -> "Figure":
    rows = read_csv(build / "evaluation" / "slices.csv")[:25]
    metric = list(rows[0])[3]
    value, low, high = (np.array([float(row[name] or "nan") for row in rows]) for name in (metric, "low", "high"))
    figure, axes = _axes(6.4, 1.5 + 0.28 * len(rows))
    names = [f"{row['slice']}: {row['value']}"[:40] + f" ({int(row['rows']):,})" for row in rows]
    places = range(len(rows))
    axes.errorbar(value, places, xerr=np.clip([value - low, high - value], 0, None), fmt="o", color=BLUE, capsize=2)
    axes.set_yticks(places, names, parse_math=False)
    axes.set(xlabel=metric, title=f"{metric} by slice, worst first")
    axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    return figure


def _importance(build: Path) -> "Figure":
    rows = read_csv(build / "evaluation" / "importance.csv")[:30]
    figure, axes = _axes(6.4, 1.5 + 0.28 * len(rows))
    value, spread = ([float(row[name]) for row in rows] for name in ("importance", "spread"))
    axes.barh(range(len(rows)), value, xerr=spread, color=BLUE, ecolor=GREY, capsize=2)
    axes.set_yticks(range(len(rows)), [row["column"][:30] for row in rows], parse_math=False)
    axes.set(xlabel="how much worse the main metric gets", title="Permutation importance, test split")
    axes.invert_yaxis()
    return figure


def _occlusion(build: Path) -> "dict[str, Figure]":
    """Draw the explained images and spectrograms, each beside itself with what matters in it."""
    path = build / "evaluation" / "explanations.json"
    entries = [e for e in read_json(path) if e["kind"] in ("image", "spectrogram")] if path.exists() else []
    if not entries:
        return {}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.4 * len(entries)), layout="constrained")
    for (left, right), entry in zip(figure.subplots(len(entries), 2, squeeze=False), entries, strict=True):
        picture = np.load(build / "arrays" / "test" / f"{entry['input']}.npy", mmap_mode="r")[entry["row"]]
        if entry["kind"] == "spectrogram":
            picture = picture.reshape(picture.shape[:2]).T[::-1]  # time across, low bands below
        elif picture.shape[-1] == 1:
            picture = picture[..., 0]
        heat = _heat(entry, picture.shape[:2] if entry["kind"] == "image" else picture.shape[1::-1])
        heat = heat if entry["kind"] == "image" else heat.T[::-1]
        most = max(float(np.abs(heat).max()), 1e-9)
        left.imshow(
            picture,
            cmap="gray" if entry["kind"] == "image" else "magma",
            aspect="equal" if entry["kind"] == "image" else "auto",
        )
        shown = right.imshow(heat, cmap="RdBu", vmin=-most, vmax=most, aspect=left.get_aspect())
        figure.colorbar(shown, ax=right, shrink=0.8)
        left.set_title(_title(entry), fontsize=8, parse_math=False)
        right.set_title("lost when hidden", fontsize=8)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
    return {"occlusion": figure}


def _heat(entry: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Mean over all patches that hide a place of what their hiding costs, `shape`."""
    total, count = np.zeros(shape), np.zeros(shape)
    height, width = entry["patch"]
    for top, line in zip(entry["tops"], entry["drop"], strict=True):
        for left, drop in zip(entry["lefts"], line, strict=True):
            total[top : top + height, left : left + width] += drop
            count[top : top + height, left : left + width] += 1
    return total / np.maximum(count, 1)


def _title(entry: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return ", ".join(f"{number:.4g}" for number in value[:3]) if isinstance(value, list) else str(value)[:30]

    sure = f" ({entry['probability']:.0%})" if "probability" in entry else ""
    return f"{text(entry['answer'])}{sure}, actual {text(entry['actual'])}"


def tokens(build: Path) -> str:
    """Return a page of the explained texts, each token coloured by what it means for the answer; or nothing."""
    path = build / "evaluation" / "explanations.json"
    entries = [e for e in read_json(path) if e["kind"] == "tokens"] if path.exists() else []
    if not entries:
        return ""
    parts = []
    for entry in entries:
        most = max((abs(drop) for drop in entry["drop"]), default=0) or 1
        spans = []
        for token, drop in zip(entry["tokens"], entry["drop"], strict=True):
            colour = "31,111,235" if drop > 0 else "217,115,13"
            style = f"background:rgba({colour},{0.8 * abs(drop) / most:.2f})"
            spans.append(f'<span style="{style}" title="{drop:+.4f}">{html.escape(token)}</span>')
        parts.append(f"<h3>{html.escape(_title(entry))}</h3><p>{' '.join(spans)}</p>")
    return (
        '<!doctype html><meta charset="utf-8"><title>What in a text speaks for its answer</title>'
        "<style>body{font:16px/1.9 sans-serif;max-width:50em;margin:2em auto}span{padding:.15em .1em;border-radius:3px}"
        "</style><h2>What in a text speaks for its answer</h2><p>Blue speaks for the answer, orange against it: "
        "by how much its probability falls or rises when the token is left out.</p>" + "".join(parts) + "\n"
    )
