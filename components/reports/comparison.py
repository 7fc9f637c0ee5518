"""What changed from one training to another and what it brought, as a table for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components import brief
from components.evaluation import metrics
from components.evaluation.bootstrap import Difference
from components.reports import results
from components.reports.lineage import aligned, number
from components.validation import drift

WIDTH = 100  # characters of a line
LEAST = 12  # characters of a value, however long the names are
MAX_FILES = 4  # files of code that are named


@dataclass(frozen=True)
class Side:
    """One of the two: what it is called, and what is known of it."""

    title: str
    settings: Mapping[str, Any]  # train.epochs -> 3
    data: str = ""  # its digest
    rows: Mapping[str, int] = field(default_factory=dict)  # split -> examples
    split: Mapping[str, Any] = field(default_factory=dict)  # the rule that was followed
    code: Mapping[str, str] = field(default_factory=dict)  # path -> digest
    folder: str = ""  # of a model that has its files in one: models/NAME
    packages: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the test split
    costs: Mapping[str, float] = field(default_factory=dict)
    ships: str = ""  # which candidate, by its name
    columns: Mapping[str, Any] = field(default_factory=dict)  # what those of the data are like (validation/drift.py)


@dataclass(frozen=True)
class Pairs:
    """The metrics of both on the same examples."""

    metrics: Mapping[str, Difference] = field(default_factory=dict)
    rows: int = 0  # examples that are test for both
    of: int = 0  # test examples of the new one
    confidence: float = 0.95
    problem: str = ""  # why there are none


def text(old: Side, new: Side, pairs: Pairs, shown: Sequence[str]) -> list[str]:
    """Return the lines: what differs, the metrics that `shown` names and what both cost."""
    changed = [*_settings(old, new), *_data(old, new), *_code(old, new)]
    if old.ships and new.ships and old.ships != new.ships:
        changed.append(["what ships", old.ships, new.ships])
    lines = [f"{old.title} -> {new.title}", ""]
    lines += ["what changed", *(_fitting(changed) if changed else ["  nothing that determines the result"]), ""]
    if old.columns and new.columns and old.data != new.data:
        rows, moved = drift.of_versions(old.columns, new.columns)
        lines += [f"how the data moved: {rows}", *(f"  {line}" for line in drift.told(moved)), ""]
    lines += _paired(pairs) if pairs.metrics else _alone(old, new, pairs, shown)
    if costs := _costs(old, new):
        lines += ["", "what it costs", *_fitting(costs)]
    return lines


def _settings(old: Side, new: Side) -> list[list[str]]:
    names = dict.fromkeys([*new.settings, *old.settings])
    absent = "not set"
    return [
        [name, *_both(old.settings.get(name, absent), new.settings.get(name, absent))]
        for name in names
        if old.settings.get(name, absent) != new.settings.get(name, absent)
    ]


def _both(old: Any, new: Any) -> tuple[str, str]:
    """Spell two values; of two long lists only what comes and goes."""
    if isinstance(old, list) and isinstance(new, list) and len(str(old)) + len(str(new)) > WIDTH // 2:
        gone, come = ([each for each in one if each not in other] for one, other in ((old, new), (new, old)))
        told = [*(f"-{each}" for each in gone), *(f"+{each}" for each in come)]
        before, now = (f"{len(each):,} value{'s' * (len(each) != 1)}" for each in (old, new))
        return before, f"{now}: {' '.join(told) or 'in another order'}"
    return _spelled(old), _spelled(new)


def _spelled(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _data(old: Side, new: Side) -> list[list[str]]:
    rows = []
    if old.data != new.data:
        rows.append(["data", old.data[:8] or "not versioned", new.data[:8] or "not versioned"])
    before, now = sum(old.rows.values()), sum(new.rows.values())
    if old.rows and new.rows and old.rows != new.rows:
        rows += [["rows", f"{before:,}", f"{now:,} ({now - before:+,})"]] if now != before else []
        rows += [
            [f"rows for {name}", f"{old.rows.get(name, 0):,}", f"{count:,}"]
            for name, count in new.rows.items()
            if old.rows.get(name, 0) != count
        ]
    known = {
        name for name in new.settings if name.startswith("split.") and old.settings.get(name) != new.settings[name]
    }
    if old.split != new.split and old.data == new.data and not known:  # such as by other code
        rows.append(["split", "as it was", "another one"])
    return rows


def _code(old: Side, new: Side) -> list[list[str]]:
    rows = [
        [f"package {name}", old.packages.get(name, "none"), new.packages.get(name, "none")]
        for name in dict.fromkeys([*old.packages, *new.packages])
        if old.packages and new.packages and old.packages.get(name) != new.packages.get(name)
    ]
    files = [
        path
        for path in dict.fromkeys([*new.code, *old.code])
        if old.code and new.code and old.code.get(path) != new.code.get(path)
    ]
    rows += [[_file(path, new), old.code.get(path, "")[:8], new.code.get(path, "")[:8]] for path in files]
    return rows


def _file(path: str, side: Side) -> str:
    """Name a file that a stage depends on; the expectations of a model with a folder of its own lie there."""
    if path.startswith("components/"):
        return f"code {path}"
    return f"file {side.folder}/expectations.yaml" if side.folder else f"file {path}"


def _paired(pairs: Pairs) -> list[str]:
    of = f"{pairs.rows:,}" if pairs.rows == pairs.of else f"the {pairs.rows:,} of {pairs.of:,}"
    both = "" if pairs.rows == pairs.of else " that are test for both"
    title = f"what it brought: {of} test examples{both}, in pairs; {pairs.confidence:.0%} intervals"
    rows = [["metric", "old", "new", "better by", "interval", ""]]
    for name, apart in pairs.metrics.items():
        lower = " (lower is better)" if name in metrics.LOWER else ""
        interval = f"[{brief(apart.low, '+')}, {brief(apart.high, '+')}]"
        rows.append(
            [
                f"{name}{lower}",
                number(apart.other),
                number(apart.value),
                brief(apart.better, "+"),
                interval,
                _said(apart),
            ]
        )
    return [title, *(f"  {line}" for line in aligned(rows))]


def _said(apart: Difference) -> str:
    if apart.low == apart.high == 0:
        return "the same"
    return "better" if apart.low > 0 else "WORSE" if apart.high < 0 else "may be chance"


def _alone(old: Side, new: Side, pairs: Pairs, shown: Sequence[str]) -> list[str]:
    """Return the metrics of each on its own test split, which no interval holds together."""
    names = [name for name in shown if name in old.metrics and name in new.metrics]
    if not names:  # such as of a classifier and a regression model
        why = f"{pairs.problem}, and " if pairs.problem else ""
        return [
            f"what it brought cannot be said: {why}no metric is known of both",
            "  (settings, data, code and costs are compared all the same)",
        ]
    why = pairs.problem or "there are no pairs of predictions"
    lines = ["what it brought, each on its own test split, without intervals of the difference:", f"  ({why})"]
    rows = [[name, number(old.metrics[name]), number(new.metrics[name])] for name in names]
    return [*lines, *(f"  {line}" for line in aligned([["metric", "old", "new"], *rows]))]


def _costs(old: Side, new: Side) -> list[list[str]]:
    wanted = ("train_seconds", "fit_seconds", "train_peak_memory_mb", "latency_ms", *results.SIZES)
    return [
        [name, *(number(side.costs[name]) if name in side.costs else "unknown" for side in (old, new))]
        for name in wanted
        if name in old.costs or name in new.costs
    ]


def _fitting(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows of name, old and new as lines that fit: values that are too long end with dots."""
    rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    names = max(len(row[0]) for row in rows)
    room = max(LEAST, WIDTH - names - 10)  # of both values
    old = min(max(len(row[1]) for row in rows), max(room // 2, room - max(len(row[2]) for row in rows)))
    cut = [[row[0], _cut(row[1], old), "->", _cut(row[2], max(LEAST, room - old))] for row in rows]
    return [f"  {line}" for line in aligned(cut)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
