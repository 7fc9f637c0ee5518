"""What only all files of a dataset together tell: copies, conflicts and contents that repeat, of ids and labels.

Ids are held as 16 bytes of the content, that is their hash, and the number of the copy: a tenth of what text takes.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.dataset import KEY_DIGITS

PARTS = 16  # of the contents, that are looked through one after another, so that sorting them takes little memory
HASH = rf"^[0-9a-f]{{{KEY_DIGITS}}}$"


@dataclass
class Everywhere:
    """What only all files together tell about each example, in the order of the chunks."""

    copy: np.ndarray  # (rows,) of whole numbers: 0 for the first with an id, then 1, 2 ...
    conflict: np.ndarray  # (rows,) bool
    label: np.ndarray  # (rows,) of whole numbers, an index into `labels`, -1 where missing
    labels: pa.Array  # text
    repeats: tuple[int, int, int]  # rows, how many contents these have, and the most of one content


def across(parts: Iterable[tuple[pa.ChunkedArray, pa.ChunkedArray]], rows: int) -> Everywhere:
    """Find copies and conflicts among ids and labels, both text, of `rows` examples in all.

    A missing id is no copy of another missing one, a missing label no conflict.
    """
    contents = np.empty((rows, KEY_DIGITS // 16), np.uint64)
    numbers, labels = [np.empty(0, np.uint8)], [pa.array([], pa.large_string()).dictionary_encode()]
    there = np.empty(rows, bool)
    others: dict[bytes, int] = {}
    start = 0
    for ids, label in parts:
        mine = slice(start, start + len(ids))
        contents[mine], number = _packed(ids.combine_chunks(), others)
        numbers.append(_small(number))
        there[mine] = ids.is_valid().to_numpy()
        labels.append(label.cast(pa.large_string()).combine_chunks().dictionary_encode())
        start = mine.stop
    encoded = pa.chunked_array(labels).unify_dictionaries().chunks
    codes = np.concatenate([_small(chunk.indices.fill_null(-1).to_numpy()) for chunk in encoded])
    number, known = np.concatenate(numbers), encoded[0].dictionary
    del encoded, labels, numbers
    copy, conflict = np.zeros(rows, np.uint8), np.zeros(rows, bool)
    different, most = int(there.sum()), int(there.any())
    for repeated in _repeated(contents, there):
        order, copies, conflicting, counts = _among(contents[repeated], number[repeated], codes[repeated])
        if copies.max() > np.iinfo(copy.dtype).max:
            copy = copy.astype(np.min_scalar_type(copies.max()))
        copy[repeated[order]], conflict[repeated[order]] = copies, conflicting
        different, most = different - len(repeated) + len(counts), max(most, int(counts.max()))
    return Everywhere(copy, conflict, codes, known, (int(there.sum()), different, most))


def _packed(ids: pa.Array, others: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the contents of ids `(n, 2)` uint64 and the numbers of their copies `(n,)` int64.

    Two ids are the same exactly where both are, but for the chance that two texts have the same 128 bits of SHA-256: an
    id that does not begin with hex digits is hashed. The number is 0 where nothing comes behind the content, and below
    0 where something else does, which is numbered in `others`.
    """
    ids = ids.fill_null("")
    heads = pc.utf8_slice_codeunits(ids, 0, KEY_DIGITS)
    is_hash = pc.match_substring_regex(heads, HASH)
    digits = b"".join(heads.filter(is_hash).cast(pa.binary()).to_pylist())
    hashed = is_hash.to_numpy(zero_copy_only=False)
    found = np.empty((len(ids), KEY_DIGITS // 2), np.uint8)
    found[hashed] = np.frombuffer(bytes.fromhex(digits.decode()), np.uint8).reshape(-1, KEY_DIGITS // 2)
    for row in np.flatnonzero(~hashed):
        found[row] = np.frombuffer(_digest(heads[row].as_py()), np.uint8)
    rests = pc.utf8_slice_codeunits(ids, KEY_DIGITS).dictionary_encode()
    numbers = np.array([_number(rest, others) for rest in rests.dictionary.to_pylist()], np.int64)
    return found.view(np.uint64), numbers[rests.indices.to_numpy()]


def _number(rest: str, others: dict[bytes, int]) -> int:
    if not rest:
        return 0
    if re.fullmatch("-([2-9]|[1-9][0-9]{1,8})", rest):
        return int(rest[1:])
    return -1 - others.setdefault(_digest(rest), len(others))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[: KEY_DIGITS // 2]


def _small(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest type that holds all of them."""
    ends = values.min(initial=0), values.max(initial=0)
    return values.astype(np.result_type(*map(np.min_scalar_type, ends)))


def _repeated(contents: np.ndarray, there: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows, in order, of which half the content is that of another row too: few, as a rule.

    Rows of the same content come together.
    """
    part = contents.view(np.uint8)[:, 0] % PARTS
    for which in range(PARTS):
        rows = np.flatnonzero((part == which) & there)
        half = contents[rows, 0]
        ordered = np.sort(half)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            yield rows[np.isin(half, twice)]


def _among(
    contents: np.ndarray, numbers: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return an order of rows, and in that order `copy` and `conflict`; and how many rows each content has."""
    order = np.lexsort((numbers, contents[:, 1], contents[:, 0]))
    contents, numbers, codes = contents[order], numbers[order], codes[order]
    content = np.append(True, (contents[1:] != contents[:-1]).any(axis=1))
    starts = np.flatnonzero(content | np.append(True, numbers[1:] != numbers[:-1]))
    lengths = np.diff(starts, append=len(order))
    lowest = np.minimum.reduceat(np.where(codes < 0, np.iinfo(codes.dtype).max, codes), starts)
    highest = np.maximum.reduceat(codes, starts)
    copies = np.arange(len(order)) - np.repeat(starts, lengths)
    return order, copies, np.repeat(highest > lowest, lengths), np.diff(np.flatnonzero(content), append=len(order))
