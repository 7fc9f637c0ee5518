"""Figures of why a model answers as it does: slices, columns, and parts of single examples."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.files import read_json
from components.reports.figures import style
from components.reports.results import read_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def slices(build: Path) -> "Figure":
    """Draw the main metric of each slice with its interval, the worst first."""
    rows = read_csv(build / "evaluation" / "slices.csv")[:25]
    metric = list(rows[0])[3]
    value, low, high = (np.array([float(row[name] or "nan") for row in rows]) for name in (metric, "low", "high"))
    figure, axes = style.axes(6.4, 1.5 + 0.28 * len(rows))
    names = [f"{row['slice']}: {row['value']}"[:40] + f" ({int(row['rows']):,})" for row in rows]
    places = range(len(rows))
    axes.errorbar(
        value, places, xerr=np.clip([value - low, high - value], 0, None), fmt="o", color=style.BLUE, capsize=2
    )
    axes.set_yticks(places, names, parse_math=False)
    axes.set(xlabel=metric, title=f"{metric} by slice, worst first")
    axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    return figure


def importance(build: Path) -> "Figure":
    """Draw what each column is worth to the model, the most first."""
    rows = read_csv(build / "evaluation" / "importance.csv")[:30]
    figure, axes = style.axes(6.4, 1.5 + 0.28 * len(rows))
    value, spread = ([float(row[name]) for row in rows] for name in ("importance", "spread"))
    axes.barh(range(len(rows)), value, xerr=spread, color=style.BLUE, ecolor=style.GREY, capsize=2)
    axes.set_yticks(range(len(rows)), [row["column"][:30] for row in rows], parse_math=False)
    axes.set(xlabel="how much worse the main metric gets", title="Permutation importance, test split")
    axes.invert_yaxis()
    return figure


def occlusion(build: Path) -> "dict[str, Figure]":
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
        '<!doctype html><meta charset="utf-8"><title>What in a text supports the prediction</title>'
        "<style>body{font:16px/1.9 sans-serif;max-width:50em;margin:2em auto}span{padding:.15em .1em;border-radius:3px}"
        "</style><h2>What in a text supports the prediction</h2><p>Blue supports the prediction, orange opposes it: "
        "how much its probability falls or rises when the token is left out.</p>" + "".join(parts) + "\n"
    )
