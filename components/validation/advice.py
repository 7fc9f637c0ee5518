"""What looks wrong in a dataset, in words: nothing is changed for it. A false alarm costs more than a miss.

By the profile of the data: exact counts of all rows, and a random sample of them.
"""

import hashlib
import re
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa

from components.validation.drafting import FEWEST, MANY, UNIQUE, trend
from components.validation.profile import Column, Profile, plain

BINS = 64  # that a number is cut into, to see what it tells of the label
LEAK = 0.02  # share of the errors of guessing the most frequent label that one column alone leaves
LEAK_SQUARE = 0.995  # share of the label's variance that one column alone explains
FEW = 5  # rows of a value: of fewer, it is none of its own
RARE = 10  # rows of a class: with fewer, some split has none
SENTINEL = re.compile(r"-?9{2,}|-1")  # numbers that stand for a missing one
TOTAL = re.compile(r"(?i)(grand |sub)?-?totals?|sum|summe|gesamt|insgesamt|somme|totale|suma|итого")
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{2,4}([T ].*)?")
DURATION = re.compile(
    r"(?i)(\d+([.,]\d+)? ?(d|h|hrs?|hours?|min|m|s|secs?|days?)\b ?){2,}|\d+ ?(hrs?|hours?|mins?|minutes?)"
)
NEARLY = 0.95  # of the different values
MAX_TEXT = 40  # characters: longer values are texts, which all differ
KNOWN_AT_INGEST = ("constant", "counter", "id", "dates", "rare")  # which an ingest tells by itself
REPEATS = 0.1  # share of the rows beyond the first of each content that is told


def advice(
    profile: Profile, labels: dict[str, int], names: Collection[str] | None = None, *, ingest: bool = False
) -> list[str]:
    """Return what looks wrong in all columns, or in those of `names`, a line each.

    At an `ingest` without what that tells anyway.
    """
    if profile.rows < FEWEST:
        return []
    known = KNOWN_AT_INGEST if ingest else ()
    lines = [text for kind, text in _all(profile, names) if kind not in known]
    if not ingest:
        for label, count in labels.items():
            if 0 < count < RARE:
                lines.append(f"class {label!r}: only {count} rows; too few to learn it, and maybe none to test it")
    return lines


def leaks(profile: Profile, names: Collection[str] | None = None) -> list[str]:
    """Return what `advice` says of columns that tell the label alone."""
    if profile.rows < FEWEST:
        return []
    return [text for _, text in _leaks(_columns(profile, names), profile.sample)]


def repeated(rows: int, contents: int, largest: int) -> list[str]:
    """Tell where many rows have the content of another one: of `rows`, how many differ, and the most of one content."""
    if rows < FEWEST or rows - contents < REPEATS * rows:
        return []
    return [
        f"{rows - contents:,} of {rows:,} rows repeat the content of another one: there are {contents:,} contents, one "
        f"of {largest:,} rows. Split by id, rows of one content are on one side, so the splits' shares may be off and "
        "the rows count for less than they seem (docs/splits.md); if they are different things that look alike, "
        "slipway ingest ... --split-by group=COLUMN splits by a column that tells them apart"
    ]


def _all(profile: Profile, names: Collection[str] | None) -> Iterator[tuple[str, str]]:
    sample, columns = profile.sample, _columns(profile, names)
    for column in columns:
        yield from _column(column, sample)
    yield from _equal(columns, sample)
    yield from _leaks(columns, sample)


def _columns(profile: Profile, names: Collection[str] | None) -> list[Column]:
    return [column for name, column in profile.columns.items() if name != "label" and (names is None or name in names)]


def _column(column: Column, sample: pa.Table) -> Iterator[tuple[str, str]]:
    name = column.name
    if column.missing == column.rows:
        yield "constant", f"{name}: every value is missing"
    elif (column.low is not None and column.low == column.high) or (len(column.counts) == 1 and not column.more):
        if not column.missing:
            yield "constant", f"{name}: the same value in every row, so it tells nothing"
    elif column.kind == "number":
        yield from _numbers(column, plain(sample[name]))
    elif column.kind == "category":
        yield from _texts(column, sample[name])


def _numbers(column: Column, values: np.ndarray) -> Iterator[tuple[str, str]]:
    name, there = column.name, values[np.isfinite(values)]
    different, counts = np.unique(there, return_counts=True)
    if len(different) < 3:
        return
    if column.whole and len(different) == len(there) >= FEWEST and trend(values):
        yield "counter", f"{name}: rises from row to row, like a row number; a model may learn from it when a row came"
        return
    for value, count, rest in (
        (different[0], counts[0], different[1:]),
        (different[-1], counts[-1], different[:-1][::-1]),
    ):
        odd = SENTINEL.fullmatch(f"{value:g}") is not None
        far = abs(value - rest[0]) > max(abs(rest[-1] - rest[0]), 1)
        alone = value == -1 and column.whole and rest[0] >= 0 and abs(rest[-1]) > 10
        if odd and count >= 3 and (far or alone):
            share = f"{100 * count / len(there):.3g} %"
            hint = f"if it stands for a missing one, ingest with --missing={value:g}"
            yield "sentinel", f"{name}: {share} of the values are {value:g}, far from all others; {hint}"
    zeros = column.zeros / max(column.there, 1)
    rest = different[different > 0]
    if different[0] == 0 and 0.005 <= zeros <= 0.6 and column.zeros >= 3 and len(rest) >= 20:
        step = float(np.median(np.diff(rest[:20])))  # how close values are, at the lower end
        if rest[0] > max(5 * step, rest[len(rest) // 2] / 4):
            yield (
                "zeros",
                (
                    f"{name}: {100 * zeros:.3g} % of the values are 0, and no other is below {rest[0]:g}; if 0 "
                    "stands for a missing one, ingest with --missing=0"
                ),
            )


def _texts(column: Column, values: pa.ChunkedArray) -> Iterator[tuple[str, str]]:
    name, there = column.name, values.drop_null()
    texts = list(column.counts)
    if not texts:
        return
    usual = float(np.mean([len(text) for text in texts]))
    for kind, form, what in (("dates", DATE, "dates"), ("duration", DURATION, "durations")):
        if len(texts) > 2 and sum(form.fullmatch(text.strip()) is not None for text in texts) >= NEARLY * len(texts):
            yield (
                kind,
                (
                    f"{name}: looks like {what}, such as {texts[0]!r}, read as categories: write them as numbers"
                    f"{', or ingest with --date' if kind == 'dates' else ', such as minutes'}"
                ),
            )
            return
    if usual <= MAX_TEXT and len(there) >= MANY and len(there.unique()) >= UNIQUE * len(there):
        yield "id", f"{name}: nearly every value stands once, like an id, which says nothing of new rows"
    for text, count in column.counts.items():
        if count <= 2 and len(texts) > 2 and TOTAL.fullmatch(text.strip(" :")):
            yield "total", f"{name}: a row says {text!r}: if that is a total of the others, leave it out (--footer 1)"


def _equal(columns: list[Column], sample: pa.Table) -> Iterator[tuple[str, str]]:
    """Find columns that are the same in every row."""
    found: dict[tuple[object, ...], list[str]] = {}
    for column in columns:
        if column.kind == "boolean" or (column.low == column.high and len(column.counts) < 2):
            continue
        values = sample[column.name].combine_chunks()
        values = values if column.kind == "category" else pa.array(plain(values))
        content = hashlib.sha256(repr(values.to_pylist()).encode("utf-8", "surrogatepass")).digest()
        found.setdefault((column.kind, column.missing, column.low, column.high, content), []).append(column.name)
    for names in found.values():
        if len(names) > 1:
            yield "equal", f"{' and '.join(names)}: the same in every row; one is enough (--drop {names[-1]})"


def _leaks(columns: list[Column], sample: pa.Table) -> Iterator[tuple[str, str]]:
    """Find columns that alone tell the label."""
    if "label" not in sample.column_names:
        return
    label = sample["label"]
    numeric = pa.types.is_floating(label.type)
    answers = plain(label) if numeric else np.unique(label.fill_null("").to_pylist(), return_inverse=True)[1]
    there = ~np.isnan(answers) if numeric else ~label.is_null().to_numpy()
    answers = answers[there]
    if len(answers) < 2 * FEWEST or len(set(answers.tolist())) < 2:
        return
    for column in columns:
        name = column.name
        if column.there < FEWEST:
            continue
        groups = codes(sample[name])[there]
        if numeric:
            told = _explained(groups, answers) >= LEAK_SQUARE
        else:
            base = 1 - np.bincount(answers).max() / len(answers)
            told = base * len(answers) >= RARE and _errors(groups, answers) <= LEAK * base
        if told:
            yield (
                "leak",
                (
                    f"{name}: alone tells the label, nearly without an error; if it is known only once that is, "
                    f"leave it out (--drop {name})"
                ),
            )


def codes(values: pa.ChunkedArray) -> np.ndarray:
    """Cut a column into groups, `(n,)` int64: of values, or of bins of a number or date; a missing one is a group."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.unique(values.fill_null("").to_pylist(), return_inverse=True)[1]
    numbers = plain(values)
    there = np.isfinite(numbers)
    edges = np.unique(numbers[there])
    if len(edges) > BINS:
        edges = np.unique(np.quantile(numbers[there], np.linspace(0, 1, BINS + 1)))
    found: np.ndarray = np.where(there, np.searchsorted(edges, numbers, side="right"), len(edges) + 1)
    return found


def _errors(groups: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of rows whose label is not the most frequent one of the others of their group."""
    table = np.zeros((groups.max() + 1, answers.max() + 1), np.int64)
    np.add.at(table, (groups, answers), 1)
    most = table.argmax(axis=1)
    rows = np.arange(len(table))
    best = table[rows, most]
    table[rows, most] = -1
    second = table.max(axis=1)
    # without the row itself, the most frequent one of its group wins only if it leads by two
    return float(1 - best[best - 1 > second].sum() / len(answers))


def _explained(groups: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of the variance of numbers that the means of groups explain, each without the row itself."""
    count = np.bincount(groups).astype(float)
    total = np.bincount(groups, weights=answers)
    others = (total[groups] - answers) / np.maximum(count[groups] - 1, 1)
    guess = np.where(count[groups] > 1, others, answers.mean())
    variance = ((answers - answers.mean()) ** 2).mean()
    return float(1 - ((answers - guess) ** 2).mean() / variance) if variance else 0.0


def related(values: pa.ChunkedArray, label: pa.ChunkedArray) -> float | None:
    """Return how much of the label a column tells by itself: 0 nothing, 1 all; None where that cannot be said.

    The share of the label's variance that lies between groups of the column's values, less what chance puts there:
    epsilon squared (Kelley 1935, "An unbiased correlation ratio measure"). Of classes, whose variance is the chance
    that two rows differ, it is Goodman and Kruskal's tau (1954), adjusted likewise (Light and Margolin 1971).
    """
    number = pa.types.is_floating(label.type)
    if not number and not pa.types.is_string(label.type):
        return None
    there = np.isfinite(plain(label)) if number else label.is_valid().to_numpy()
    rows = int(there.sum())
    if rows < FEWEST:
        return None
    groups = _groups(values.filter(pa.array(there)))
    count = np.bincount(groups).astype(float)
    if number:
        answers = plain(label)[there]
        answers = answers - answers.mean()  # else the squares of large numbers drown their differences
        whole = float((answers**2).sum())
        between = float((np.bincount(groups, weights=answers) ** 2 / np.maximum(count, 1)).sum())
    else:
        answers = np.unique(label.drop_null().to_pylist(), return_inverse=True)[1]
        if (wide := int(answers.max()) + 1) > MANY:
            return None
        table = np.bincount(groups * wide + answers, minlength=len(count) * wide).reshape(-1, wide)
        whole = rows - float((table.sum(axis=0) ** 2.0).sum()) / rows
        between = whole - rows + float(((table**2.0).sum(axis=1) / np.maximum(count, 1)).sum())
    free = rows - np.count_nonzero(count)
    if whole <= 0 or free < 1:
        return None
    return float(np.clip(1 - (1 - between / whole) * (rows - 1) / free, 0, 1))


def _groups(values: pa.ChunkedArray) -> np.ndarray:
    """Put a column's values into few groups for its rows, `(n,)` int64: each value, or bins of numbers of equal counts.

    As many bins as a histogram has by the Rice rule, 2 times the cube root of the rows. Values of few rows are a group
    together, a missing value is one of its own.
    """
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        coded = values.combine_chunks().dictionary_encode()
        found = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    else:
        numbers = plain(values)
        there = np.isfinite(numbers)
        edges = np.unique(numbers[there])
        bins = min(BINS, round(2 * np.cbrt(there.sum())))
        if len(edges) > bins:
            edges = np.unique(np.quantile(numbers[there], np.linspace(0, 1, bins + 1)[:-1]))
        found = np.where(there, np.searchsorted(edges, numbers, side="right"), len(edges) + 1)
    count = np.bincount(found)
    gathered: np.ndarray = np.where(count[found] < FEW, len(count), found)
    return gathered
