"""The raw rows of a split of build/arrays, found again in the dataset that it was made from."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.data import dataset


def read(
    data: Path,
    arrays: Path,
    split: str,
    columns: pa.Schema,
    *,
    rows: np.ndarray | None = None,
    only: Iterable[str] | None = None,
) -> Iterator[pa.Table]:
    """Yield the raw rows of a split in its order, chunk by chunk: `id` and the columns that `only` names, else all.

    `rows` are places in the split `(n,)`, ascending; without it all. Raises SlipwayError, at the latest after the last
    row, where the dataset does not hold exactly these examples.
    """
    number, key = (np.load(arrays / split / f"{name}.npy", mmap_mode="r") for name in ("row", "id"))
    if rows is not None:
        number, key = number[rows], key[rows]
    wanted = None if only is None else list(dict.fromkeys(("id", *only)))
    start = found = 0
    for chunk in dataset.chunks(data, columns):
        low, high = np.searchsorted(number, [start, start + chunk.rows])
        if high > low:
            part = dataset.read(chunk, columns, wanted).take(pa.array(number[low:high] - start))
            if part["id"].to_pylist() != key[low:high].astype(str).tolist():
                break
            found += len(part)
            yield part
        start += chunk.rows
    if found < len(number):
        raise SlipwayError(f"{data} does not contain the examples of {arrays / split}: run `dvc repro` first")
