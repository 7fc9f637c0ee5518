"""A number for each name, in its own units."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import targets
from components.targets import Decision

ONLY_LABELS = "is for classification, but the recipe predicts numbers"


@dataclass(frozen=True)
class Target(targets.Target):
    """A label is a finite number, or a list of one for each of several names; encoded: `(n, names)` float32."""

    kind = "regression"
    examples = "regression"
    exclusive = False
    named = False
    activation = "linear"
    output = "values"
    losses = ("mse", "mae", "huber")
    metric = "mae"
    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("label_smoothing", "class_weights", "resample", "threshold", "calibrate", "augment.cutmix"), ONLY_LABELS
    )

    @property
    def title(self) -> str:
        """The model, and for how many numbers."""
        count = len(self.names)
        return f"a regression model for {count} number{'s' * (count != 1)}"

    @property
    def type(self) -> pa.DataType:
        """A number, or a list of numbers."""
        return pa.float64() if len(self.names) == 1 else pa.list_(pa.float64())

    @property
    def answer(self) -> str:
        """The number, or all of them."""
        return "value" if len(self.names) == 1 else "values"

    @property
    def classes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which labels are missing, too many or too few numbers, or not finite."""
        if len(self.names) == 1:
            return [label is None or not math.isfinite(label) for label in labels]
        return [
            label is None or len(label) != len(self.names) or not all(n is not None and math.isfinite(n) for n in label)
            for label in labels
        ]

    def complaint(self, label: Any) -> str:  # noqa: ARG002
        """It has not one finite number per name."""
        count = len(self.names)
        return f"is not {count} finite numbers" if count > 1 else "is not a finite number"

    def held(self, label: Any) -> list[str]:  # noqa: ARG002
        """None."""
        return []

    def encode(self, labels: list[Any]) -> np.ndarray:
        """Return `(n, names)` float32."""
        return np.array(labels, np.float32).reshape(len(labels), len(self.names))

    def read(self, column: pa.ChunkedArray) -> np.ndarray | None:
        """Take the numbers out of Arrow's lists; None where one is missing or not finite, or lists differ in length."""
        count = len(self.names)
        if count > 1 and not pc.all(pc.equal(pc.list_value_length(column), count)).as_py():
            return None
        flat = column if count == 1 else pc.list_flatten(column)
        numbers = flat.to_numpy()  # a missing one is NaN
        if len(numbers) != count * len(column) or not np.isfinite(numbers).all():
            return None
        found: np.ndarray = numbers.astype(np.float32).reshape(len(column), count)
        return found

    def decode(self, actual: np.ndarray) -> list[Any]:
        """Return numbers, or lists of them."""
        found: list[Any] = actual[:, 0].tolist() if len(self.names) == 1 else actual.tolist()
        return found

    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:  # noqa: ARG002
        """Return the numbers themselves."""
        return outputs

    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:  # noqa: ARG002
        """Return `value`, or `values` for several."""
        if len(self.names) == 1:
            return pa.table({"value": pa.array(outputs[:, 0], pa.float64())})
        return pa.table({"values": pa.array(list(outputs.astype(np.float64)), pa.list_(pa.float64()))})

    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return the numbers."""
        return targets.listed(answers[self.answer], len(self.names))

    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """The mean over the names of the absolute error, each in units of the standard deviation of its answers."""
        deviation = actual.std(axis=0, dtype=np.float64)
        found: np.ndarray = (np.abs(outputs - actual) / np.where(deviation > 0, deviation, 1.0)).mean(axis=1)
        return found

    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:  # noqa: ARG002
        """Nowhere: the answer is the number itself."""
        return np.zeros(len(outputs), bool)

    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Return the numbers themselves."""
        return actual

    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """The mean of each number."""
        return "the mean", np.asarray(np.mean(truth, axis=0, dtype=np.float64))
