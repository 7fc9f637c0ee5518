"""Targets: what is predicted, one file per kind; `single_label` is components/targets/single_label.py.

A target says what a label in the dataset may be, how it becomes numbers and how a model's outputs become an answer: all
that is shipped with a model; and, as data, which losses suit it. How good answers are is said by the file of the same
name in components/evaluation: a metric that changes trains nothing again.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pyarrow as pa

from components import SlipwayError

Decision = list[Any]  # how outputs become an answer, where train.threshold chose one; each target says what it holds


@dataclass(frozen=True)
class Target(ABC):
    """What is predicted: the model has an output for each of `names`.

    An encoded label is a row of an array; `actual` and `truth` are such arrays, of `n` examples.
    """

    names: tuple[str, ...]

    kind: ClassVar[str]  # the name of its file, here and in components/evaluation
    examples: ClassVar[str]  # what an example has, as in "the loss is not for numbers"
    exclusive: ClassVar[bool]  # of the names exactly one holds: an encoded label is its number
    named: ClassVar[bool]  # a label is one of the names, or a list of them

    # What trains: names that components/recipes/networks.py and components/training give a meaning.
    activation: ClassVar[Literal["softmax", "sigmoid", "linear"]]  # of the last layer
    output: ClassVar[Literal["probabilities", "values", "boxes"]]  # the name of what the exported model returns
    losses: ClassVar[tuple[str, ...]]  # that train.loss may name; `auto` is the first
    metric: ClassVar[str]  # shown beside the loss
    # by which answers are decided where train.threshold names none: components/training/thresholds.py gives f1 a
    # meaning; ngram is a language model of the training labels, as components/targets/_ctc.py chooses it
    rule: ClassVar[Literal["f1", "ngram"] | None] = None
    maps: ClassVar[bool] = False  # if a network gives maps of places: components/serving/suppression.py makes outputs
    refused: ClassVar[Mapping[str, str]]  # settings of `train:`, or one value of them, that make no sense for it -> why

    @property
    @abstractmethod
    def title(self) -> str:
        """What a model of it is called."""

    @property
    @abstractmethod
    def type(self) -> pa.DataType:
        """The type of the dataset's column `label`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a model's outputs for one example."""
        return (len(self.names),)

    @property
    @abstractmethod
    def answer(self) -> str:
        """The column of `answers` that has the answer itself, in the form of the dataset's label."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of which examples are counted; none where numbers are predicted."""
        return self.names

    @abstractmethod
    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which labels of a dataset cannot be: missing, unknown, given twice, or no finite numbers."""

    @abstractmethod
    def complaint(self, label: Any) -> str:
        """Say what is wrong with an invalid label, after "label ... "."""

    @abstractmethod
    def held(self, label: Any) -> list[str]:
        """Return the classes that a label of the dataset names, also unknown ones."""

    @abstractmethod
    def encode(self, labels: list[Any]) -> np.ndarray:
        """Labels that are valid as numbers, a row each; none gives the shape and dtype of a row."""

    def read(self, column: pa.ChunkedArray) -> np.ndarray | None:  # noqa: ARG002
        """Encode a whole column of labels in one go; None where one is invalid, or only `encode` can tell."""
        return None

    @abstractmethod
    def decode(self, actual: np.ndarray) -> list[Any]:
        """Encoded labels as the dataset has them."""

    @abstractmethod
    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:
        """Decide: the numbers of labels `(n,)`, which hold `(n, names)` bool, or predicted numbers as they are."""

    @abstractmethod
    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:
        """Predictions as a user reads them, from a model's outputs `(n, names)`."""

    @abstractmethod
    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """How far each output is off, `(n,)` float64: of probabilities the log loss, of numbers the absolute error."""

    @abstractmethod
    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:
        """Tell whose answer, `(n,)` bool, stays the same if every output changes by up to `tolerance`."""

    def decided(self, outputs: np.ndarray, actual: np.ndarray, state: Mapping[str, Any]) -> Decision | None:  # noqa: ARG002
        """Choose by examples, and by what the recipe fitted, how answers are decided, where `rule` is "ngram"."""
        return None

    @abstractmethod
    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Outputs `(n, names)` of a model that is sure of these answers."""

    def restored(self, answers: list[Any]) -> tuple[np.ndarray, np.ndarray, Decision | None]:
        """Tell which answers of a model fit, `(n,)` bool; return outputs `(those, ...)` and a decision that give them.

        `answers` is the column `answer` of `answers`, None where there is none.
        """
        fits = ~np.array(self.invalid(answers), bool)
        return fits, self.certain(self.encode([answer for answer, fit in zip(answers, fits, strict=True) if fit])), None

    @abstractmethod
    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the trivial baseline in words, and as outputs `(names,)`, from the training labels."""

    @abstractmethod
    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return outputs `(n, ...)` from predictions that all have an answer, as far as these tell them."""

    def found(self, outputs: np.ndarray, actual: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, int | None]]:
        """Return of each name the scores that were given, which of them are right, and how many are to be found.

        For names that do not exclude each other; None where all that are to be found have a score.
        """
        return [(outputs[:, at], actual[:, at] > 0, None) for at in range(len(self.names))]

    def counted(self, actual: np.ndarray) -> np.ndarray:
        """Count the examples of encoded labels that have each name: `(names,)` int64."""
        if self.exclusive:
            return np.bincount(actual, minlength=len(self.names))
        return np.asarray(actual.sum(axis=0, dtype=np.int64))

    def balanced(self, counts: np.ndarray, rows: int) -> np.ndarray:  # noqa: ARG002
        """Return the weight of each class `(names,)` that evens out its `counts` among `rows` examples; 1 without."""
        return np.ones(len(self.names))

    def described(self) -> dict[str, Any]:
        """Return what `of` reads, as plain JSON."""
        return {"kind": self.kind, "names": list(self.names)}


def kinds() -> list[str]:
    """Return the names of all kinds of target: the files here, except those that begin with an underscore."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def of(content: dict[str, Any]) -> Target:
    """Return the target that `described` wrote: its kind is the name of a file of this folder.

    Raises SlipwayError for a kind that is none.
    """
    if content["kind"] not in kinds():
        raise SlipwayError(
            f"the arrays were written by another version of Slipway (unknown target {content['kind']!r}); "
            "make them again with `dvc repro`"
        )
    module = importlib.import_module(f"{__name__}.{content['kind']}")
    others = {name: value for name, value in content.items() if name not in ("kind", "names")}
    return cast("Target", module.Target(tuple(content["names"]), **others))


def listed(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """Return a column of numbers, or of lists of so many, as `(n, width)` float32."""
    return np.array(column.to_pylist(), np.float32).reshape(len(column), width)
