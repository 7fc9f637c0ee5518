"""Any number of several classes: the model's outputs are their probabilities, each by itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components import targets
from components.targets import Decision


@dataclass(frozen=True)
class Target(targets.Target):
    """A label is a list of some of `names`, each once, or of none; encoded, 1 where one holds: `(n, names)` uint8.

    A decision is a threshold for each name, 0.5 without.
    """

    kind = "multi_label"
    examples = "multi-label data"
    exclusive = False
    named = True
    activation = "sigmoid"
    output = "probabilities"
    losses = ("binary", "focal")
    metric = "accuracy"
    refused: ClassVar[Mapping[str, str]] = {
        "resample": "is for single-label data; use class_weights for multi-label data",
        "threshold: cost": "is for single-label data; use f1 or youden for multi-label data",
    }

    @property
    def title(self) -> str:
        """The classifier, and of how many classes."""
        count = len(self.names)
        return f"a multi-label classifier with {count} class{'es' * (count != 1)}"

    @property
    def type(self) -> pa.DataType:
        """A list of texts."""
        return pa.list_(pa.string())

    @property
    def answer(self) -> str:
        """The labels that reach their thresholds."""
        return "labels"

    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which lists are missing, have an unknown name, or one twice."""
        known = frozenset(self.names)
        return [label is None or not known.issuperset(label) or len(frozenset(label)) < len(label) for label in labels]

    def complaint(self, label: Any) -> str:
        """A name is unknown, or there twice."""
        if label and len(frozenset(label)) < len(label):
            return "names a class twice"
        return "has a class that is not in {section}.labels of params.yaml"

    def held(self, label: Any) -> list[str]:
        """All that the list has."""
        return list(label)

    def encode(self, labels: list[Any]) -> np.ndarray:
        """Return `(n, names)` uint8, 1 where a name holds."""
        codes = {name: index for index, name in enumerate(self.names)}
        found = np.zeros((len(labels), len(codes)), np.uint8)
        for row, held in enumerate(labels):
            found[row, [codes[name] for name in held]] = 1
        return found

    def decode(self, actual: np.ndarray) -> list[Any]:
        """Return lists of the names that hold."""
        return [[name for name, held in zip(self.names, row, strict=True) if held] for row in actual]

    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:
        """Decide: `(n, names)` bool."""
        found: np.ndarray = outputs >= (np.array(decision) if decision else 0.5)
        return found

    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:
        """Return `labels`, and the `probabilities` of all."""
        return pa.table(
            {
                "labels": pa.array(self.decode(self.chosen(outputs, decision)), pa.list_(pa.string())),
                "probabilities": pa.array(list(outputs), pa.list_(pa.float32())),
            }
        )

    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return the probabilities."""
        return targets.listed(answers["probabilities"], len(self.names))

    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """The mean over the names of minus the logarithm of what holds; a probability counts as 1e-7 at least."""
        right = np.where(actual, outputs, 1 - outputs.astype(np.float64))
        found: np.ndarray = -np.log(np.maximum(right, 1e-7)).mean(axis=1)
        return found

    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:
        """Tell where no output is near its threshold."""
        threshold = np.array(decision) if decision else np.full(len(self.names), 0.5)
        return np.asarray((np.abs(outputs - threshold) > tolerance).all(axis=1))

    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Return 1 for what holds."""
        return actual

    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """The shares of the examples that have each label."""
        return "how often each label is there", np.mean(truth, axis=0)

    def balanced(self, counts: np.ndarray, rows: int) -> np.ndarray:
        """The examples without a class, one at least, per example with it: pos_weight of torch.nn.BCEWithLogitsLoss."""
        found: np.ndarray = np.maximum(rows - counts, 1) / np.maximum(counts, 1)
        return found
