"""Metrics for regression.

mse, rmse, mae and r2, the mean of several; mae_scaled, the same in standard deviations of the training labels, which
weighs several numbers alike whatever their units; mape, over actual values that are not 0; smape, the mean of
2|e| / (|y| + |y'|), 0 where both are 0; both as fractions; mase (Hyndman and Koehler 2006), where a scale is given.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from components.evaluation import rates
from components.evaluation.examples import Examples, Measures, rounded

LOWER = frozenset({"mse", "rmse", "mae", "mae_scaled", "mape", "smape", "mase"})
IN_UNITS = LOWER
OF_OUTPUTS: frozenset[str] = frozenset()
SHOWN = ("mae", "rmse", "r2", "mase")
TABLE, TITLE, BY_NAME = "values.csv", "value", "mae"
FIRST = "The largest errors first"
CARD = (("mae", "MAE", ""), ("rmse", "RMSE", ""), ("r2", "R2", ""))
MAX_RESIDUALS = 2000  # that residuals.csv holds: enough for a figure


def main(costs: object) -> str:  # noqa: ARG001
    """Return the mean absolute error."""
    return "mae"


def measure(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return metrics `(b,)`, and those of each number `(b, names)`."""
    outputs = examples.outputs.astype(np.float64)
    actual = examples.actual.astype(np.float64).reshape(outputs.shape)
    n = w.sum(axis=0)[:, None]
    error = np.abs(outputs - actual)
    absolute, square = w.T @ error / n, w.T @ error**2 / n  # (b, names)
    centred = actual - actual.mean(axis=0)
    spread = w.T @ centred**2 / n - (w.T @ centred / n) ** 2
    by_name = {"mae": absolute, "rmse": np.sqrt(square)}
    by_name["r2"] = np.where(spread > 1e-12 * np.maximum(centred.var(axis=0), 1e-300), 1 - square / spread, np.nan)
    mse = square.mean(axis=1)
    found = {"mae": absolute.mean(axis=1), "mse": mse, "rmse": np.sqrt(mse), "r2": rates.mean(by_name["r2"])}
    there = actual != 0
    share = np.divide(error, np.abs(actual), out=np.zeros_like(error), where=there)
    found["mape"] = (share.sum(axis=1) @ w) / (there.sum(axis=1) @ w)
    both = np.abs(actual) + np.abs(outputs)
    share = np.divide(2 * error, both, out=np.zeros_like(error), where=both != 0)
    found["smape"] = share.mean(axis=1) @ w / n[:, 0]
    if examples.deviation is not None:
        found["mae_scaled"] = (absolute / examples.deviation).mean(axis=1)
    if examples.scale is not None:
        scale = examples.scale.reshape(len(error), -1)
        known = (scale > 0).all(axis=1)  # a group of which training knows nothing has none
        scaled = (error[known] / scale[known]).mean(axis=1)
        found["mase"] = scaled @ w[known] / w[known].sum(axis=0)
    return found, by_name


def ranked(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:  # noqa: ARG001
    """Numbers have no areas under curves."""
    return {}, {}


def score(names: int, costs: object) -> str:  # noqa: ARG001
    """Return the mean absolute error; of several numbers the one in which the largest unit is not all of it."""
    return "mae" if names == 1 else "mae_scaled"


def ranks(names: tuple[str, ...]) -> str:  # noqa: ARG001
    """Numbers have no areas."""
    return ""


def confidences(examples: Examples) -> np.ndarray:  # noqa: ARG001
    """Numbers have no probabilities."""
    return np.empty(0)


def scores(examples: Examples) -> np.ndarray:
    """Return minus the mean absolute error in units of the training labels' standard deviation."""
    error = np.abs(examples.outputs.astype(np.float64) - examples.actual.reshape(examples.outputs.shape))
    found: np.ndarray = -(error / (1.0 if examples.deviation is None else examples.deviation)).mean(axis=1)
    return found


def sure(examples: Examples) -> np.ndarray:
    """Numbers are said with no certainty."""
    return np.zeros(len(examples.outputs))


def missed(actual: np.ndarray, answered: Examples) -> np.ndarray:
    """Return numbers that are as far off as the worst of those that were predicted: there is no worst number."""
    truth = actual.astype(np.float64).reshape(len(actual), -1)
    error = np.abs(answered.outputs - answered.actual.reshape(answered.outputs.shape))
    unit = np.ones(truth.shape[1]) if answered.deviation is None else answered.deviation
    found: np.ndarray = truth + (error.max(axis=0) if len(error) else unit)
    return found


def followed(examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """Return the mean of all numbers."""
    found: np.ndarray = outputs.mean(axis=1)
    return found


def said(examples: Examples, row: int) -> dict[str, Any]:
    """Return the numbers, and those that were predicted."""
    output, truth = examples.outputs[row], examples.actual[row]
    answer, actual = ([rounded(v) for v in np.asarray(some, np.float64).ravel().tolist()] for some in (output, truth))
    return {"actual": actual, "answer": answer}


def files(examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
    """Yield residuals.csv: what was predicted and what is left of the truth, of at most MAX_RESIDUALS, evenly."""
    outputs = examples.outputs.astype(np.float64)
    actual = examples.actual.reshape(outputs.shape).astype(np.float64)
    n, names = outputs.shape
    few = max(1, MAX_RESIDUALS // names)
    some = np.unique(np.linspace(0, n - 1, min(n, few)).astype(int))
    rows = (
        {
            "value": name,
            "predicted": rounded(float(outputs[row, index])),
            "residual": rounded(float(actual[row, index] - outputs[row, index])),
        }
        for index, name in enumerate(examples.target.names)
        for row in some
    )
    yield "residuals.csv", ["value", "predicted", "residual"], rows
