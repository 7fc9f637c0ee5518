"""Where data is unlike other data: a file among the files of a dataset, and a dataset beside an older version of it.

How far apart two columns are is the largest distance of their cumulative shares (Kolmogorov and Smirnov), of categories
half the sum of the differences of their shares (total variation): 0 the same, 1 nothing in common.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from components import brief
from components.validation.advice import codes
from components.validation.drafting import FEWEST
from components.validation.profile import FILE, Column, Profile, ordered, plain

NAME = "columns.json"  # in build/validation
FAR = 0.2  # distance of a file's values from those of the others that is told
MOVED = 0.1  # distance of a column from the same in an older version that is told
MANY = 100  # different values: a category with more is known by its gaps alone
SHOWN = 10  # columns that have moved
MOST = 10  # files that are unlike the others in a column
QUANTILES = 201  # of a number, in equal steps


def of_files(profile: Profile) -> list[tuple[str, str, str]]:
    """Return where a file is unlike all others: file, column, and what differs. Dates are left out: they move on.

    The file furthest from the others comes first and is then none of them: else these would be unlike it.
    """
    found: list[tuple[str, str, str]] = []
    if len(profile.files) < 2:
        return found
    sample = profile.sample
    of = sample[FILE].to_numpy(zero_copy_only=False)
    for name, column in profile.columns.items():
        own = {file: each[name] for file, each in profile.files.items() if name in each and each[name].rows >= FEWEST}
        if column.kind == "date" or len(own) < 2:
            continue
        alike = list(own)
        for file, each in own.items():
            rest = float(np.median([known.gaps for other, known in own.items() if other != file]))
            if abs(each.gaps - rest) >= FAR:
                found.append((file, name, f"{_percent(each.gaps)} missing; in other files {_percent(rest)}"))
                alike.remove(file)
        values = _comparable(sample[name])
        parts = {file: values[of == file] for file in alike}
        for _ in range(min(MOST, len(parts) - 1)):
            apart = _apart(parts)
            file = max(parts, key=lambda each: apart[each][0] - apart[each][1])
            distance, noise = apart[file]
            if distance <= FAR + noise:
                break
            found.append((file, name, f"other values than in the other files (distance {distance:.2f} of 1)"))
            del parts[file]
    files, columns = list(profile.files), list(profile.columns)
    return sorted(found, key=lambda each: (files.index(each[0]), columns.index(each[1])))


def _comparable(values: pa.ChunkedArray) -> np.ndarray:
    """Return numbers as they are, NaN where one is missing, and groups of texts as int64."""
    return codes(values) if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) else plain(values)


def _apart(parts: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return how far the values of each file are from those of all others, and what chance brings."""
    if next(iter(parts.values())).dtype.kind == "i":
        wide = max(int(values.max(initial=0)) for values in parts.values()) + 1
        counts = {file: np.bincount(values, minlength=wide) for file, values in parts.items()}
        every = np.sum(list(counts.values()), axis=0)
        return {file: _shares(count, every - count) for file, count in counts.items()}
    sorted_ = {file: np.sort(values[np.isfinite(values)]) for file, values in parts.items()}
    whole = np.sort(np.concatenate(list(sorted_.values())))
    found = {}
    for file, own in sorted_.items():
        rest = len(whole) - len(own)
        if min(len(own), rest) < FEWEST:
            found[file] = 0.0, 1.0
            continue
        distance = 0.0
        for side in ("left", "right"):  # between its own values a file's share stands still
            mine = np.searchsorted(own, own, side)
            others = np.searchsorted(whole, own, side) - mine
            distance = max(distance, float(np.abs(mine / len(own) - others / rest).max()))
        found[file] = distance, _by_chance(len(own), rest)
    return found


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
    return float(np.abs(gap).max()), _by_chance(rows, others)


def _by_chance(rows: int, others: int) -> float:
    """Return the distance that two samples of the same numbers exceed in a hundredth of the cases."""
    return 1.63 * float(np.sqrt(1 / rows + 1 / others))


def described(profile: Profile, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return what `of_versions` needs to know of a dataset, as JSON has it: quantiles and counts, none of its rows."""
    sample = profile.sample
    columns = [column for name, column in profile.columns.items() if name not in leave_out]
    return {
        "rows": profile.rows,
        "files": {name: _digest(own) for name, own in profile.files.items()},
        "columns": {each.name: _described(each, sample[each.name]) for each in columns},
    }


def _digest(columns: Mapping[str, Column]) -> str:
    """Hash what is known of a file's rows: what was found again in a newer version is the same file."""
    text = json.dumps([asdict(column) for column in columns.values()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def of_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Return how a dataset differs from an older version: which rows were held beside which, and what columns moved.

    Both are as `described` has them. Where all files of the older one are still there, what came since is held beside
    it: in the whole, a month of other values would hardly be seen. The column that moved furthest comes first, each
    with how. Dates are left out: they move on. What moves less than MOVED, or no more than chance brings, is not told.
    """
    old, new = before["columns"], now["columns"]
    rows = f"{now['rows']:,} rows beside {before['rows']:,}"
    if added := _added(before, now):
        new, rows = added, f"the {now['rows'] - before['rows']:,} rows that were added beside the {before['rows']:,}"
    found = [(1.0, name, "is new") for name in new if name not in old]
    found += [(1.0, name, "is gone") for name in old if name not in new]
    for name in new:
        if name in old and (moved := _moved(old[name], new[name])) is not None:
            found.append((moved[0], name, moved[1]))
    return rows, [(name, text) for _, name, text in sorted(found, key=lambda each: -each[0])]


def _added(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of what was added to a dataset: all of now less what was there; empty where more changed."""
    old, new = before["columns"], now["columns"]
    lost = Counter(before["files"].values()) - Counter(now["files"].values())
    kinds = [{name: each["kind"] for name, each in columns.items()} for columns in (old, new)]
    if lost or now["rows"] <= before["rows"] or kinds[0] != kinds[1]:
        return {}
    return {name: _less(new[name], old[name]) for name in new}


def _less(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Take the rows of a part out of what is known of a column's whole."""
    found = {"kind": whole["kind"], **{name: whole[name] - part[name] for name in ("rows", "missing")}}
    there, before = (each["rows"] - each["missing"] for each in (whole, part))
    if "values" in whole and "values" in part:
        found["values"] = {name: count - part["values"].get(name, 0) for name, count in whole["values"].items()}
    elif "quantiles" in whole and "quantiles" in part and there > before:
        every, some = (np.array(each["quantiles"]) for each in (whole, part))
        at = np.unique(np.concatenate([every, some]))
        shares = [np.searchsorted(each, at, side="right") / len(each) for each in (every, some)]
        share = np.maximum.accumulate((there * shares[0] - before * shares[1]) / (there - before))
        steps = np.linspace(1 / QUANTILES, 1, QUANTILES)
        found["quantiles"] = at[np.minimum(np.searchsorted(share, steps - 1e-9), len(at) - 1)].tolist()
        times = there / (there - before)  # what is not exact of the whole is as much less exact of the rest
        all_there = whole["sampled"] == there
        found["sampled"] = there - before if all_there else max(int(whole["sampled"] / times**2), 1)
        found["blur"] = 2 * times / QUANTILES
    return found


def told(moved: Sequence[Sequence[str]]) -> list[str]:
    """Say which columns have moved, each a name and how, a line each; of many, the first."""
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
    noise = 2 * np.sqrt(sum(gap * (1 - gap) / each["rows"] for gap, each in zip(gaps, (old, new), strict=True)))
    if (apart := abs(gaps[1] - gaps[0])) >= MOVED + noise:
        return apart, f"{_percent(gaps[1])} missing, before {_percent(gaps[0])}"
    if "quantiles" in old and "quantiles" in new:
        one, two = (np.array(each["quantiles"]) for each in (old, new))
        distance, noise = _steps(one, two, old["sampled"], new["sampled"])
        noise += new.get("blur", 0.0)
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
