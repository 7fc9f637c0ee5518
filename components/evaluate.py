"""Measure the ONNX model, the one that ships, on the test split; no TensorFlow is imported."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import recipes, serving
from components.files import model_digest, read_json, replacing, write_csv, write_json
from components.params import Params


def run(params: Params, arrays: Path, model: Path, out: Path) -> dict[str, Any]:
    """Write metrics.json, classes.csv, confusion.csv, calibration.csv and predictions.parquet to `out`.

    Returns the latency, which is measured and so no part of the pipeline's outputs: the median of
    single examples, in milliseconds; and the digest of the model that it is of.
    """
    from components import tracking

    manifest = read_json(arrays / "manifest.json")
    loaded = serving.load(model)
    labels = list(loaded.target.names)
    inputs = {name: np.load(arrays / "test" / f"{name}.npy", mmap_mode="r") for name in manifest["inputs"]}
    actual = np.load(arrays / "test" / "label.npy")
    probabilities = serving.outputs(loaded, inputs)
    bins = params.evaluate.calibration_bins
    metrics, classes = _metrics(actual, probabilities, labels)
    calibration = reliability(actual, probabilities, bins)
    metrics["ece"] = sum(abs(row["confidence"] - row["accuracy"]) * row["rows"] for row in calibration) / len(actual)
    train = manifest["classes"]["train"]
    common = labels.index(max(train, key=lambda label: int(train[label])))
    metrics["baseline_accuracy"] = float((actual == common).mean())  # of always saying the commonest label
    metrics["size_mb"] = (model / "model.onnx").stat().st_size / 1e6
    metrics["rows"] = len(actual)
    predicted = probabilities.argmax(axis=1)
    names = np.array(labels)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", {name: _rounded(value) for name, value in metrics.items()})
    write_csv(out / "classes.csv", classes, ["label", "precision", "recall", "f1", "rows"])
    pairs = zip(names[actual], names[predicted], strict=True)
    write_csv(out / "confusion.csv", ({"actual": a, "predicted": p} for a, p in pairs), ["actual", "predicted"])
    write_csv(out / "calibration.csv", calibration, ["confidence", "accuracy", "rows"])
    answers = recipes.answers(probabilities, loaded.target, loaded.decision)
    ids = pa.array(np.load(arrays / "test" / "id.npy").astype("U32"), pa.string())
    predictions = answers.add_column(0, "id", ids).add_column(1, "actual", pa.array(names[actual], pa.string()))
    with replacing(out / "predictions.parquet") as aside:
        pq.write_table(predictions, aside, compression="zstd")
    cost: dict[str, Any] = {
        "latency_ms": round(serving.latency_ms(loaded, inputs), 3),
        "model_digest": model_digest(model),
    }
    text = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("accuracy", "f1_macro", "log_loss", "ece"))
    print(f"{len(actual):,} test examples: {text}; {cost['latency_ms']:g} ms an example", flush=True)
    tracking.evaluated(params, cost["model_digest"], out.parent, cost)
    return cost


def _rounded(value: float) -> float:
    """Keep eight digits: all that float32 outputs carry, and no noise of the sum's order in a diff."""
    return value if isinstance(value, int) else float(f"{value:.8g}")


def _metrics(
    actual: np.ndarray, probabilities: np.ndarray, labels: list[str]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Accuracy, precision, recall and F1 (macro, weighted, per class) and log loss, by scikit-learn.

    https://scikit-learn.org/stable/modules/model_evaluation.html; a class that is never predicted has precision 0.
    """
    from sklearn.metrics import log_loss, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    codes = np.arange(len(labels))
    metrics = {"accuracy": float((predicted == actual).mean())}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(actual, predicted, labels=codes, average=average, zero_division=0)
        metrics |= {f"{name}_{average}": float(score) for name, score in zip(("precision", "recall", "f1"), scores)}  # noqa: B905
    exact = probabilities.astype(np.float64)
    metrics["log_loss"] = float(log_loss(actual, exact / exact.sum(axis=1, keepdims=True), labels=codes))
    each = precision_recall_fscore_support(actual, predicted, labels=codes, zero_division=0)
    classes = [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for label, p, r, f, n in zip(labels, *each, strict=True)
    ]
    return metrics, classes


def reliability(actual: np.ndarray, probabilities: np.ndarray, bins: int) -> list[dict[str, Any]]:
    """Mean confidence and accuracy in each of `bins` equal bins of confidence; empty ones are left out.

    Their weighted absolute difference is the expected calibration error (Guo et al. 2017,
    arXiv:1706.04599, eq. 5). `actual` (n,) int, `probabilities` (n, classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == actual
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for index in range(bins):
        chosen = which == index
        if chosen.any():
            means = {"confidence": float(confidence[chosen].mean()), "accuracy": float(right[chosen].mean())}
            rows.append({name: _rounded(value) for name, value in means.items()} | {"rows": int(chosen.sum())})
    return rows
