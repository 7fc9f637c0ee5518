"""Boxes around things in an image, any number of them, each of a class: the model gives boxes with scores.

Edges are shares of the image's width and height, from 0 at the left and the top to 1: whatever size it is shown or
encoded in.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components import targets
from components.targets import Decision, _overlap

EDGES = ("left", "top", "right", "bottom")
BOX = pa.struct([("label", pa.string()), *((edge, pa.float64()) for edge in EDGES)])
FOUND = pa.struct([("label", pa.string()), ("score", pa.float32()), *((edge, pa.float32()) for edge in EDGES)])
MOST = 100  # boxes of an image, as in COCO's evaluation (https://cocodataset.org/#detection-eval)
SLACK = 1e-3  # of the image's side that an edge may lie outside: what rounding to whole pixels does
LEAST_SCORE = 0.3  # of a box in an answer, where none was chosen (Zhou and others 2019, arXiv:1904.07850)
NONE = -1.0  # the class of a row of an encoded label that is no box


@dataclass(frozen=True)
class Target(targets.Target):
    """A label is a list of boxes, which may be empty; encoded: `(n, most, 5)` float32, left, top, right, bottom, class.

    Behind an image's boxes the class is NONE. Outputs are `(n, most, 6)` float32: left, top, right, bottom, score and
    class, the highest score first; of what is no box the score is 0. A decision is a least score for each name,
    LEAST_SCORE without.
    """

    most: int = MOST  # boxes of an image

    kind = "boxes"
    examples = "boxes"
    exclusive = False
    named = False
    activation = "sigmoid"
    output = "boxes"
    rule = "f1"  # what a score is worth differs from detector to detector: no least score suits all
    maps = True
    losses = ("detection",)
    metric = "overlap"
    refused: ClassVar[Mapping[str, str]] = (
        dict.fromkeys(
            ("label_smoothing", "class_weights", "resample", "calibrate", "augment.mixup", "augment.cutmix"),
            "is for classification, but the recipe predicts boxes",
        )
        | {"augment.rand_augment": "moves what is in an image, but not the boxes around it"}
        | dict.fromkeys(("threshold: cost", "threshold: youden"), "is for classification; use f1 for boxes")
    )

    @property
    def title(self) -> str:
        """The detector, and of how many classes."""
        count = len(self.names)
        return f"an object detector with {count} class{'es' * (count != 1)}"

    @property
    def type(self) -> pa.DataType:
        """A list of boxes."""
        return pa.list_(BOX)

    @property
    def shape(self) -> tuple[int, ...]:
        """Six numbers of each box."""
        return self.most, 6

    @property
    def answer(self) -> str:
        """The boxes that reach the least scores of their classes."""
        return "boxes"

    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which lists are missing or too long, or have a box of no known class, no area, or outside the image."""
        return [bool(self._wrong(label)) for label in labels]

    def complaint(self, label: Any) -> str:
        """Say what is wrong with the first box that is."""
        return self._wrong(label)

    def _wrong(self, label: Any) -> str:
        if label is None:
            return "is missing"
        if len(label) > self.most:
            return f"has {len(label):,} boxes, more than {{section}}.max_boxes ({self.most})"
        return next((why for box in label if (why := self._wrong_box(box if isinstance(box, Mapping) else {}))), "")

    def _wrong_box(self, box: Mapping[str, Any]) -> str:
        edges = [math.nan if box.get(edge) is None else float(box[edge]) for edge in EDGES]
        left, top, right, bottom = edges
        wrongs = (
            ("of a class that is not in {section}.labels of params.yaml", box.get("label") not in self.names),
            ("with an edge that is not a finite number", not all(map(math.isfinite, edges))),
            ("of no width or no height", right <= left or bottom <= top),
            ("that reaches out of the image", min(left, top) < -SLACK or max(right, bottom) > 1 + SLACK),
        )
        return next((f"has a box {what}" for what, wrong in wrongs if wrong), "")

    def held(self, label: Any) -> list[str]:
        """The classes of its boxes, each once."""
        return list(dict.fromkeys(box["label"] for box in label if box and box.get("label") is not None))

    def encode(self, labels: list[Any]) -> np.ndarray:
        """Return `(n, most, 5)` float32."""
        codes = {name: index for index, name in enumerate(self.names)}
        found = np.zeros((len(labels), self.most, 5), np.float32)
        found[:, :, 4] = NONE
        for row, label in enumerate(labels):
            for at, box in enumerate(label):
                found[row, at] = [*(box[edge] for edge in EDGES), codes[box["label"]]]
        return found

    def decode(self, actual: np.ndarray) -> list[Any]:
        """Return lists of boxes."""
        return [
            [
                {"label": self.names[int(box[4])], **dict(zip(EDGES, box[:4].tolist(), strict=True))}
                for box in row
                if box[4] >= 0
            ]
            for row in actual
        ]

    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:
        """Decide: the outputs, with a score of 0 where it is less than that of an answer."""
        least = np.array(decision) if decision else np.full(len(self.names), LEAST_SCORE)
        score = outputs[:, :, 4]
        kept = (score > 0) & (score >= least[outputs[:, :, 5].astype(np.int64)])
        found: np.ndarray = np.concatenate([outputs[:, :, :4], (score * kept)[:, :, None], outputs[:, :, 5:]], axis=2)
        return found

    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:
        """Return `boxes`, those of the answer, the highest score first."""
        rows = [
            [
                {"label": self.names[int(box[5])], "score": box[4], **dict(zip(EDGES, box[:4].tolist(), strict=True))}
                for box in row
                if box[4] > 0
            ]
            for row in self.chosen(outputs, decision)
        ]
        return pa.table({"boxes": pa.array(rows, pa.list_(FOUND))})

    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return the boxes of the answers: those that did not reach their least scores are not among them."""
        return self.restored(answers["boxes"].to_pylist())[1]

    def found(self, outputs: np.ndarray, actual: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, int | None]]:
        """Return of each name the scores of its boxes, if each overlaps one of the label by half, and of how many."""
        return [_overlap.hits(outputs, actual, name) for name in range(len(self.names))]

    def counted(self, actual: np.ndarray) -> np.ndarray:
        """Count the images that have a box of each name."""
        return np.array([(actual[:, :, 4] == name).any(axis=1).sum() for name in range(len(self.names))], np.int64)

    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """One minus the average precision of each image at an overlap of 0.5, the mean of the classes it has.

        Of an image without boxes the highest score.
        """
        return 1 - _overlap.precision(outputs, actual, len(self.names))

    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:  # noqa: ARG002
        """Nowhere: the answer has numbers."""
        return np.zeros(len(outputs), bool)

    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Return the boxes with a score of 1; what a version answered comes with its scores."""
        there = actual[:, :, 4:5] >= 0
        found: np.ndarray = np.concatenate([actual[:, :, :4], there, np.where(there, actual[:, :, 4:5], 0)], axis=2)
        return found

    def restored(self, answers: list[Any]) -> tuple[np.ndarray, np.ndarray, Decision | None]:
        """Return the boxes with their scores, and that all are answers.

        Those of an unknown class, of which nothing is measured, are left out.
        """
        codes = {name: index for index, name in enumerate(self.names)}
        there = [answer for answer in answers if answer is not None]
        found = np.zeros((len(there), *self.shape), np.float32)
        for row, answer in enumerate(there):
            known = [box for box in answer if box["label"] in codes][: self.most]
            for at, box in enumerate(known):
                found[row, at] = [*(box[edge] for edge in EDGES), box["score"], codes[box["label"]]]
        return np.array([answer is not None for answer in answers], bool), found, [0.0] * len(self.names)

    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """The mean box of each class, in the middle of its boxes; its score is the share of images that have one."""
        found = np.zeros(self.shape)
        for name in range(min(len(self.names), self.most)):
            mine = truth[:, :, 4] == name
            if mine.any():
                found[name, :4] = truth[mine][:, :4].mean(axis=0, dtype=np.float64)
                found[name, 4:] = mine.any(axis=1).mean(), name
        return "the mean box of each class", found[np.argsort(-found[:, 4], kind="stable")]

    def described(self) -> dict[str, Any]:
        """Return what `of` reads, as plain JSON."""
        return super().described() | {"most": self.most}
