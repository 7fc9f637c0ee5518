"""What expectations on boxes are drafted from: the smallest and the largest of an image; nothing is decoded."""

from typing import Any

import numpy as np
import pyarrow as pa

from components.recipes.detection.example import FACTS, Params, rounded
from components.targets import _overlap, boxes

NAMES = ("smallest", "largest")  # an expectation on how many boxes there are is shipped


def facts(table: pa.Table, params: Params) -> pa.Table:  # noqa: ARG001
    """Return these facts of each label as the recipe's own have them."""
    rows = [{} if label is None else _facts(label) for label in table["label"].to_pylist()]
    return pa.table({name: pa.array([row.get(name) for row in rows], FACTS[name]) for name in NAMES})


def _facts(label: list[dict[str, Any] | None]) -> dict[str, Any]:
    edges = np.array([[(box or {}).get(edge) for edge in boxes.EDGES] for box in label], np.float64).reshape(-1, 4)
    areas = _overlap.areas(edges[np.isfinite(edges).all(axis=1)])
    areas = areas[areas > 0]
    return {"smallest": rounded(areas.min()), "largest": rounded(areas.max())} if len(areas) else {}
