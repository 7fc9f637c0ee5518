"""Where data is unlike other data: a file among the files of a dataset, and a dataset beside an older version of it.

How far apart two columns are is the largest distance of their cumulative shares (Kolmogorov and Smirnov), of categories
half the sum of the differences of their shares (total variation): 0 the same, 1 nothing in common.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from components import brief
from components.validation.advice import codes
from components.validation.drafting import FEWEST
from components.validation.profile import FILE, Column, Profile, ordered, plain

NAME = "columns.json"  # in build/validation
FAR = 0.3  # distance of a file's values from those of the others that is told
MOVED = 0.1  # distance of a column from the same in an older version that is told
MANY = 100  # different values: a category with more is known by its gaps alone
SHOWN = 10  # columns that have moved
QUANTILES = 51  # of a number, in equal steps


def of_files(profile: Profile) -> list[tuple[str, str, str]]:
    """Return where a file is unlike all others: file, column, and what differs."""
    found = []
    sample = profile.sample
    names = sample[FILE].to_numpy(zero_copy_only=False) if len(profile.files) > 1 else np.empty(0)
    for file, columns in profile.files.items() if len(profile.files) > 1 else ():
        for name, own in columns.items():
            others = [each[name].gaps for other, each in profile.files.items() if other != file and name in each]
            if own.rows < FEWEST or not others:
                continue
            rest = float(np.median(others))
            if abs(own.gaps - rest) >= FAR:
                found.append((file, name, f"{100 * own.gaps:.3g} % missing; in other files {100 * rest:.3g} %"))
                continue
            mine = names == file
            distance, noise = _distance(sample[name], mine)
            if distance > FAR + noise:
                found.append((file, name, f"other values than in the other files (distance {distance:.2f} of 1)"))
    return found


def _distance(values: pa.ChunkedArray, mine: np.ndarray) -> tuple[float, float]:
    """Return how far rows are from the others, by Kolmogorov and Smirnov or total variation, and what chance brings."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        groups = codes(values)
        wide = int(groups.max()) + 1 if len(groups) else 1
        return _shares(*(np.bincount(groups[rows], minlength=wide) for rows in (mine, ~mine)))
    numbers = plain(values)
    one, two = (np.sort(numbers[rows & np.isfinite(numbers)]) for rows in (mine, ~mine))
    if min(len(one), len(two)) < FEWEST:
        return 0.0, 1.0
    return _steps(one, two, len(one), len(two))


def _shares(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """Return how far apart two counts of the same values are, and what chance brings; of few rows nothing is known."""
    if min(one.sum(), two.sum()) < FEWEST or len(one) > MANY:
        return 0.0, 1.0
    noise = np.sqrt(len(one) / one.sum()) / 2 + np.sqrt(len(one) / two.sum()) / 2
    return float(np.abs(one / one.sum() - two / two.sum()).sum() / 2), float(noise)


def _steps(one: np.ndarray, two: np.ndarray, rows: int, others: int) -> tuple[float, float]:
    """Return how far apart sorted numbers, or quantiles, of two samples are, and what chance brings to so many rows."""
    every = np.concatenate([one, two])
    gap = np.searchsorted(one, every, side="right") / len(one) - np.searchsorted(two, every, side="right") / len(two)
    return float(np.abs(gap).max()), 1.6 * float(np.sqrt(1 / rows + 1 / others))


def described(profile: Profile, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return what `of_versions` needs to know of a dataset, as JSON has it: quantiles and counts, none of its rows."""
    sample = profile.sample
    columns = [column for name, column in profile.columns.items() if name not in leave_out]
    return {"rows": profile.rows, "columns": {each.name: _described(each, sample[each.name]) for each in columns}}


def _described(column: Column, sample: pa.ChunkedArray) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": column.kind, "rows": column.rows, "missing": column.missing}
    if column.kind == "number":
        numbers = plain(sample)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            at = np.linspace(0, 1, QUANTILES)
            found |= {"sampled": len(numbers), "quantiles": np.quantile(numbers, at, method="inverted_cdf").tolist()}
    elif column.kind in ("category", "boolean") and not column.more and len(column.counts) <= MANY:
        found["values"] = dict(ordered(column.counts))
    return found


def of_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the columns in which a dataset differs from an older version, the furthest first, each with how.

    Both are as `described` has them. Dates are left out: they move on. What moves less than MOVED, or no more than
    chance brings, is not told.
    """
    old, new = before["columns"], now["columns"]
    found = [(1.0, name, "is new") for name in new if name not in old]
    found += [(1.0, name, "is gone") for name in old if name not in new]
    for name in new:
        if name in old and (moved := _moved(old[name], new[name])) is not None:
            found.append((moved[0], name, moved[1]))
    return [(name, text) for _, name, text in sorted(found, key=lambda each: -each[0])]


def told(moved: Sequence[tuple[str, str]]) -> list[str]:
    """Say which columns have moved, a line each; of many, the first."""
    lines = [f"{name}: {text}" for name, text in moved[:SHOWN]]
    more = [f"and {len(moved) - SHOWN:,} more columns"] if len(moved) > SHOWN else []
    return [*lines, *more] or ["no column has moved"]


def _moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return how far a column has moved, and how, in words; None where it has not."""
    if old["kind"] != new["kind"]:
        return 1.0, f"{new['kind']} values, before {old['kind']}"
    if min(old["rows"], new["rows"]) < FEWEST:
        return None
    gaps = [each["missing"] / each["rows"] for each in (old, new)]
    if (apart := abs(gaps[1] - gaps[0])) >= MOVED:
        return apart, f"{_percent(gaps[1])} missing, before {_percent(gaps[0])}"
    if "quantiles" in old and "quantiles" in new:
        one, two = (np.array(each["quantiles"]) for each in (old, new))
        distance, noise = _steps(one, two, old["sampled"], new["sampled"])
        middles = [brief(each["quantiles"][QUANTILES // 2]) for each in (new, old)]
        text = f"median {middles[0]}, before {middles[1]}" if middles[0] != middles[1] else "spread otherwise"
    elif "values" in old and "values" in new:
        names = list(dict.fromkeys([*new["values"], *old["values"]]))
        counts = [np.array([each["values"].get(name, 0) for name in names], float) for each in (old, new)]
        distance, noise = _shares(*counts)
        if noise == 1:
            return None
        shares = [each / each.sum() for each in counts]
        most = int(np.abs(shares[1] - shares[0]).argmax())
        text = f"{names[most]!r} {_percent(shares[1][most])}, before {_percent(shares[0][most])}"
    else:
        return None
    return (distance, f"{text} (distance {distance:.2f} of 1)") if distance > MOVED + noise else None


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
