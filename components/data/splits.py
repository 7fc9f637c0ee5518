"""Which split an example belongs to, by a rule; and what a bootstrap draws as one.

A rule is plain JSON: build/arrays/manifest.json keeps it, and any example can be asked later on which side it is.

    by, column     id, group or time; the column of the groups or times
    seed           of the hash
    test           share of the examples, and `validation` of those outside test
    official       the splits that the dataset's own column `split` names; they take precedence
    gap            by time: distinct values left out before each cut; null: the cuts are by shares of the rows
    starts         by time: of validation and of test the value that it begins with, and that its gap begins with
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data.dataset import KEY_DIGITS, SPLITS

Rule = dict[str, Any]
TEST = SPLITS.index("test")
LEFT_OUT = -1  # in place of a split: in a gap, or without a time
POINT = re.compile(r"[+-]?\d+\.0+")
MIN_GROUPS = 10  # of a test split, for intervals that say something
MAX_SEARCHED = 1000  # rows for which another seed is looked for
OFF = 0.1  # of a share: by how much a split may be larger or smaller than asked for
FEW_COPIES = 0.9  # different contents among examples, as a share: with more, copies matter to no interval
MIN_BLOCKS = 10  # blocks of a test split, as far as it has as many times


def make(
    by: str,
    column: str | None,
    shares: tuple[float, float],
    seed: int,
    parts: Sequence[pa.Table],
    gap: int | None = None,
) -> Rule:
    """Make the rule that splits a dataset: `parts` are its rows, with `id`, `split` and the column.

    `shares` are those of test and of validation. By time the last values go to test, those before to validation, equal
    ones to the same side. The shares are of the rows; with a `gap` they are of the distinct values, and as many of
    these as it says are left out before each cut: what is known of them reaches into the next split.

    Raises SlipwayError for a column without an order.
    """
    official = sorted({name for part in parts for name in part["split"].unique().to_pylist() if name})
    rule: Rule = {"by": by, "column": column, "seed": seed, "test": shares[0], "validation": shares[1]}
    rule |= {"official": official}
    if by == "time":
        values, missing, dates = _times(parts, rule)
        given = np.concatenate([np.empty(0, np.str_), *(_given(part) for part in parts)])
        free = ~missing & (given == "")
        test = _start(values[free], shares[0], gap)
        before = free if test["first"] is None else free & (values < test["first"])
        trained = ~missing & (given == "train") & ("validation" not in official)
        starts = {"validation": _start(values[before | trained], shares[1], gap), "test": test}
        rule |= {"gap": gap, "starts": {name: _shown(start, dates=dates) for name, start in starts.items()}}
    return rule


def needs(rule: Rule) -> list[str]:
    """Return the columns of the dataset that a rule looks at, besides `id` and `split`."""
    return [rule["column"]] if rule["column"] else []


def in_test(rule: Rule, table: pa.Table) -> np.ndarray:
    """Tell which rows a rule puts into the test split, `(n,)` bool.

    The table has `id`, `split` and the columns of `needs`. Raises SlipwayError as `assigned` does.
    """
    found: np.ndarray = assigned(rule, table) == TEST
    return found


def assigned(rule: Rule, table: pa.Table) -> np.ndarray:
    """Assign each row of a table with `id`, `split` and the columns of `needs`: `(n,)` int8.

    An index into SPLITS, or LEFT_OUT. A hash of the group, or of the example's content, decides, so that an example
    keeps its side when the data grows, and its copies are on the same side. An official split is respected; of an
    official `train` a share becomes validation, unless the data has a validation split of its own.

    Raises SlipwayError for a column without an order, or with another than that of which the rule was made.
    """
    given = _given(table) if rule["official"] else np.full(len(table), "")
    found, trained = _by_time(rule, table, given) if rule["by"] == "time" else _by_hash(rule, table)
    found = np.where(given == "", found, trained)
    for index, name in enumerate(SPLITS):
        if name != "train" or "validation" in rule["official"]:
            found[given == name] = index
    return found


def _given(table: pa.Table) -> np.ndarray:
    """Return the official split of each row, `(n,)` text; empty where there is none."""
    if table["split"].null_count == len(table):
        return np.full(len(table), "")
    return np.array(table["split"].fill_null("").to_pylist(), np.str_)


def _by_hash(rule: Rule, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the split of each row, and the one that it has as an official example of training: `(n,)` int8 each."""
    ids = table["id"].cast(pa.string()).fill_null("None")
    keys = pc.utf8_slice_codeunits(ids, 0, KEY_DIGITS).cast(pa.binary()).to_pylist()
    if rule["by"] == "group":  # a row without a group stands alone
        keys = [name.encode() or key for name, key in zip(groups(table[rule["column"]]), keys, strict=True)]
    seed = f"{rule['seed']}:".encode()
    digests = b"".join([hashlib.sha256(seed + key).digest() for key in keys])
    to_test, to_validation = np.frombuffer(digests, ">u8").reshape(-1, 4)[:, :2].T / 2**64
    trained = (to_validation < rule["validation"]).astype(np.int8)
    return np.where(to_test < rule["test"], np.int8(TEST), trained), trained


def groups(column: pa.ChunkedArray) -> list[str]:
    """Return the name of each row's group; empty where it is missing.

    Spaces around a name, another form of its accents (Unicode NFC), and a point after a whole number make no new group.
    """
    values = column.to_pylist()
    names = {value: _name(value) for value in set(values)}
    return [names[value] for value in values]


def _name(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = unicodedata.normalize("NFC", str(value)).strip()
    return name.split(".")[0] if POINT.fullmatch(name) else name


def _by_time(rule: Rule, table: pa.Table, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_by_hash` does, by the values at which the splits begin."""
    values, missing, dates = _times([table], rule)
    found = np.zeros(len(table), np.int8)
    trained = found
    for index, name in ((1, "validation"), (TEST, "test")):
        for side, key in ((LEFT_OUT, "gap"), (index, "first")):
            start = rule["starts"][name][key]
            if start is None:
                continue
            if isinstance(start, str) != dates and not missing.all():
                kinds = ("numbers", "dates")
                raise SlipwayError(
                    f"split.by: column {rule['column']} has {kinds[dates]}; the split was made by {kinds[not dates]}"
                )
            first = np.datetime64(start, "us").astype(np.int64) if isinstance(start, str) else start
            found[~missing & (values >= first)] = side
        if name == "validation":
            trained = found.copy()
    found[missing & (given == "")] = LEFT_OUT
    return found, trained


def _times(parts: Sequence[pa.Table], rule: Rule) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the values of the column, which of them are missing, both `(n,)`, and whether they are dates.

    Dates are int64 microseconds since 1970, whole numbers int64, others float64; a missing one is 0.
    """
    values, gone, kinds = [np.empty(0, np.int64)], [np.empty(0, bool)], set()
    for column in (part[rule["column"]] for part in parts):
        kind = column.type
        if dates := bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            column = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())  # noqa: PLW2901
        elif pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
            column = column.cast(pa.float64())  # noqa: PLW2901
        elif pa.types.is_integer(kind) or pa.types.is_null(kind):
            column = column.cast(pa.int64())  # noqa: PLW2901
        else:
            raise SlipwayError(f"split.by: column {rule['column']} is {kind}, not a date or a number: it has no order")
        numbers = column.fill_null(0).to_numpy()
        missing = column.is_null().to_numpy() | ~np.isfinite(numbers)
        values.append(np.where(missing, 0, numbers))
        gone.append(missing)
        if not missing.all():
            kinds.add(dates)
    if len(kinds) > 1:
        raise SlipwayError(f"split.by: column {rule['column']} has numbers in one file and dates in another")
    return np.concatenate(values), np.concatenate(gone), True in kinds


def _start(values: np.ndarray, share: float, gap: int | None) -> dict[str, Any]:
    """Return the value with which the last `share` begins, and that with which the gap before it does, or None."""
    distinct, counts = np.unique(values, return_counts=True)
    if gap is not None:
        at = len(distinct) - round(len(distinct) * share)
    else:  # the cut between two values that comes closest; one value alone cannot be cut
        after = counts[::-1].cumsum()[::-1][1:]
        at = 1 + int(np.abs(after - share * len(values)).argmin()) if len(after) else len(distinct)
    first = distinct[at].item() if at < len(distinct) else None
    return {"first": first, "gap": distinct[max(0, at - gap)].item() if gap and len(distinct) else None}


def _shown(start: dict[str, Any], *, dates: bool) -> dict[str, Any]:
    """Write dates as ISO 8601, for JSON."""
    texts = {key: str(np.datetime64(at, "us")).removesuffix(".000000") for key, at in start.items() if at is not None}
    return start | texts if dates else start


def told(rule: Rule, parts: Sequence[pa.Table], sides: Sequence[np.ndarray]) -> list[str]:
    """Say how a rule has split a dataset, and what is odd about it: a line each; `sides` are the parts' splits."""
    side = np.concatenate(sides)
    if rule["by"] == "time":
        starts = ", ".join(f"{name} from {start['first']}" for name, start in rule["starts"].items())
        timeless = int((_times(parts, rule)[1] & (side == LEFT_OUT)).sum())
        lines = [f"split by time, {rule['column']}: {starts}"]
        return lines + ([f"left out {timeless:,} examples without a value of {rule['column']}"] if timeless else [])
    if rule["by"] == "id":
        return _off(rule, parts, side)
    names = np.array([name for part in parts for name in groups(part[rule["column"]])], dtype=object)
    of = [set(names[side == index]) - {""} for index in range(len(SPLITS))]
    several = sorted((of[0] & of[1]) | (of[0] & of[2]) | (of[1] & of[2]))
    alone = int(((names == "") & (side >= 0)).sum())
    tested = len(of[TEST]) + int(((names == "") & (side == TEST)).sum())
    counts = ", ".join(f"{len(found):,} {name}" for name, found in zip(SPLITS, of, strict=True))
    lines = [f"split by group, {rule['column']}: {counts}"]
    if alone:
        lines.append(f"{alone:,} examples have no value of {rule['column']}: each is split by itself")
    if several:
        lines.append(
            f"{len(several):,} groups are in several splits, such as {several[0]}: the column `split` says so; what is "
            "measured on them is not measured on new groups"
        )
    return [*lines, *too_few(tested)]


def _off(rule: Rule, parts: Sequence[pa.Table], side: np.ndarray) -> list[str]:
    """Tell shares that are not those that were asked for because the copies of examples stay together."""
    rows = int((side >= 0).sum())
    wanted = [(1 - rule["test"]) * (1 - rule["validation"]), (1 - rule["test"]) * rule["validation"], rule["test"]]
    shares = [float((side == index).sum()) / max(rows, 1) for index in range(len(SPLITS))]
    if rule["official"] or all(abs(a - b) <= OFF * b for a, b in zip(shares, wanted, strict=True)):
        return []
    counts = np.array(pc.value_counts(_contents(parts).filter(pa.array(side >= 0))).field("counts"))
    if len(counts) > FEW_COPIES * rows:
        return []
    found = ", ".join(f"{name} {share:.0%}" for name, share in zip(SPLITS, shares, strict=True))
    asked = ", ".join(f"{share:.0%}" for share in wanted)
    return [
        f"{rows:,} examples have only {len(counts):,} different contents, one of them {counts.max():,} times; what is "
        f"alike stays on one side, so the splits are {found} (asked for: {asked}), and results depend on the seed",
        "if these are different things that look alike, split by a column that tells them apart: "
        "`slipway ingest ... --split-by group=COLUMN`; else another split.seed may make the splits more even",
    ]


def _contents(parts: Sequence[pa.Table], rows: np.ndarray | None = None) -> pa.ChunkedArray:
    """Return the hash of each example's content, or of those at `rows`: copies share it."""
    column = pa.chunked_array([chunk for part in parts for chunk in part["id"].chunks], pa.string())
    return pc.utf8_slice_codeunits(column if rows is None else column.take(pa.array(rows)), 0, KEY_DIGITS)


def too_few(tested: int) -> list[str]:
    """Say so where a test split has too few groups for intervals that say something; nothing where it has enough."""
    if not 0 < tested < MIN_GROUPS:
        return []
    return [
        f"the test split has only {tested} group{'s' * (tested > 1)}: intervals, which draw groups, are rough and too "
        f"narrow; {MIN_GROUPS} or more would do (split.test, or more data)"
    ]


def other_seed(rule: Rule, parts: Sequence[pa.Table], kept: Sequence[np.ndarray]) -> int | None:
    """Return the next seed with which no split is empty, of the rows `kept`; None where the next thousand have none."""
    if rule["by"] == "time" or sum(keep.sum() for keep in kept) > MAX_SEARCHED:
        return None
    used = [part.filter(pa.array(keep)) for part, keep in zip(parts, kept, strict=True)]
    for seed in range(rule["seed"] + 1, rule["seed"] + 1001):
        found = np.concatenate([assigned(rule | {"seed": seed}, part) for part in used])
        if len({*found.tolist()}) == len(SPLITS):
            return seed
    return None


def blocks(rule: Rule, parts: Sequence[pa.Table], rows: np.ndarray) -> np.ndarray | None:
    """Number what a bootstrap draws as one among the examples at `rows` `(m,)` of `parts`: `(m,)` int32.

    By group that is a group; by time with a gap, a time and its neighbours; by id the copies of an example, where they
    are many: they were not split one by one. None where every example stands alone.
    """
    if rule["by"] == "id" and "test" not in rule["official"]:
        codes = _contents(parts, rows).combine_chunks().dictionary_encode()
        few = len(codes.dictionary) <= FEW_COPIES * len(rows)
        return codes.indices.to_numpy().astype(np.int32) if few else None
    if rule["by"] == "group":
        names = [name for part in parts for name in groups(part[rule["column"]])]
        keys = [names[row] or f"\0{row}" for row in rows]
        return np.unique(keys, return_inverse=True)[1].astype(np.int32)
    if rule["by"] == "time" and rule["gap"] is not None:
        return blocks_of_time(_times(parts, rule)[0][rows], rule["gap"])
    return None


def blocks_of_time(order: np.ndarray, gap: int) -> np.ndarray:
    """Number the blocks of examples that a bootstrap draws as one, for what is known of `gap` others overlaps: `(n,)`.

    A block is 2 * gap + 1 distinct values of the order that follow each other (Carlstein 1986,
    doi:10.1214/aos/1176350057), and fewer where there would be less than ten blocks.
    """
    distinct, place = np.unique(order, return_inverse=True)
    found: np.ndarray = place // max(1, min(2 * gap + 1, len(distinct) // MIN_BLOCKS))
    return found.astype(np.int32)


def blocks_of(arrays: Path) -> np.ndarray | None:
    """Read the blocks of the test split that preprocess wrote, `(n,)`; None where every example stands alone."""
    path = arrays / "test" / "block.npy"
    return np.load(path) if path.exists() else None
