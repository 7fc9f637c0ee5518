"""Scaling of numbers: statistics in one pass with flat memory, and what is made of them.

Light: numpy and the standard library, so that it can be shipped with a model. Missing values are NaN.
"""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

Kind = Literal["standardise", "min_max", "robust", "quantile", "none"]
COLUMN_SAMPLE = 100_000  # values of each column, at most, that medians and quantiles are computed from
TOTAL_SAMPLE = 10_000_000  # of all columns together
QUANTILE_POINTS = 256  # of a column's distribution, for the kind `quantile`
MAX_NUMBER = 1e30  # beyond it a number counts as missing: float32 ends at 3e38, and its square must not overflow


@dataclass
class Summary:
    """What is known of the columns after all that was added: `(columns,)` float64 each, of values within +-MAX_NUMBER.

    Mean and sum of squares by the update of Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise
    algorithm for computing sample variances". `sample` holds `size` values of each column at most: those whose
    position (over all tables) has the smallest hashes, a bottom-k sample (Cohen and Kaplan, 2007, "Summarizing
    data using bottom-k sketches"): uniform, without replacement, the same however the tables are cut.
    """

    columns: int
    seed: int = 0
    size: int = 0  # 0: COLUMN_SAMPLE, or what the columns may have of TOTAL_SAMPLE
    rows: int = 0  # added so far
    count: np.ndarray = field(init=False)  # (columns,) values that are there, within +-MAX_NUMBER
    mean: np.ndarray = field(init=False)
    square: np.ndarray = field(init=False)  # sum of squared distances from the mean
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)
    # of each column, keys and values as they came: joined at every table, they would be copied over and over
    _parts: list[list[tuple[np.ndarray, np.ndarray]]] = field(init=False)
    _held: list[int] = field(init=False)  # how many there are
    _limit: np.ndarray = field(init=False)  # (columns,) uint64: keys above it are not among the smallest

    def __post_init__(self) -> None:
        self.count, self.mean, self.square = (np.zeros(self.columns) for _ in range(3))
        self.low, self.high = np.full(self.columns, np.inf), np.full(self.columns, -np.inf)
        self.size = self.size or min(COLUMN_SAMPLE, TOTAL_SAMPLE // max(self.columns, 1))
        self._limit = np.full(self.columns, np.iinfo(np.uint64).max, np.uint64)
        self._parts = [[] for _ in range(self.columns)]
        self._held = [0] * self.columns

    def add(self, numbers: np.ndarray) -> None:
        """Add rows `(n, columns)`; what is not finite, or beyond +-MAX_NUMBER, counts as missing."""
        there = np.abs(numbers) <= MAX_NUMBER  # false of NaN
        n = there.sum(axis=0)
        m = np.where(there, numbers, 0).sum(axis=0) / np.maximum(n, 1)
        s = (np.where(there, numbers - m, 0) ** 2).sum(axis=0)
        total = np.maximum(self.count + n, 1)
        self.square = self.square + s + (m - self.mean) ** 2 * self.count * n / total
        self.mean = self.mean + (m - self.mean) * (n / total)
        self.count = self.count + n
        self.low = np.minimum(self.low, np.where(there, numbers, np.inf).min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, np.where(there, numbers, -np.inf).max(axis=0, initial=-np.inf))
        keys = hashes(np.arange(self.rows, self.rows + len(numbers)), self.seed)
        self.rows += len(numbers)
        for column in range(self.columns):
            rows = there[:, column] & (keys <= self._limit[column])
            self._parts[column].append((keys[rows], numbers[rows, column]))
            self._held[column] += len(self._parts[column][-1][0])
            if self._held[column] > 2 * self.size:
                self._cut(column)

    def _cut(self, column: int) -> np.ndarray:
        """Join the parts of a column and keep what the sample may have of it; return those values."""
        keys = np.concatenate([np.empty(0, np.uint64), *(part for part, _ in self._parts[column])])
        values = np.concatenate([np.empty(0), *(part for _, part in self._parts[column])])
        if len(keys) > self.size:
            kept = np.argpartition(keys, self.size - 1)[: self.size]
            keys, values = keys[kept], values[kept]
            self._limit[column] = keys.max()
        self._parts[column], self._held[column] = [(keys, values)], len(keys)
        return values

    def sample(self, column: int) -> np.ndarray:
        """Return the sample of a column, sorted: at most `size` float64; empty where no value was finite."""
        return np.sort(self._cut(column))

    def quantiles(self, shares: list[float]) -> np.ndarray:
        """Return `(len(shares), columns)` of the samples, linearly interpolated; 0 where there is no value."""
        found = [
            np.quantile(s, shares) if len(s) else np.zeros(len(shares)) for s in map(self.sample, range(self.columns))
        ]
        return np.stack(found, axis=1) if found else np.empty((len(shares), 0))

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation (of the population, as scikit-learn's StandardScaler has it)."""
        found: np.ndarray = np.sqrt(self.square / np.maximum(self.count, 1))
        return found


def hashes(positions: np.ndarray, seed: int) -> np.ndarray:
    """Mix whole numbers into `(n,)` uint64, each its own: the finaliser of SplitMix64 (Steele et al., 2014)."""
    x = positions.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def scaler(summary: Summary, kind: Kind) -> dict[str, Any]:
    """Return what `scale` needs, as plain JSON.

    standardise: (x - mean) / deviation; min_max: to 0 .. 1; robust: (x - median) / interquartile range, or the
    deviation where that is 0; quantile: through the column's own distribution to the normal one; none. A
    constant column becomes 0 (scikit-learn's preprocessing does the same for each); constant is also one whose
    deviation is no more than the rounding of a sum leaves: 10 units in the last place of its largest number.
    """
    if kind == "quantile":
        # shares off the ends, so that the normal values are finite (Blom 1958 calls these plotting positions)
        shares = [(number + 0.5) / QUANTILE_POINTS for number in range(QUANTILE_POINTS)]
        return {
            "points": summary.quantiles(shares).T.tolist(),
            "normal": [NormalDist().inv_cdf(share) for share in shares],
        }
    deviation = summary.deviation
    largest = np.where(summary.count > 0, np.maximum(np.abs(summary.low), np.abs(summary.high)), 0)
    rounding = 10 * np.finfo(np.float64).eps * largest
    if kind == "standardise":
        shift, unit = summary.mean, deviation
    elif kind == "min_max":
        some = summary.count > 0
        shift = np.where(some, summary.low, 0)
        unit = np.where(some, summary.high, 0) - shift
    elif kind == "robust":
        first, median, third = summary.quantiles([0.25, 0.5, 0.75])
        shift, unit = median, np.where(third - first > rounding, third - first, deviation)
    else:
        return {"shift": [0.0] * summary.columns, "unit": [1.0] * summary.columns}
    same = summary.low == summary.high  # of a mean of many, only nearly so
    constant = same | (unit <= rounding)
    return {"shift": np.where(same, summary.low, shift).tolist(), "unit": np.where(constant, 1.0, unit).tolist()}


def scale(numbers: np.ndarray, fitted: dict[str, Any], clip: float | None = None) -> np.ndarray:
    """Scale `(n, columns)` float64 with what `scaler` returned, and bound it to +-`clip` where that is given.

    Missing stays NaN. With points, a value within a run of equal ones gets the middle of their normal values,
    as in scikit-learn's QuantileTransformer.
    """
    if "points" in fitted:
        normal = np.array(fitted["normal"])
        scaled = np.empty_like(numbers, dtype=np.float64)
        for column, listed in enumerate(fitted["points"]):
            points = np.array(listed)
            up = np.interp(numbers[:, column], points, normal)
            down = -np.interp(-numbers[:, column], -points[::-1], -normal[::-1])
            scaled[:, column] = (up + down) / 2
    else:
        scaled = (numbers - np.array(fitted["shift"])) / np.array(fitted["unit"])
    return scaled if clip is None else np.clip(scaled, -clip, clip)
