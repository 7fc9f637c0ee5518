"""Images with boxes: the encoded bytes of a file, and where in it something of each class is."""

import io
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.recipes import Input, Names, State
from components.recipes.images.example import Settings, columns, encode, fit, requirements
from components.recipes.images.example import facts as facts_of_images
from components.targets import Target, _overlap, boxes

__all__ = ["columns", "encode", "fit", "requirements"]  # an image becomes pixels as in the recipe images

SAME = 0.95  # overlap from which two boxes of a class are the same one twice
FACTS = {
    "boxes": pa.int64(),
    "outside": pa.int64(),
    "empty": pa.int64(),
    "unknown": pa.int64(),
    "repeated": pa.int64(),
    "smallest": pa.float64(),
    "largest": pa.float64(),
}


class Params(Settings):
    """The section `detection` of params.yaml."""

    resize: Literal["stretch"] = "stretch"  # boxes are shares of the image's sides, which nothing else keeps
    labels: Annotated[Names, Field(min_length=1)] = Field(default=["thing"])
    max_boxes: Annotated[int, Field(ge=1, le=1000)] = boxes.MOST  # of an image, in its label and in an answer


def target(params: Params) -> Target:
    """Boxes of the labels."""
    return boxes.Target(tuple(params.labels), params.max_boxes)


def facts(table: pa.Table, params: Params) -> pa.Table:
    """What the recipe images says of an image, and of its boxes, null where there is no label.

    boxes, how many; outside, those that reach out of the image; empty, those of no width or height or with an edge
    that is not finite; unknown, those of no class of params.yaml; repeated, those that overlap an earlier box of their
    class by SAME or more, null of more than max_boxes; smallest and largest, their shares of the image's area.
    """
    labels = table["label"].to_pylist() if "label" in table.column_names else [None] * len(table)
    rows = [{} if label is None else _facts(label, params) for label in labels]
    found = facts_of_images(table, params)
    for name, kind in FACTS.items():
        found = found.append_column(name, pa.array([row.get(name) for row in rows], kind))
    return found


def _facts(label: list[dict[str, Any] | None], params: Params) -> dict[str, Any]:
    given, edges = [box or {} for box in label], edges_of(label)
    finite: np.ndarray = np.isfinite(edges).all(axis=1)
    sides = np.where(finite[:, None], edges[:, 2:] - edges[:, :2], 0.0)
    empty = (sides <= 0).any(axis=1)
    beyond = (edges[:, :2] < -boxes.SLACK).any(axis=1) | (edges[:, 2:] > 1 + boxes.SLACK).any(axis=1)
    names = np.array([str(box.get("label")) for box in given])
    repeated = None
    if len(given) <= params.max_boxes:  # of more all are compared with all in vain: the image is set aside
        overlap = np.tril(_overlap.shares(*[np.where(finite[:, None], edges, 0.0)] * 2), -1)
        repeated = int(((overlap >= SAME) & (names[:, None] == names)).any(axis=1).sum())
    return {
        "boxes": len(given),
        "outside": int((beyond & finite).sum()),
        "empty": int(empty.sum()),
        "unknown": sum(box.get("label") not in params.labels for box in given),
        "repeated": repeated,
        **sizes(edges),
    }


def edges_of(label: list[dict[str, Any] | None]) -> np.ndarray:
    """Return the edges of boxes, `(m, 4)` float64; NaN where there is none."""
    return np.array([[(box or {}).get(edge) for edge in boxes.EDGES] for box in label], np.float64).reshape(-1, 4)


def sizes(edges: np.ndarray) -> dict[str, float]:
    """Return `smallest` and `largest` of boxes that have an area; to nine digits, without what computing it adds."""
    areas = _overlap.areas(edges[np.isfinite(edges).all(axis=1)])
    there = areas[areas > 0]
    return {"smallest": round(float(there.min()), 9), "largest": round(float(there.max()), 9)} if len(there) else {}


def inputs(params: Params, state: State) -> dict[str, Input]:  # noqa: ARG001
    """One image, whose boxes move with it."""
    return {"image": Input("image")}


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Dark images in PNG of 32 x 32 with up to two things: bright squares are `square`, bright flat ones `bar`."""
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (rows, 32, 32)).astype(np.uint8)
    found: list[bytes] = []
    labels: list[list[dict[str, Any]]] = []
    for row, picture in enumerate(pixels):
        own = []
        for half in range(row % 3):  # none, one or two; the second one in the lower half
            height, width, name = ((10, 10, "square"), (6, 16, "bar"))[int(random.integers(2))]
            top, left = 16 * half + int(random.integers(0, 16 - height + 1)), int(random.integers(0, 32 - width + 1))
            picture[top : top + height, left : left + width] += 150
            edges = np.array([left, top, left + width, top + height]) / 32
            own.append({"label": name, **dict(zip(boxes.EDGES, edges.tolist(), strict=True))})
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        found.append(buffer.getvalue())
        labels.append(own)
    table = pa.table({"image": found, "label": pa.array(labels, pa.list_(boxes.BOX))})
    return {"height": 32, "width": 32, "labels": ["bar", "square"]}, table
