"""One of several classes: the model's outputs are their probabilities, which sum to 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import targets
from components.targets import Decision


@dataclass(frozen=True)
class Target(targets.Target):
    """A label is one of `names`, text; encoded, its number: `(n,)` int32.

    A decision is a matrix `(names, names)`: the label chosen is that of the largest of `probabilities @ decision`,
    without one the likeliest.
    """

    kind = "single_label"
    examples = "single-label data"
    exclusive = True
    named = True
    activation = "softmax"
    output = "probabilities"
    losses = ("cross_entropy", "focal")
    metric = "accuracy"
    refused: ClassVar[Mapping[str, str]] = {}

    @property
    def title(self) -> str:
        """The classifier, and of how many classes."""
        return f"a single-label classifier with {len(self.names)} classes"

    @property
    def type(self) -> pa.DataType:
        """A text."""
        return pa.string()

    @property
    def answer(self) -> str:
        """The label that was chosen."""
        return "label"

    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which labels are missing or unknown."""
        known = frozenset(self.names)
        return [label not in known for label in labels]

    def complaint(self, label: Any) -> str:  # noqa: ARG002
        """It is not among the names."""
        return "is not in {section}.labels of params.yaml"

    def held(self, label: Any) -> list[str]:
        """The label itself."""
        return [label]

    def encode(self, labels: list[Any]) -> np.ndarray:
        """Return `(n,)` int32, each label's number."""
        codes = {name: index for index, name in enumerate(self.names)}
        return np.array([codes[label] for label in labels], np.int32)

    def read(self, column: pa.ChunkedArray) -> np.ndarray | None:
        """Look each label up; None where one is unknown."""
        codes = pc.index_in(column, pa.array(self.names, pa.string()))
        return None if codes.null_count else codes.to_numpy().astype(np.int32)

    def decode(self, actual: np.ndarray) -> list[Any]:
        """Return the names of numbers."""
        found: list[Any] = np.array(self.names)[actual].tolist()
        return found

    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:
        """Decide: `(n,)` int, the number of the label."""
        best: np.ndarray = (outputs @ np.array(decision, np.float64) if decision else outputs).argmax(axis=1)
        return best

    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:
        """Return `label`, its `probability`, and the `probabilities` of all."""
        best = self.chosen(outputs, decision)
        return pa.table(
            {
                "label": pa.array([self.names[i] for i in best], pa.string()),
                "probability": pa.array(outputs[np.arange(len(best)), best], pa.float32()),
                "probabilities": pa.array(list(outputs), pa.list_(pa.float32())),
            }
        )

    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return the probabilities."""
        return targets.listed(answers["probabilities"], len(self.names))

    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the label's probability, which counts as 1e-7 at least."""
        found: np.ndarray = -np.log(np.maximum(outputs[np.arange(len(outputs)), actual].astype(np.float64), 1e-7))
        return found

    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:
        """Tell where no other label comes near the one that is chosen."""
        weights = np.eye(len(self.names)) if decision is None else np.array(decision, np.float64)
        top = np.sort(outputs @ weights, axis=1)[:, -2:]
        found: np.ndarray = top[:, 1] - top[:, 0] > 2 * tolerance * np.abs(weights).sum(axis=0).max()
        return found

    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Return 1 for the label and 0 for the others."""
        found: np.ndarray = np.eye(len(self.names))[actual]
        return found

    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """The shares of the classes, so that the most frequent one is chosen."""
        return "the most frequent class", np.bincount(truth, minlength=len(self.names)) / len(truth)

    def balanced(self, counts: np.ndarray, rows: int) -> np.ndarray:
        """N / (classes x count), as scikit-learn's compute_class_weight."""
        found: np.ndarray = rows / (len(self.names) * np.maximum(counts, 1))
        return found
