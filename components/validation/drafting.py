"""Expectations drafted from what the data is like, for a person to review: `slipway ingest` and `slipway expect`.

Each leaves room, so that an ordinary sample of the same data meets it, and says what it was made of. Those on single
rows stand in the section `examples`, those on a column as a whole in `columns`, those on the labels in `classes`.
"""

import datetime
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.validation.profile import Column, Profile, ordered, plain

FEWEST = 50  # rows: fewer say little
MAX_COLUMNS = 200  # of a table with more, only the labels have expectations: thousands would be read by nobody
MAX_SET = 100  # values of a category that are listed
MAX_CLASSES = 50  # labels whose shares are listed
OUTSIDE = 0.01  # share of the rows that may be outside a range, or of an unknown category
ALIKE = 1e-9  # of their size, by which numbers that mean the same may differ
GAPS = 0.02  # room for the share of gaps
MANY = 200  # rows from which on quartiles are sure
SURE = 1000  # rows from which on a row far outside is set aside: fewer may not have shown what is rare
LIGHT = 6.0  # mean excesses that half the range has to hold: then no ordinary row lies beyond
YEAR, DECADE = 365.25 * 86_400e6, 3652.5 * 86_400e6  # microseconds
TREND = 0.9  # rank correlation with the order of the rows: what only rises has no usual end
UNIQUE = 0.9  # share of values that differ, of what tells rows apart
YEARS = (1900, 2100)  # whole numbers in between are years: new ones come


@dataclass(frozen=True)
class Draft:
    """An expectation as the file has it."""

    section: str
    type: str
    kwargs: dict[str, Any]
    notes: str  # what was seen, and how much room there is
    reason: str = ""  # what is wrong with a row that breaks it


def drafts(profile: Profile, labels: dict[str, int], labelled: int | None = None) -> list[Draft]:
    """Return expectations for the columns of a profile, and for labels and how many rows each has.

    `labelled` are the rows that have any; None: each has one label.
    """
    if profile.rows < FEWEST:
        return []
    found: list[Draft] = []
    sample = profile.sample
    for column in profile.columns.values() if len(profile.columns) <= MAX_COLUMNS else ():
        if column.name == "label" and column.kind == "category":  # the labels' shares say it
            continue
        if column.there >= FEWEST and column.kind in ("number", "date"):
            values = plain(sample[column.name])
            found += _number(column, values) if column.kind == "number" else _date(column, values)
        elif column.there >= FEWEST and column.kind == "category":
            found += _category(column, sample[column.name].drop_null().unique(), len(sample))
        found += _gaps(column)
    return found + _classes(labels, sum(labels.values()) if labelled is None else labelled)


def _number(column: Column, values: np.ndarray) -> list[Draft]:
    there = np.sort(values[np.isfinite(values)])
    low, high = column.low, column.high
    if low is None or high is None or len(there) < FEWEST:
        return []
    rises = trend(values)
    if _alike(low, high):
        low = high
    room = (high - low) / 2 or max(abs(high) / 2, 1.0)
    years = column.whole and YEARS[0] <= low and high <= YEARS[1]
    strict = len(there) >= SURE and not rises and _light(there, low, high)
    below, above = low - room, high + max(room, 10 if years else 0)
    if low >= 0 and (not strict or column.zeros > 1 or low - LIGHT * _excess(-there[::-1]) >= 0):
        below = max(below, 0.0)
    kwargs: dict[str, Any] = {"column": column.name}
    if rises >= 0:  # what falls from row to row has no usual lower end
        kwargs["min_value"] = _rounded(below, high - low, math.floor)
    if rises <= 0:
        kwargs["max_value"] = _rounded(above, high - low, math.ceil)
    seen = f"seen: {_shown(low)} to {_shown(high)} in {column.there:,} rows; room: half of the range"
    if rises:
        seen += f", no end where it {'rises' if rises > 0 else 'falls'}"
    found = [_range(column, kwargs, seen, len(there) if not strict else 0)]
    if rises or not len(there):
        return found
    return [*found, *_middle(column.name, there)]


def _range(column: Column, kwargs: dict[str, Any], seen: str, rows: int) -> Draft:
    """Return the expectation of a range; `rows` 0: no row may be outside."""
    if rows:
        share = max(OUTSIDE, 7 / rows)
        kwargs = kwargs | {"mostly": _share(1 - share, math.floor)}
        seen += f"; more than {_percent(1 - kwargs['mostly'])} outside stop the run"
    else:
        seen += "; a row outside is set aside"
    return Draft("examples", "expect_column_values_to_be_between", kwargs, seen, f"{column.name} out of range")


def _middle(name: str, there: np.ndarray) -> list[Draft]:
    """Return an expectation of where the middle of a column lies: another unit, or another column, is elsewhere."""
    far = 0.25 if len(there) >= MANY else 0.4
    low, middle, high = (float(each) for each in np.quantile(there, [0.5 - far, 0.5, 0.5 + far], method="nearest"))
    if not _alike(low, high):
        share = "half" if far == 0.25 else "80 %"
        notes = f"seen: {_shown(middle)}; {share} of the values are from {_shown(low)} to {_shown(high)}"
        kwargs = {"column": name, "min_value": low, "max_value": high}
        return [Draft("columns", "expect_column_median_to_be_between", _plain_numbers(kwargs), notes)]
    if len(there) < 1000:
        return []
    low, upper, high = (float(each) for each in np.quantile(there, [0.9, 0.95, 0.99], method="nearest"))
    if _alike(low, high):
        return []
    wanted = {"quantiles": [0.95], "value_ranges": [[_whole(low), _whole(high)]]}
    notes = f"seen: 5 % of the values are above {_shown(upper)}, 10 % above {_shown(low)}, 1 % above {_shown(high)}"
    kwargs = {"column": name, "quantile_ranges": wanted}
    return [Draft("columns", "expect_column_quantile_values_to_be_between", kwargs, notes)]


def _alike(low: float, high: float) -> bool:
    """Tell whether numbers differ by no more than computing them does."""
    return high - low <= ALIKE * max(abs(low), abs(high))


def _light(there: np.ndarray, low: float, high: float) -> bool:
    """Tell whether no ordinary row lies half a range beyond those that were seen: both tails are light."""
    wide = high - low
    first, last = np.quantile(there, [0.01, 0.99])
    excess = max(_excess(there), _excess(-there[::-1]))
    most = int(np.unique(there, return_counts=True)[1].max())
    return bool(most <= len(there) / 2 and last - first >= wide / 2 and LIGHT * excess <= wide / 2)


def _excess(there: np.ndarray) -> float:
    """Return by how much the largest fiftieth of sorted values lies above the next one, on average."""
    many = max(10, len(there) // 50)
    return float((there[-many:] - there[-many - 1]).mean())


def trend(values: np.ndarray) -> int:
    """Return 1 for values that rise from row to row, nearly all of them, -1 for such that fall, else 0."""
    there = values[np.isfinite(values)]
    if len(there) < FEWEST or there.min() == there.max():
        return 0
    _, inverse, counts = np.unique(there, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # equal values share the middle of theirs
    found = float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])
    return 0 if abs(found) < TREND else int(np.sign(found))


def _date(column: Column, values: np.ndarray) -> list[Draft]:
    if column.low is None or column.high is None:
        return []
    wide = column.high - column.low
    below, above = column.low - max(wide / 2, YEAR), column.high + max(wide, DECADE)
    kwargs: dict[str, Any] = {"column": column.name}
    kwargs |= {"min_value": _day(below), "max_value": _day(above)}
    seen = f"seen: {_day(column.low).date()} to {_day(column.high).date()} in {column.there:,} rows; room: half of "
    seen += "that time before, and ten years or as much again after"
    return [_range(column, kwargs, seen, int(np.isfinite(values).sum()))]


def _category(column: Column, different: Any, rows: int) -> list[Draft]:
    """Return which values a category has; of one with very many, how long they are, and that they differ."""
    name, there = column.name, column.there
    new = sum(count == 1 for count in column.counts.values()) / there  # of the next rows (Good and Turing)
    if not column.more and len(column.counts) <= MAX_SET and new <= OUTSIDE:
        share = max(OUTSIDE, 7 / there, 3 * new + 5 * math.sqrt(new / there))
        mostly = _share(1 - share, math.floor)
        kwargs = {"column": name, "value_set": sorted(column.counts), "mostly": mostly}
        first, count = next(ordered(column.counts))
        seen = f"seen: {_counted(len(column.counts), 'value')} in {there:,} rows, most often {first[:50]!r} "
        seen += f"({_percent(count / there)}); more than {_percent(1 - mostly)} of others stop the run"
        return [Draft("examples", "expect_column_values_to_be_in_set", kwargs, seen, f"{name} unknown")]
    lengths = np.array([len(text) for text in column.counts])
    longest = int(lengths.max())
    share = max(OUTSIDE, 7 / there)
    kwargs = {
        "column": name,
        "min_value": 1,
        "max_value": max(2 * longest, 10),
        "mostly": _share(1 - share, math.floor),
    }
    seen = f"seen: {'more than ' if column.more else ''}{_counted(len(column.counts), 'value')} of up to {longest} "
    seen += f"characters in {there:,} rows; room: as many again"
    found = [Draft("examples", "expect_column_value_lengths_to_be_between", kwargs, seen, f"{name} too long or empty")]
    if (unique := len(different) / max(rows - column.gaps * rows, 1)) >= UNIQUE and there >= MANY:
        notes = f"seen: {_percent(min(unique, 1.0))} of the values are different, as of what tells rows apart"
        wanted = {"column": name, "min_value": 0.5}
        found.append(Draft("columns", "expect_column_proportion_of_unique_values_to_be_between", wanted, notes))
    return found


def _gaps(column: Column) -> list[Draft]:
    """Return how many values of a column may be missing."""
    share, rows = column.gaps, column.rows
    if share > 0.5 and column.there < 2 * FEWEST:  # a few values more or less say nothing
        return []
    near = (column.missing + 2) / (rows + 4)  # Agresti and Coull (1998): none among few may be some among many
    noise = 5 * math.sqrt(near * (1 - near) / rows)
    allowed = min(share + max(GAPS, share / 2, noise, 5 / rows), 1 - (1 - share) / 4)
    least = _share(1 - allowed, math.floor)
    if least <= 0:
        return []
    seen = f"seen: {_percent(share)} missing in {rows:,} rows" if share else f"seen: none missing in {rows:,} rows"
    notes = f"{seen}; up to {_percent(1 - least)} may be"
    kwargs = {"column": column.name, "min_value": least}
    return [Draft("columns", "expect_column_proportion_of_non_null_values_to_be_between", kwargs, notes)]


def _classes(labels: dict[str, int], total: int) -> list[Draft]:
    """Return what share of the rows each label may have: half of it, or half of the way to all rows."""
    found = []
    for label, count in labels.items() if len(labels) <= MAX_CLASSES and total >= FEWEST else ():
        share = count / total
        noise = 5 * math.sqrt(share * (1 - share) / total)
        low, high = _share(share / 2 - noise, math.floor), _share((1 + share) / 2 + noise, math.ceil)
        if low <= 0 or '"' in label or "\\" in label or "\n" in label:
            continue
        kwargs: dict[str, Any] = {"column": "fraction", "min_value": low}
        kwargs |= {"max_value": high} if high < 1 else {}
        kwargs |= {"row_condition": f'label == "{label}"', "condition_parser": "pandas"}
        notes = f"seen: {_percent(share)} of {total:,} rows are {label!r}; room: half of that, or half way to all rows"
        found.append(Draft("classes", "expect_column_values_to_be_between", kwargs, notes))
    return found


def _rounded(value: float, wide: float, towards: Any) -> float | int:
    """Round outwards to two digits of the range, so that people can read it."""
    step = 10.0 ** (math.floor(math.log10(wide or abs(value) or 1)) - 1)
    found = towards(value / step) * step
    return _whole(float(f"{found:.12g}"))


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def _plain_numbers(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: _whole(value) if isinstance(value, float) else value for name, value in kwargs.items()}


def _share(value: float, towards: Any) -> float:
    return float(f"{towards(value * 1000 + (-1e-9 if towards is math.ceil else 1e-9)) / 1000:.3f}")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _day(microseconds: float) -> datetime.datetime:
    """Return the day of a time; of one before the year 1 or after 9999 the first or last that there is."""
    day = datetime.datetime(1970, 1, 1)
    days = int(microseconds // 86_400e6)
    return day + datetime.timedelta(days=min(max(days, -719_162), 2_932_896))
