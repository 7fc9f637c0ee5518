"""What a person sees of the columns in the data report: ranges, gaps, a histogram, and what each tells of the label."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from components.validation import advice
from components.validation.drafting import FEWEST
from components.validation.profile import Column, Profile, ordered, plain

MAX_COLUMNS = 200  # that the page shows
BINS = 24  # of a histogram
WIDE, HIGH = 216, 48  # pixels of one
TOP = 5  # values of a category
MAX_CLASSES = 6  # that have a colour each
ENDS = (0.005, 0.995)  # of the values, between which a histogram is drawn


Box = tuple[float, float, float, float]  # x, y, width and height in pixels


@dataclass(frozen=True)
class Bar:
    """A value of a category: its share of the rows, and that of each class within it."""

    text: str
    share: float
    parts: list[float]


@dataclass(frozen=True)
class View:
    """A column as the page shows it."""

    name: str
    kind: str
    gaps: float
    facts: list[str]
    bars: list[Bar] = field(default_factory=list)
    more: int = 0  # values that have no bar
    histogram: list[list[Box]] = field(default_factory=list)  # of each class
    line: str = ""  # points of the mean label
    ends: tuple[str, str] = ("", "")
    tells: float | None = None  # of the label, 0 to 1


def views(profile: Profile, classes: list[str]) -> list[View]:
    """Return the columns of a dataset, at most MAX_COLUMNS; `classes` are those that have a colour."""
    sample = profile.sample
    label = sample["label"] if "label" in sample.column_names else None
    found = []
    for column in list(profile.columns.values())[:MAX_COLUMNS]:
        if column.name == "label" and column.kind == "category":
            continue
        other = label if column.name != "label" else None
        found.append(_view(column, sample[column.name], other, classes))
    return found


def coloured(names: Iterable[str]) -> list[str]:
    """Return the classes that have a colour each: all, or none where they are too many to tell apart."""
    listed = list(names)
    return listed if 1 < len(listed) <= MAX_CLASSES else []


def _view(column: Column, values: pa.ChunkedArray, label: pa.ChunkedArray | None, classes: list[str]) -> View:
    tells = advice.related(values, label) if label is not None and column.there else None
    if column.kind in ("number", "date"):
        return _numbers(column, plain(values), label, classes, tells)
    texts = [None if value is None else _text(value) for value in values.to_pylist()]
    lengths = [len(text) for text in column.counts] or [0]
    if sum(lengths) / len(lengths) > advice.MAX_TEXT:
        return View(column.name, "text", column.gaps, [f"up to {max(lengths):,} characters"])
    answers = label.to_pylist() if label is not None and classes else []
    bars = []
    for text, count in list(ordered(column.counts))[:TOP]:
        own = [answer for answer, other in zip(answers, texts, strict=False) if other == text]
        parts = [own.count(name) / len(own) for name in classes] if own else []
        bars.append(Bar(text, count / max(column.rows, 1), parts))
    different = len(column.counts)
    facts = [f"{'more than ' if column.more else ''}{different:,} different value{'s' * (different != 1)}"]
    return View(column.name, column.kind, column.gaps, facts, bars, different - len(bars), tells=tells)


def _numbers(
    column: Column, values: np.ndarray, label: pa.ChunkedArray | None, classes: list[str], tells: float | None
) -> View:
    there = np.isfinite(values)
    if column.low is None or column.high is None or not there.any():
        return View(column.name, column.kind, column.gaps, ["no value"])
    spell = _day if column.kind == "date" else _number
    if column.low == column.high:
        return View(column.name, column.kind, column.gaps, [f"always {spell(column.low)}"])
    low, high = (float(each) for each in np.quantile(values[there], ENDS))
    if low == high:
        low, high = column.low, column.high
    edges = np.linspace(low, low + (high - low or 1.0), BINS + 1)
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    groups = [there]
    if classes and label is not None and pa.types.is_string(label.type):
        answers = np.array(label.fill_null("").to_pylist(), object)
        groups = [there & (answers == name) for name in classes]
    counts = [np.bincount(at[rows], minlength=BINS) for rows in groups]
    most = max(int(np.sum(counts, axis=0).max()), 1)
    step, under = WIDE / BINS, np.zeros(BINS)
    histogram = []
    for count in counts:
        tall = count * HIGH / most
        boxes = ((bin_ * step, HIGH - under[bin_] - tall[bin_], step - 1, tall[bin_]) for bin_ in np.flatnonzero(count))
        histogram.append([_box(*box) for box in boxes])
        under = under + tall
    middle = float(np.median(values[there]))
    facts = [f"{spell(column.low)} to {spell(column.high)}", f"median {spell(middle)}"]
    if column.kind == "number" and 0 < column.zeros < column.there:
        share = 100 * column.zeros / column.there
        facts.append(f"{min(share, 99.9):.3g} % zeros")
    line = ""
    if label is not None and pa.types.is_floating(label.type):
        line = _line(at, there, plain(label), step)
    return View(column.name, column.kind, column.gaps, facts, [], 0, histogram, line, (spell(low), spell(high)), tells)


def _box(*pixels: float) -> Box:
    x, y, width, height = (round(float(each), 1) for each in pixels)
    return x, y, width, height


def _line(at: np.ndarray, there: np.ndarray, label: np.ndarray, step: float) -> str:
    """Return the points of the mean label in each bin of five rows or more."""
    rows = there & np.isfinite(label)
    if rows.sum() < FEWEST:
        return ""
    low, high = np.quantile(label[rows], [0.05, 0.95])
    count = np.bincount(at[rows], minlength=BINS)
    mean = np.bincount(at[rows], weights=label[rows], minlength=BINS) / np.maximum(count, 1)
    tall = HIGH * (1 - np.clip((mean - low) / (high - low or 1), 0, 1))
    return " ".join(f"{(bin_ + 0.5) * step:.1f},{tall[bin_]:.1f}" for bin_ in range(BINS) if count[bin_] >= 5)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    whole = (value == int(value) or abs(value) >= 1000) and abs(value) < 1e15
    return f"{value:,.0f}" if whole else f"{value:,.4g}"


def _day(microseconds: float) -> str:
    try:
        return str((datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)).date())
    except OverflowError:
        return "out of range"
