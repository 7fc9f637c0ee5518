"""The project's pipeline."""

from typing import Any

from kedro.pipeline import Pipeline, node

from mnist import digits

RAW = ["train_images", "train_labels", "test_images", "test_labels"]
ARRAYS = ["x_train_array", "y_train_array", "x_test_array", "y_test_array"]
TRAINED = ["params:hidden", "params:epochs"]


def preprocess(*inputs: Any) -> Any:
    """Make arrays of the raw data; the last input, the report, says that it was validated."""
    return digits.preprocess(*inputs[:-1])


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipeline from the raw files in data/raw to a registered model."""
    nodes = [
        node(digits.validate, RAW, "report", name="validate"),
        node(preprocess, [*RAW, "report"], ARRAYS, name="preprocess"),
        node(digits.train, [*ARRAYS[:2], *TRAINED], "model", name="train"),
        node(digits.evaluate, ["model", *ARRAYS[2:]], "metrics", name="evaluate"),
        node(digits.register, ["model", "metrics", *TRAINED, "params:threshold"], "registered", name="register"),
    ]
    return {"__default__": Pipeline(nodes)}
