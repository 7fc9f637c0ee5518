"""How good outputs are: one file in this folder per kind of target, found by its name."""

import importlib
from collections.abc import Iterable
from typing import Any, Protocol, cast

import numpy as np

from components import targets
from components.evaluation.examples import Examples, Measures
from components.targets import Target


class Kind(Protocol):
    """What components/evaluation/KIND.py says about a target; `w` is `(n, b)`: how often each example counts."""

    LOWER: frozenset[str]  # its metrics of which smaller values are better
    IN_UNITS: frozenset[str]  # its metrics in units of the labels or the costs: a margin is a share of the value
    OF_OUTPUTS: frozenset[str]  # its metrics of the outputs themselves; the others are of the answers alone
    SHOWN: tuple[str, ...]  # what the terminal shows, as far as it was measured
    TABLE: str  # the file of the evaluation with a row per name, such as classes.csv
    TITLE: str  # what a name is called there: its first column
    BY_NAME: str  # the metric of a name that gets an interval there
    FIRST: str  # which mistakes are shown first, in words
    CARD: tuple[tuple[str, str, str], ...]  # columns of that file that a card shows: column, heading, format

    def main(self, costs: object) -> str:
        """Return the metric that is shown first, and by which slices and columns are ranked."""

    def measure(self, examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
        """Return metrics `(b,)`, and those of each name `(b, names)`; NaN where one is undefined."""

    def ranked(self, examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
        """Return the metrics that need the examples ranked, which cost most."""

    def score(self, names: int, costs: object) -> str:
        """Return the metric that decides on a promotion; a rare class counts in it, and so does a small value."""

    def ranks(self, names: tuple[str, ...]) -> str:
        """Return the name whose areas under curves `ranked` gives; empty where it gives the mean of all, or none."""

    def confidences(self, examples: Examples) -> np.ndarray:
        """Return the probabilities that `ece` holds against how often they are right; none of numbers."""

    def scores(self, examples: Examples) -> np.ndarray:
        """Score each example, `(n,)` float64, higher is better."""

    def sure(self, examples: Examples) -> np.ndarray:
        """Tell how sure of its answer the model is, `(n,)`: of two that are equally wrong the surer one is worse."""

    def missed(self, actual: np.ndarray, answered: Examples) -> np.ndarray:
        """Return the outputs `(n, ...)` of examples that got no answer: as bad as can be, beside those that did."""

    def followed(self, examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:
        """Return the number that an explanation follows, `(m,)`, of outputs `(m, ...)` for copies of an example.

        `row` is the example itself: what was answered of it says what is followed.
        """

    def said(self, examples: Examples, row: int) -> dict[str, Any]:
        """Return what is true of an example and what was answered, as plain JSON."""

    def files(self, examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
        """Yield further CSV files of the evaluation: name, columns, rows."""


KINDS = {kind: cast("Kind", importlib.import_module(f"components.evaluation.{kind}")) for kind in targets.kinds()}
LOWER = frozenset().union(*(kind.LOWER for kind in KINDS.values()))
IN_UNITS = frozenset().union(*(kind.IN_UNITS for kind in KINDS.values()))


def of(target: Target) -> Kind:
    """Return how predictions of a target are measured."""
    return KINDS[target.kind]


def main(target: Target, costs: object = None) -> str:
    """Return the metric in which models of a target are shown, cut into slices and explained."""
    return of(target).main(costs)


def score(target: Target, costs: object = None) -> str:
    """Return the metric that decides on a promotion where params.yaml names none (register.score)."""
    return of(target).score(len(target.names), costs)


def better(metric: str, value: Any, other: Any) -> Any:
    """Return by how much a value is better than another one, in the metric's units; negative if worse."""
    return other - value if metric in LOWER else value - other


def scores(examples: Examples) -> np.ndarray:
    """Score each example, `(n,)` float64, higher is better, so that two models can be compared in pairs."""
    return of(examples.target).scores(examples)


def measure(examples: Examples, weights: np.ndarray | None = None, *, ranked: bool = True) -> tuple[Measures, Measures]:
    """Measure examples under `b` weightings at once: metrics `(b,)`, and those of each name `(b, names)`.

    `weights` is `(n, b)`: how often each example counts; without, as often as it is there. `ranked` adds the areas
    under curves, which cost most. What is undefined for a weighting is NaN. The metrics, after scikit-learn
    (https://scikit-learn.org/stable/modules/model_evaluation.html) where it has them, stand in the file of the kind.
    """
    kind = of(examples.target)
    once = np.ones(len(examples.outputs)) if examples.copies is None else examples.copies
    w = (once[:, None] if weights is None else weights).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found, by_name = kind.measure(examples, w)
        if ranked:
            more, more_by_name = kind.ranked(examples, w)
            found, by_name = found | more, by_name | more_by_name
    return found, by_name
