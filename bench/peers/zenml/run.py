"""MNIST as a ZenML pipeline on the default stack: local orchestrator, local artifact store, SQLite.

ZenML's cache knows a step's own code, its parameters and its inputs; the raw files are named to it.
"""

from typing import Annotated, Any

import digits
import numpy as np
from materializer import KerasMaterializer
from zenml import pipeline, step
from zenml.config import CachePolicy

RAW = CachePolicy(file_dependencies=[f"data/raw/{name}" for name in digits.NAMES])


@step(cache_policy=RAW)
def validate() -> Annotated[dict[str, Any], "report"]:
    """Check the raw data."""
    return digits.validate(*digits.read("data/raw"))


@step(cache_policy=RAW)
def preprocess() -> tuple[
    Annotated[np.ndarray, "x_train"],
    Annotated[np.ndarray, "y_train"],
    Annotated[np.ndarray, "x_test"],
    Annotated[np.ndarray, "y_test"],
]:
    """Make arrays of the raw data."""
    x_train, y_train, x_test, y_test = digits.preprocess(*digits.read("data/raw"))
    return x_train, y_train, x_test, y_test


@step(output_materializers=KerasMaterializer)
def train(x: np.ndarray, y: np.ndarray, hidden: int, epochs: int) -> Annotated[Any, "model"]:
    """Train the network."""
    return digits.train(x, y, hidden, epochs)


@step
def evaluate(model: Any, x: np.ndarray, y: np.ndarray) -> Annotated[dict[str, float], "metrics"]:
    """Evaluate the network on the test split."""
    return digits.evaluate(model, x, y)


@step
def register(
    model: Any, metrics: dict[str, float], hidden: int, epochs: int, threshold: float
) -> Annotated[dict[str, Any], "registered"]:
    """Register the network in MLflow where it is good enough."""
    return digits.register(model, metrics, hidden, epochs, threshold)


@pipeline
def mnist(hidden: int, epochs: int, threshold: float) -> None:
    """From the raw files in data/raw to a registered model."""
    validate()
    x_train, y_train, x_test, y_test = preprocess(after="validate")
    model = train(x_train, y_train, hidden, epochs)
    metrics = evaluate(model, x_test, y_test)
    register(model, metrics, hidden, epochs, threshold)


if __name__ == "__main__":
    mnist.with_options(config_path="config.yaml")()
