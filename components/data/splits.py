"""Which split an example belongs to, by its id, its order or the data; and what a bootstrap draws as one."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.data.dataset import SPLITS

MIN_BLOCKS = 10  # blocks of a test split, as far as it has as many times


def assigned(table: pa.Table, test: float, validation: float, seed: int, *, whole_train: bool = False) -> np.ndarray:
    """Assign each row of a table with `id` and `split` to a split: `(n,)` int8, an index into SPLITS.

    A hash of the id decides, so that an example keeps its side when data grows and its copies are on the
    same side. A given split is respected; a given `train` yields its share of validation, unless the data
    has a validation split of its own (`whole_train`).
    """
    digests = b"".join(hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in table["id"].to_pylist())
    to_test, to_validation = np.frombuffer(digests, ">u8").reshape(-1, 4)[:, :2].T / 2**64
    given = table["split"].fill_null("").to_numpy(zero_copy_only=False)
    found: np.ndarray = (to_validation < validation).astype(np.int8)
    found[(given == "") & (to_test < test)] = 2
    for index, name in enumerate(SPLITS):
        if name != "train" or whole_train:
            found[given == name] = index
    return found


def cuts(order: np.ndarray, test: float, validation: float, gap: int) -> np.ndarray:
    """Assign rows to splits by the order of `(n,)` values: the last go to test, those before to validation.

    The shares are of the distinct values, so that equal ones are on the same side. `gap` distinct values
    before each cut are left out (-1): what is known of them reaches into the next split. Returns `(n,)` int8.
    """
    distinct, place = np.unique(order, return_inverse=True)
    to_test = len(distinct) - round(len(distinct) * test)
    to_validation = to_test - round(to_test * validation)
    found = np.zeros(len(distinct), np.int8)
    for at, index in ((to_validation, 1), (to_test, 2)):
        found[at:] = index
        found[max(0, at - gap) : at] = -1
    splits: np.ndarray = found[place]
    return splits


def blocks(order: np.ndarray, gap: int) -> np.ndarray:
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
