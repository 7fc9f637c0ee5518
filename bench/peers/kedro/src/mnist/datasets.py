"""How the raw files are read."""

from typing import Any

import numpy as np
from kedro.io import AbstractDataset

from mnist import digits


class IdxDataset(AbstractDataset[None, np.ndarray]):
    """A gzipped IDX file, which is only read."""

    def __init__(self, filepath: str) -> None:
        self._filepath = filepath

    def load(self) -> np.ndarray:
        """Read the array."""
        return digits.idx(self._filepath)

    def save(self, data: None) -> None:
        """Refuse: raw data is never written."""
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
